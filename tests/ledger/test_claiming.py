"""What is claimed and when, decided on vouchers and channels alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.ledger.accounts import Address
from farlane.ledger.claiming import WatchSettings, best_claims, covered_units, decide, new_units
from farlane.ledger.port import CLOSED, ChannelState, SignedClaim
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher

SETTINGS = WatchSettings(threshold=500, dust=10, safety_s=100)
OPEN = ChannelState(1000, 100, 0)
CLOSING = replace(OPEN, close_at=5000)


def claim(number: int, cumulative: int) -> SignedClaim:
    one = Address("0x" + "1" * 40)
    channel = Channel(one, one, one, number.to_bytes(32, "big"))
    return SignedClaim(channel, SignedVoucher(Voucher(channel.id, cumulative, 1, bytes(32)), b""))


@pytest.mark.parametrize(
    ("cumulative", "state", "leaving", "deadline"),
    [
        (599, OPEN, False, None),
        (600, OPEN, False, 0.0),
        (110, OPEN, True, 0.0),
        (109, OPEN, True, None),
        (101, replace(OPEN, close_at=5000), False, 4900.0),
        (100, replace(OPEN, close_at=5000), False, None),
        (600, replace(OPEN, close_at=CLOSED), True, None),
        (1001, replace(OPEN, close_at=5000), True, None),
        (1001, replace(OPEN, deposit=1001, close_at=5000), False, 4900.0),
        (700, replace(OPEN, claimed=700, close_at=5000), True, None),
        (700, replace(OPEN, claimed=650, close_at=50), False, 1.0),
        (600, ChannelState(0, 0, 0), True, None),
    ],
)
def test_it_claims_when_it_must(
    cumulative: int, state: ChannelState, leaving: bool, deadline: float | None
) -> None:
    one = claim(1, cumulative)
    found = decide([one], {one.channel.id: state}, SETTINGS, leaving=leaving)
    assert [each.deadline for each in found] == ([] if deadline is None else [deadline])


def test_the_nearest_close_comes_first() -> None:
    claims = [claim(number, 700) for number in range(3)]
    closes = (0, 9000, 5000)
    states = {each.channel.id: replace(OPEN, close_at=at) for each, at in zip(claims, closes, strict=True)}
    assert [each.claim for each in decide(claims, states, SETTINGS)] == [claims[2], claims[1], claims[0]]


@pytest.mark.parametrize(
    ("promised", "state", "claimed"),
    [
        ([900, 1200], OPEN, 900),  # the newest is not covered
        ([900, 1200], CLOSING, 900),
        ([900, 1200], replace(OPEN, deposit=1200), 1200),  # topped up meanwhile
        ([900, 1200], replace(CLOSING, deposit=5000), 1200),
        ([900, 1200], replace(OPEN, claimed=900), None),  # somebody else has claimed it
        ([900, 1200], replace(CLOSING, claimed=950), None),
        ([1200], CLOSING, None),  # nothing is covered
        ([100], CLOSING, None),  # nothing new
        ([], CLOSING, None),
        ([900, 1200], replace(OPEN, close_at=CLOSED), None),
        ([900, 1200], ChannelState(0, 0, 0), None),
    ],
)
def test_the_best_voucher_is_the_highest_that_the_contract_would_pay(
    promised: list[int], state: ChannelState, claimed: int | None
) -> None:
    claims = [claim(1, each) for each in promised]
    channel = claim(1, 0).channel.id
    best = best_claims(claims, {channel: state}).get(channel)
    assert (None if best is None else best.signed.voucher.cumulative) == claimed
    assert [each.claim for each in decide(claims, {channel: state}, SETTINGS)] == ([best] if best else [])


def test_a_channel_that_nobody_has_looked_at_is_left_alone() -> None:
    assert decide([claim(1, 700)], {}, SETTINGS) == []


def test_without_a_threshold_only_closes_and_the_end_are_claimed() -> None:
    one = claim(1, 1000)
    settings = replace(SETTINGS, threshold=None)
    states = {one.channel.id: OPEN}
    assert decide([one], states, settings) == []
    assert len(decide([one], states, settings, leaving=True)) == 1
    assert len(decide([one], {one.channel.id: CLOSING}, settings)) == 1


def test_outside_of_a_regular_round_only_closes_are_claimed() -> None:
    one, other = claim(1, 1000), claim(2, 1000)
    states = {one.channel.id: OPEN, other.channel.id: CLOSING}
    assert [each.claim for each in decide([one, other], states, SETTINGS, regular=False)] == [other]


@given(
    st.lists(st.integers(0, 2000), max_size=8),
    st.builds(
        ChannelState, st.integers(0, 1500), st.integers(0, 1500), st.sampled_from((0, 5000, CLOSED))
    ).filter(lambda state: state.claimed <= state.deposit),
)
def test_nothing_that_pays_more_is_left_out_and_nothing_refused_is_sent(
    promised: list[int], state: ChannelState
) -> None:
    claims = [claim(1, each) for each in promised]
    most = max((new_units(each, state) for each in claims), default=0)
    best = list(best_claims(claims, {claim(1, 0).channel.id: state}).values())
    assert [new_units(each, state) for each in best] == ([most] if most else [])


@pytest.mark.parametrize(
    ("state", "promised", "claimable", "covered"),
    [
        (ChannelState(0, 0, 0), 100, 0, 0),
        (ChannelState(200, 0, 0), 100, 100, 200),
        (ChannelState(200, 0, 1_800_000_000), 100, 100, 200),
        (ChannelState(60, 40, 0), 100, 50, 50),  # a deposit between two vouchers pays the lower one alone
        (ChannelState(60, 40, 0), 100, 0, 40),
        (ChannelState(200, 40, CLOSED), 100, 100, 40),
    ],
)
def test_what_of_a_promise_counts_as_covered(
    state: ChannelState, promised: int, claimable: int, covered: int
) -> None:
    assert covered_units(state, promised, claimable) == covered
