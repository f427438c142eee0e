"""Vouchers of direct calls: which are kept, what an older file brings along, and what a deposit covers of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict
from farlane.ledger.accounts import Address
from farlane.ledger.books import Book
from farlane.ledger.leaf import LEAF_BYTES
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


OLD_SCHEMA = """
CREATE TABLE channels (
    id BLOB PRIMARY KEY, payer TEXT NOT NULL, provider TEXT NOT NULL, signer TEXT NOT NULL, salt BLOB NOT NULL,
    frontier BLOB NOT NULL, owed_nano INTEGER NOT NULL, cumulative BLOB, tasks INTEGER, root BLOB, signature BLOB,
    last_task BLOB, last_result BLOB
) STRICT;
CREATE TABLE leaves (
    channel BLOB NOT NULL, place INTEGER NOT NULL, leaf BLOB NOT NULL, PRIMARY KEY (channel, place)
) STRICT, WITHOUT ROWID;
"""


async def test_a_file_of_the_first_version_keeps_its_voucher_and_its_leaves(path: Path) -> None:
    book, leaves = Book(), [bytes([number]) * LEAF_BYTES for number in (1, 2)]
    for leaf in leaves:
        book.append([leaf])
    row = (
        CHANNEL.id, ONE, ONE, ONE, bytes(32), book.frontier.to_bytes(), book.owed_nano, (90).to_bytes(12, "big"), 1,
        bytes(32), bytes(65), b"\7" * 32, b"result",
    )  # fmt: skip
    with sqlite3.connect(path) as file:
        file.executescript(OLD_SCHEMA)
        file.execute(f"INSERT INTO channels VALUES ({', '.join('?' * 13)})", row)
        file.executemany(
            "INSERT INTO leaves VALUES (?, ?, ?)", [(CHANNEL.id, *one) for one in enumerate(leaves)]
        )
    file.close()
    again = DirectBookStore(path)
    assert await offered(again, 90) == {90}
    assert again.leaves(CHANNEL.id) == leaves
    last = again.done(CHANNEL.id, 1)
    assert last is not None
    assert (last.task, last.result, last.boundary) == (b"\7" * 32, b"result", book.boundary())
    assert again.find(CHANNEL).unpaid_tasks == 1
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
