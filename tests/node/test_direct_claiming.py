"""Vouchers of direct calls: which are kept, what an older file brings along, and what a deposit covers of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict
from farlane.ledger.accounts import Address
from farlane.ledger.port import ChannelState
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher
from farlane.node.direct.book_store import DirectBookStore
from farlane.node.direct.claiming import DirectVouchers

ONE = Address("0x" + "1" * 40)
CHANNEL = Channel(ONE, ONE, ONE, bytes(32))


def voucher(cumulative: int, tasks: int) -> SignedVoucher:
    return SignedVoucher(Voucher(CHANNEL.id, cumulative, tasks, bytes(32)), bytes(65))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "direct.db"


@pytest.fixture
def store(path: Path) -> Iterator[DirectBookStore]:
    store = DirectBookStore(path)
    yield store
    store.close()


async def offered(store: DirectBookStore, deposit: int) -> set[int]:
    vouchers = DirectVouchers(store)
    assert vouchers.channels() == ([CHANNEL.id] if store.find(CHANNEL).voucher else [])
    claims = await vouchers.claims({CHANNEL.id: ChannelState(deposit, 0, 0)})
    return {each.signed.voucher.cumulative for each in claims}


async def test_the_highest_that_a_deposit_covers_is_kept(store: DirectBookStore) -> None:
    assert await offered(store, 1000) == set()
    for tasks, cumulative in enumerate(
        (90, 70, 2**95, 100), 1
    ):  # a payer may promise less again: it owes 70 by then
        store.take_voucher(store.find(CHANNEL), voucher(cumulative, tasks))
    assert await offered(store, 99) == {90, 100}
    assert await offered(store, 69) == {100}
    assert await offered(store, 2**96 - 1) == {2**95, 100}
    assert await DirectVouchers(store).claims({}) == []


async def test_a_file_of_the_first_version_keeps_its_voucher(path: Path, store: DirectBookStore) -> None:
    store.take_voucher(store.find(CHANNEL), voucher(90, 1))
    store.close()
    with sqlite3.connect(path) as file:  # as it was before every voucher was kept
        file.execute("DROP TABLE vouchers")
        file.execute("PRAGMA user_version = 0")
    file.close()
    again = DirectBookStore(path)
    assert await offered(again, 90) == {90}
    again.take_voucher(again.find(CHANNEL), voucher(200, 2))
    again.close()
    third = DirectBookStore(path)
    assert await offered(third, 199) == {90, 200}
    third.close()


def test_a_file_of_a_newer_version_is_not_touched(path: Path, store: DirectBookStore) -> None:
    store.close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 9")
    file.close()
    with pytest.raises(Conflict, match="newer farlane"):
        DirectBookStore(path)
