"""The file of a node's books: what was durable comes back, and what is no such file is said to be none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.prices import RateVector
from farlane.errors import Conflict, Corrupted, DiskFull, FarlaneError, InvalidInput
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.books import Book
from farlane.ledger.leaf import LEAF_BYTES
from farlane.node.books import entries
from farlane.node.books.store import BookStore
from farlane.testing.scripted_book import DOMAIN, NETWORK, ScriptedBook
from farlane.wire.books import terms_from_wire

TERMS = terms_from_wire(ScriptedBook(PrivateKey.generate().address).terms())
RATES = RateVector(1, 2, (("*", 3), ("A100", 4)), 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.db"


@pytest.fixture
def store(path: Path) -> Iterator[BookStore]:
    store = BookStore.open(path)
    yield store
    store.close()


def keep(store: BookStore, *written: entries.Entry) -> FarlaneError | None:
    """Write entries and wait for what became of them."""
    heard: list[FarlaneError | None] = []
    done = threading.Event()

    def on_durable(error: FarlaneError | None) -> None:
        heard.append(error)
        done.set()

    store.append(written, on_durable)
    assert done.wait(20)
    return heard[0]


def leaf(number: int) -> bytes:
    return number.to_bytes(LEAF_BYTES, "big")


def leaves_of(book: Book, first: int, count: int, number: int = 1) -> entries.LeavesKept:
    leaves = [leaf(first + row) for row in range(count)]
    book.append(leaves)
    return entries.LeavesKept(number, first, leaves, book.frontier.to_bytes(), book.owed_nano, 1.0)


def test_everything_comes_back(path: Path, store: BookStore) -> None:
    book = Book()
    first = leaves_of(book, 0, 3)
    boundary = book.boundary()
    head = entries.HeadKept(1, boundary, b"s" * 65, 1.0)
    voucher = entries.VoucherKept(1, 3, 2**90, boundary.root, b"v" * 65, 2.0)
    assert keep(store, entries.BookOpened(1, NETWORK, replace(TERMS, domain=None)), first) is None
    assert keep(store, entries.BookOpened(1, NETWORK, TERMS), head) is None
    assert [one.heads for one in store.load().books] == [(boundary,)]
    second = leaves_of(book, 3, 2)
    assert keep(store, voucher, second, entries.HubNamed(b"k", NETWORK), entries.PricesAsked(RATES)) is None
    assert keep(store, entries.BookDisputed(1, "it lies", "/there")) is None
    store.close()
    again = BookStore.open(path)
    stored = again.load()
    (found,) = stored.books
    assert (found.network, found.terms) == (NETWORK, replace(TERMS, size=5))
    assert found.terms.domain is not None
    assert found.terms.domain.contract == DOMAIN.contract
    assert (found.frontier.to_bytes(), found.owed_nano) == (book.frontier.to_bytes(), book.owed_nano)
    assert (found.voucher, found.heads) == (voucher, ())
    assert (found.objection, found.evidence) == ("it lies", "/there")
    assert (stored.hubs, stored.prices) == ({b"k": NETWORK}, (RATES,))
    again.close()


def test_leaves_are_read_from_anywhere(store: BookStore) -> None:
    book = Book()
    keep(store, entries.BookOpened(1, NETWORK, TERMS))
    for first, count in ((0, 3), (3, 1), (4, 5)):
        keep(store, leaves_of(book, first, count))
    for first in range(10):
        for count in range(1, 11):
            wanted = [leaf(number) for number in range(first, min(9, first + count))]
            assert store.leaves(1, first, count) == wanted


def test_the_file_is_for_its_owner_alone(path: Path, store: BookStore) -> None:
    keep(store, entries.HubNamed(b"k", NETWORK))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert "books.db-wal" in modes


def test_a_full_disk_loses_nothing_that_was_durable(path: Path) -> None:
    store = BookStore.open(path)
    book = Book()
    assert keep(store, entries.BookOpened(1, NETWORK, TERMS), leaves_of(book, 0, 2)) is None
    store.limit(1)
    big = entries.BookDisputed(1, os.urandom(100_000).hex(), "")
    refused = keep(store, big)
    assert isinstance(refused, DiskFull)
    assert isinstance(keep(store, entries.HubNamed(b"k", NETWORK)), DiskFull), (
        "order is kept: nothing overtakes"
    )
    told: list[bool] = []
    store.try_again(told.append)
    assert [one.terms.size for one in store.load().books] == [2]
    assert told == [False]
    store.limit(None)
    store.try_again(told.append)
    assert store.load().hubs == {}
    assert told == [False, True]
    assert keep(store, entries.HubNamed(b"k", NETWORK)) is None
    store.close()


def test_what_is_no_such_file_is_refused(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(Corrupted, match="is empty"):
        BookStore.open(path)
    path.write_bytes(os.urandom(8192))
    with pytest.raises(Corrupted, match="are damaged"):
        BookStore.open(path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE things (name TEXT)")
    other.close()
    with pytest.raises(InvalidInput, match="not a node's books"):
        BookStore.open(path)


def test_a_newer_farlanes_file_is_refused(path: Path) -> None:
    BookStore.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(Conflict, match="schema 99"):
        BookStore.open(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE books SET frontier = x'01'",
        "UPDATE books SET domain = '{'",
        "UPDATE books SET owed_nano = 'x'",
    ],
)
def test_content_that_nobody_wrote_is_said_to_be_damaged(path: Path, damage: str) -> None:
    store = BookStore.open(path)
    keep(store, entries.BookOpened(1, NETWORK, TERMS))
    store.close()
    changed = sqlite3.connect(path)
    changed.execute(damage)
    changed.commit()
    changed.close()
    again = BookStore.open(path)
    with pytest.raises(Corrupted, match="no farlane has written"):
        again.load()
    again.close()


def test_leaves_that_were_damaged_are_said_to_be(path: Path, store: BookStore) -> None:
    keep(store, entries.BookOpened(1, NETWORK, TERMS), leaves_of(Book(), 0, 2))
    changed = sqlite3.connect(path)
    changed.execute("UPDATE leaves SET packed = x'00'")
    changed.commit()
    changed.close()
    with pytest.raises(Corrupted, match="no farlane has written"):
        store.leaves(1, 0, 2)


def test_a_closed_store_takes_nothing(path: Path) -> None:
    store = BookStore.open(path)
    store.close()
    store.close()
    with pytest.raises(Conflict, match="closed"):
        store.append([], lambda error: None)


WRITER = """
import sys
from pathlib import Path
from farlane.ledger.books import Book
from farlane.node.books import entries
from farlane.node.books.store import BookStore
sys.path.insert(0, sys.argv[2])
from test_books_store import TERMS, NETWORK, leaves_of

