"""Planning settlement: channels are funded before they run dry, vouchers claimed, and nothing is spent twice."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from farlane.hub.settlement.plan import BookFigures, Plan, plan
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
    current: bool = True,
) -> BookFigures:
    channel = Channel(PAYER, PROVIDER, SIGNER, bytes([book]) * 32)
    voucher = None
    if promised is not None:
        voucher = SignedVoucher(Voucher(channel.id, promised, 1, bytes(32)), bytes(65))
    return BookFigures(book, "lab", channel, held, owed, voucher, ChannelState(*state), current)


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
    assert not found.claims
    assert plan([figures(owed=120, promised=120, state=(220, 0, 0))], {}, DEPOSIT, 0).claims


def test_the_book_of_a_channel_that_is_closing_is_replaced_at_once_and_claimed_on() -> None:
    closing = figures(owed=90, promised=21, state=(100, 20, 9))
    found = plan([closing], {PAYER: 1000}, DEPOSIT, 0)
    assert (found.replaced, len(found.claims)) == ([1], 1)
    older = replace(closing, current=False, held=False)
    found = plan([older], {PAYER: 1000}, DEPOSIT, 0, now=10)
    assert (found.replaced, len(found.claims), found.finishes) == ([], 1, [])
    assert plan([figures(state=(100, 100, CLOSED))], {PAYER: 1000}, DEPOSIT, 0).replaced == [1]


def test_the_most_urgent_claim_comes_first() -> None:
    books = [
        figures(promised=9, state=(100, 0, 0), book=1),
        figures(promised=9, state=(100, 0, 9000), book=2),
        figures(promised=9, state=(100, 0, 8000), book=3),
    ]
    found = plan(books, {}, DEPOSIT, 0)
    assert [each.claim.channel.salt[0] for each in found.claims] == [3, 2, 1]
    assert [bool(each.deadline) for each in found.claims] == [True, True, False]


def test_a_channel_used_no_more_is_filled_up_to_what_is_promised_then_claimed_then_closed() -> None:
    def step(state: tuple[int, int, int], now: float = 0.0) -> Plan:
        one = figures(owed=150, promised=120, state=state, current=False)
        return plan([one], {PAYER: 500}, DEPOSIT, 1000, now=now)

    (funding,) = step((0, 0, 0)).fundings
    assert (funding.amount, funding.deposit) == (120, 0)
    (funding,) = step((100, 90, 0)).fundings
    assert (funding.amount, funding.deposit) == (20, 100)
    found = step((120, 90, 0))
    assert (len(found.claims), found.starts) == (1, [])
    found = step((120, 120, 0))
    assert (found.claims, len(found.starts)) == ([], 1)
    assert step((120, 120, 50), now=49.0) == Plan()
    assert len(step((120, 120, 50), now=50.0).finishes) == 1
    assert step((120, 120, CLOSED)) == Plan()


def test_a_channel_used_no_more_stays_open_while_its_payer_cannot_cover_what_is_promised() -> None:
    found = plan([figures(promised=120, state=(100, 90, 0), current=False)], {}, DEPOSIT, 0)
    assert found.short == {"lab": 20}
    assert not found.starts


def test_only_channels_of_accounts_that_the_hub_holds_are_closed() -> None:
    one = figures(promised=100, state=(100, 100, 0), current=False)
    assert plan([one], {}, DEPOSIT, 0).starts
    assert not plan([one], {}, DEPOSIT, 0, waiting={1}).starts, "its node's head gets a voucher yet"
    assert not plan([replace(one, held=False)], {}, DEPOSIT, 0).starts
    assert not plan([replace(one, current=True)], {}, DEPOSIT, 0).starts
    assert plan([figures(owed=10, current=False)], {PAYER: 500}, DEPOSIT, 0) == Plan()


def test_a_refused_voucher_is_not_claimed_and_locks_no_deposit_for_ever() -> None:
    one = figures(promised=50, state=(100, 20, 0), current=False)
    found = plan([one], {}, DEPOSIT, 0, refused={one.channel.id})
    assert (found.claims, found.starts) == ([], [one.channel])
    assert plan([replace(one, current=True)], {}, DEPOSIT, 0, refused={one.channel.id}) == Plan()


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
    for claim in (each.claim for each in found.claims):
        one = by_channel[claim.channel.id]
        assert one.state.claimed < claim.signed.voucher.cumulative <= one.state.deposit
        assert one.book not in locked  # what it locks is claimed afterwards
