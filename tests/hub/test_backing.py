"""What stands behind vouchers: no more is promised than deposits and the balances behind them cover."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.hub.books.backing import Backing, Promise
from farlane.hub.books.payers import lack_notice
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import CLOSED, ChannelState

PAYER, OTHER = (PrivateKey.from_bytes(bytes([digit]) * 32).address for digit in (1, 2))


def promise(units: int = 0, book: int = 1, *, held: bool = True) -> Promise:
    return Promise(book, PAYER, held, units)


@pytest.mark.parametrize(
    ("state", "free", "held", "most"),
    [
        (ChannelState(100, 40, 0), 50, True, 150),
        (ChannelState(100, 40, 0), 50, False, 100),
        (ChannelState(0, 0, 0), 50, True, 50),
        (ChannelState(0, 0, 0), 50, False, 0),
        (ChannelState(100, 40, 7), 50, True, 100),  # closing: nothing can be added
    ],
)
def test_a_deposit_covers_and_so_does_a_balance_that_the_hub_can_add(
    state: ChannelState, free: int, held: bool, most: int
) -> None:
    backing = Backing([])
    backing.see({1: state}, {PAYER: free}, [])
    assert backing.covers(promise(held=held), most, 0)
    assert not backing.covers(promise(held=held), most + 1, 1000)


def test_a_closed_channel_covers_nothing() -> None:
    backing = Backing([])
    backing.see({1: ChannelState(100, 40, CLOSED)}, {PAYER: 50}, [])
    assert not backing.covers(promise(), 1, 1000)


def test_only_accounts_that_were_never_heard_of_have_what_all_begin_with() -> None:
    assert Backing([]).covers(promise(), 7, 7)
    assert not Backing([]).covers(promise(), 8, 7)
    assert not Backing([promise(3)]).covers(promise(3), 4, 7)
    seen = Backing([])
    seen.see({}, {PAYER: 5}, [])
    assert not seen.covers(promise(), 6, 7)


def test_what_lacks_is_what_is_owed_beyond_deposits_and_balance() -> None:
    backing = Backing([])
    assert backing.lacking(PAYER, [(1, 10)]) == 0  # nobody has looked yet
    backing.see({1: ChannelState(4, 0, 0), 2: ChannelState(4, 0, 9)}, {PAYER: 5}, [])
    assert backing.lacking(PAYER, [(1, 10), (2, 10), (3, 2)]) == 3
    assert (backing.free(PAYER), backing.free(OTHER)) == (5, None)
    assert "lacks 3 credits, and vouchers wait for them: `farlane ledger grant 3`" in lack_notice(
        "lab", PAYER, 3 * 10**9, embedded=True
    )
    assert "`farlane ledger deposit 3 --for lab`" in lack_notice("lab", PAYER, 3 * 10**9, embedded=False)


@given(
    st.lists(st.integers(0, 30), min_size=3, max_size=3), st.integers(0, 60),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.booleans()), max_size=30),
)  # fmt: skip
def test_channels_of_a_payer_never_promise_more_than_it_has(
    deposits: list[int], free: int, steps: list[tuple[int, int, bool]]
) -> None:
    backing, promised = Backing([]), [0, 0, 0]

    def books() -> list[Promise]:
        return [promise(units, book) for book, units in enumerate(promised)]

    states = {book: ChannelState(deposit, 0, 0) for book, deposit in enumerate(deposits)}
    backing.see(states, {PAYER: free}, books())
    for book, more, look in steps:
        before = promise(promised[book], book)
        if backing.covers(before, before.units + more, 0):
            backing.promise(before, before.units + more)
            promised[book] += more
        if look:
            backing.see(states, {PAYER: free}, books())
    beyond = [max(0, units - deposit) for units, deposit in zip(promised, deposits, strict=True)]
    assert sum(beyond) <= free