store, book = BookStore.open(Path(sys.argv[1])), Book()
store.append([entries.BookOpened(1, NETWORK, TERMS)], lambda error: None)
while True:
    size = book.size + 3
    store.append([leaves_of(book, book.size, 3)], lambda error, size=size: print(size, flush=True))
    store.load()
"""


def test_a_kill_loses_nothing_that_was_said_to_be_durable(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
    store = BookStore.open(path)
    (found,) = store.load().books
    kept = store.leaves(1, 0, found.frontier.size)
    book = Book()
    book.append(kept)
    assert found.frontier.size >= said[-1]
    assert book.frontier.to_bytes() == found.frontier.to_bytes()
    store.close()


def test_a_million_leaves_open_at_once(path: Path) -> None:
    store, book, packed = BookStore.open(path), Book(), [leaf(1)] * 16_384
    keep(store, entries.BookOpened(1, NETWORK, TERMS))
    for first in range(0, 62 * 16_384, 16_384):
        kept = entries.LeavesKept(1, first, packed, book.frontier.to_bytes(), 0, 1.0)
        store.append([kept], lambda error: None)
    store.load()
    store.close()
    begun = time.perf_counter()
    again = BookStore.open(path)
    again.load()
    took = time.perf_counter() - begun
    begun = time.perf_counter()
    assert again.leaves(1, 500_000, 3) == [leaf(1)] * 3
    print(
        f"\n1,015,808 leaves open in {took * 1000:.1f} ms, three read in {(time.perf_counter() - begun) * 1000:.1f} ms"
    )
    assert took < 0.5
    again.close()
