"""Payers that hold their own accounts: what is due, in which words, and which voucher an underfunded channel pays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.hub.books.payers import PayerState, custody_text
from farlane.hub.settlement.dues import Due, due_of, notice_of, payer_states
from farlane.hub.settlement.figures import newest_covered
from farlane.hub.settlement.plan import BookFigures, plan
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher

PAYER, PROVIDER, SIGNER = (PrivateKey.from_bytes(bytes([digit]) * 32).address for digit in (1, 2, 3))
CHANNEL = Channel(PAYER, PROVIDER, SIGNER, bytes(32))
DEPOSIT, NANO = 100, 10**9


def voucher(cumulative: int, tasks: int = 1) -> SignedVoucher:
    return SignedVoucher(Voucher(CHANNEL.id, cumulative, tasks, bytes(32)), bytes(65))


def figures(
    owed: int, state: tuple[int, int, int] = (0, 0, 0), *, promised: int = 0, current: bool = True,
    held: bool = False, covered: int = 0,
) -> BookFigures:  # fmt: skip
    newest = voucher(promised, 2) if promised else None
    older = voucher(covered) if covered else None
    return BookFigures(3, "lab", CHANNEL, held, owed, newest, ChannelState(*state), current, older)


@pytest.mark.parametrize(
    ("one", "missing", "amount"),
    [
        (figures(10), 10, 110),
        (figures(60, (105, 0, 0)), 0, 55),
        (figures(120, (100, 20, 0)), 20, 120),
        (figures(500, (100, 0, 0), promised=130, current=False), 30, 30),
    ],
)
def test_what_is_due(one: BookFigures, missing: int, amount: int) -> None:
    found = due_of(one, DEPOSIT)
    assert found is not None
    assert (found.missing, found.amount) == (missing, amount)


@pytest.mark.parametrize(
    "one",
    [
        figures(10, held=True),
        figures(0),
        figures(50, (100, 0, 0)),
        figures(500, (100, 0, 7)),
        figures(500, (100, 0, CLOSED)),
        figures(500, current=False),
        figures(500, (100, 0, 0), promised=100, current=False),
    ],
)
def test_nothing_is_due(one: BookFigures) -> None:
    assert due_of(one, DEPOSIT) is None


@pytest.mark.parametrize(
    ("due", "words"),
    [
        (Due(3, ChannelState(0, 0, 0), 10, 15), "has no channel yet"),
        (Due(3, ChannelState(0, 0, 0), 10, 15), "`farlane ledger open 3 --amount 0.000000015`"),
        (Due(3, ChannelState(5, 0, 0), 10, 15), "holds 0.000000005 credits; 0.00000001 more are owed"),
        (Due(3, ChannelState(5, 0, 0), 0, 15), "is nearly used up"),
        (Due(3, ChannelState(5, 0, 0), 0, 15), "`farlane ledger top-up 3 0.000000015`"),
    ],
)
def test_a_payer_is_told_what_to_type(due: Due, words: str) -> None:
    assert words in notice_of(due, "oak", NANO)


def test_each_payer_hears_of_its_own_channels_and_what_they_put_at_stake() -> None:
    books = [
        figures(10, (90, 0, 0)),
        figures(120, (100, 0, 0)),
        figures(9, held=True),
        figures(0, (70, 0, CLOSED)),
    ]
    found = payer_states(books, {3: "oak"}, DEPOSIT, NANO)
    assert found["lab"].at_stake_nano == 80
    (notice,) = found["lab"].notices
    assert "top-up 3" in notice
    assert "0.00000008 credits now" in custody_text(found["lab"])
    assert "holds your organisation's account: all credits in it could be lost" in custody_text(None)
    assert "account: the 2.5 credits in it could be lost" in custody_text(None, 5 * 10**9 // 2)
    assert payer_states([], {}, DEPOSIT, NANO).get("lab", PayerState()).notices == ()


def test_an_older_voucher_is_claimed_where_the_deposit_does_not_cover_the_newest() -> None:
    (claim,) = plan([figures(130, (100, 0, 0), promised=130, covered=90)], {}, DEPOSIT, 0).claims
    assert claim.claim.signed.voucher.cumulative == 90
    assert not plan([figures(130, (100, 90, 0), promised=130, covered=90)], {}, DEPOSIT, 0).claims
    (claim,) = plan([figures(130, (150, 90, 0), promised=130, covered=90)], {}, DEPOSIT, 0).claims
    assert claim.claim.signed.voucher.cumulative == 130


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=30), st.integers(0, 200)
)
def test_the_newest_voucher_that_a_deposit_covers_is_found(
    steps: list[tuple[int, int]], deposit: int
) -> None:
    rows: list[Any] = []
    tasks = cumulative = 0
    for more_tasks, more_units in steps:
        tasks, cumulative = tasks + more_tasks, cumulative + more_units
        rows.append(SimpleNamespace(tasks=tasks, cumulative=cumulative))
    store: Any = SimpleNamespace(
        vouchers=lambda book, after, limit: [r for r in rows if r.tasks > after][:limit]
    )
    found = newest_covered(store, 1, tasks, deposit)
    assert found is next((row for row in reversed(rows) if row.cumulative <= deposit), None)
