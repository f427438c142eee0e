"""Planning settlement: channels are funded before they run dry, vouchers claimed, and nothing is spent twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farlane.hub.settlement.plan import BookFigures, plan
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher

PAYER, PROVIDER, SIGNER = (PrivateKey.from_bytes(bytes([digit]) * 32).address for digit in (1, 2, 3))
DEPOSIT = 100


def figures(
    owed: int = 10,
    promised: int | None = None,
    state: tuple[int, int, int] = (0, 0, 0),
    *,
    book: int = 1,
    held: bool = True,
) -> BookFigures:
    channel = Channel(PAYER, PROVIDER, SIGNER, bytes([book]) * 32)
    voucher = None
    if promised is not None:
        voucher = SignedVoucher(Voucher(channel.id, promised, 1, bytes(32)), bytes(65))
    return BookFigures(book, "lab", channel, held, owed, voucher, ChannelState(*state))


def test_a_new_channel_gets_what_is_owed_and_the_deposit() -> None:
    found = plan([figures()], {PAYER: 1000}, DEPOSIT, 0)
    assert [(one.amount, one.deposit) for one in found.fundings] == [(110, 0)]


def test_a_channel_is_topped_up_before_half_of_its_deposit_is_owed() -> None:
    assert not plan([figures(owed=50, state=(100, 0, 0))], {PAYER: 1000}, DEPOSIT, 0).fundings
    (one,) = plan([figures(owed=51, state=(100, 0, 0))], {PAYER: 1000}, DEPOSIT, 0).fundings
    assert (one.amount, one.deposit) == (51, 100)


def test_what_a_balance_does_not_cover_is_told() -> None:
    found = plan([figures(owed=30), figures(owed=40, book=2)], {PAYER: 50}, DEPOSIT, 0)
    assert [one.amount for one in found.fundings] == [50]
    assert found.short == {"lab": 40}


def test_channels_of_foreign_payers_are_never_funded() -> None:
    assert not plan([figures(held=False)], {PAYER: 1000}, DEPOSIT, 0).fundings


def test_what_is_new_in_a_voucher_is_claimed_once_it_is_worth_it() -> None:
    state = (100, 20, 0)
    assert plan([figures(promised=30, state=state)], {}, DEPOSIT, 10).claims
    assert not plan([figures(promised=29, state=state)], {}, DEPOSIT, 10).claims
    assert not plan([figures(promised=20, state=state)], {}, DEPOSIT, 0).claims


def test_a_closing_channel_is_claimed_whatever_it_is_worth_and_never_funded() -> None:
    found = plan([figures(owed=90, promised=21, state=(100, 20, 9))], {PAYER: 1000}, DEPOSIT, 10)
    assert len(found.claims) == 1
    assert not found.fundings


def test_a_voucher_beyond_the_deposit_waits_for_it() -> None:
    assert not plan([figures(owed=120, promised=120, state=(100, 0, 0))], {}, DEPOSIT, 0).claims
    found = plan([figures(owed=120, promised=120, state=(100, 0, 0))], {PAYER: 500}, DEPOSIT, 0)
    assert found.fundings
    assert found.claims


def test_a_closed_channel_is_replaced() -> None:
    assert plan([figures(state=(100, 100, CLOSED))], {PAYER: 1000}, DEPOSIT, 0).closed == [1]


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 300), st.integers(0, 300)), max_size=8),
    st.integers(0, 1000),
)
def test_no_more_is_locked_than_there_is(rows: list[tuple[int, int, int]], balance: int) -> None:
    books = [
        figures(owed, promised=owed, state=(deposit, min(claimed, deposit), 0), book=number)
        for number, (owed, deposit, claimed) in enumerate(rows, 1)
    ]
    found = plan(books, {PAYER: balance}, DEPOSIT, 0)
    locked = {one.book: one.amount for one in found.fundings}
    assert sum(locked.values()) <= balance
    by_channel = {one.channel.id: one for one in books}
    for claim in found.claims:
        one = by_channel[claim.channel.id]
        assert (
            one.state.claimed < claim.signed.voucher.cumulative <= one.state.deposit + locked.get(one.book, 0)
        )
