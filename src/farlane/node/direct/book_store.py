"""The durable books of direct calls: one SQLite file with a row a channel and a row a task."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from farlane.errors import Corrupted, DiskFull
from farlane.ledger.accounts import Address
from farlane.ledger.books import Book, Boundary
from farlane.ledger.tree import Frontier
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher
from farlane.node.direct.book_schema import upgrade

T = TypeVar("T")
BOOKS_FILE = "direct.db"
"""Name of the file in a node's directory."""
KEPT_RESULTS = 64
"""Results of paid tasks that are kept of each channel, for a publisher that lost one."""
_COLUMNS = "payer, provider, signer, salt, frontier, owed_nano, cumulative, tasks, root, signature"


@dataclass(frozen=True, slots=True)
class DirectBook:
    """One channel as it is durable."""

    channel: Channel
    frontier: Frontier
    owed_nano: int = 0
    voucher: SignedVoucher | None = None

    @property
    def paid_tasks(self) -> int:
        """How many leaves the newest voucher covers."""
        return 0 if self.voucher is None else self.voucher.voucher.tasks

    @property
    def unpaid_tasks(self) -> int:
        """How many leaves it does not cover."""
        return self.frontier.size - self.paid_tasks

    def open(self) -> Book:
        """Return the book to work on; what comes of it is kept by the store alone."""
        voucher = None if self.voucher is None else self.voucher.voucher
        return Book(self.frontier.copy(), self.owed_nano, voucher)


@dataclass(frozen=True, slots=True)
class DoneTask:
    """One task that has its leaf.

    task: SHA-256 of its id; boundary: the book after it; result: what was answered, as it travels, None where it was
    paid long ago.
    """

    place: int
    task: bytes
    leaf: bytes
    boundary: Boundary
    result: bytes | None


class DirectBookStore:
    """Keeps direct books; every call is one transaction that is on disk when it returns. Calls block.

    Args:
        path: the file, made if there is none.

    Raises:
        Corrupted: it is no such file.
        Conflict: a newer farlane wrote it.
        DiskFull: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            upgrade(self._connection, path)
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def find(self, channel: Channel) -> DirectBook:
        """Return a channel's book, an empty one where there is none yet."""
        query = f"SELECT {_COLUMNS} FROM channels WHERE id = ?"  # a constant
        row = self._run(lambda db: db.execute(query, (channel.id,)).fetchone())
        return DirectBook(channel, Frontier()) if row is None else _book(row)

    def all(self) -> list[DirectBook]:
        """Return every book."""
        query = f"SELECT {_COLUMNS} FROM channels"  # a constant
        return [_book(row) for row in self._run(lambda db: db.execute(query).fetchall())]

    def promised(self) -> list[bytes]:
        """Return the channels that have a voucher."""
        query = "SELECT id FROM channels WHERE cumulative IS NOT NULL"
        return [row[0] for row in self._run(lambda db: db.execute(query).fetchall())]

    def of_payer(self, payer: Address) -> list[DirectBook]:
        """Return the books of all channels of one payer."""
        query = f"SELECT {_COLUMNS} FROM channels WHERE payer = ?"  # a constant
        return [_book(row) for row in self._run(lambda db: db.execute(query, (payer,)).fetchall())]

    def done(self, channel: bytes, place: int) -> DoneTask | None:
        """Return the task of one order, None where it has no leaf yet."""
        return self._task("place", channel, place)

    def at_size(self, channel: bytes, size: int) -> DoneTask | None:
        """Return the task whose leaf made the tree this large, None where there is none."""
        return self._task("size", channel, size)

    def leaves(self, channel: bytes) -> list[bytes]:
        """Return a channel's leaves in order, for an audit."""
        query = "SELECT leaf FROM tasks WHERE channel = ? ORDER BY size"
        return [row[0] for row in self._run(lambda db: db.execute(query, (channel,)).fetchall())]

    def append(self, book: DirectBook, after: Book, done: DoneTask) -> DirectBook:
        """Keep one more leaf with its result; returns the book as it is then."""
        found = replace(book, frontier=after.frontier, owed_nano=after.owed_nano)
        channel, at = book.channel.id, done.boundary
        row = (channel, at.size, done.place, done.task, done.leaf, at.root, at.owed_nano, done.result)
        forgotten = min(found.paid_tasks, at.size - KEPT_RESULTS)

        def write(db: sqlite3.Connection) -> None:
            self._put(db, found)
            db.execute("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            db.execute(
                "UPDATE tasks SET result = NULL WHERE channel = ? AND size BETWEEN ? AND ?",
                (channel, forgotten - 2 * KEPT_RESULTS, forgotten),
            )

        self._run(write)
        return found

    def take_voucher(self, book: DirectBook, voucher: SignedVoucher) -> DirectBook:
        """Keep a voucher that was checked; returns the book as it is then."""
        found = replace(book, voucher=voucher)
        kept = voucher.voucher

        def write(db: sqlite3.Connection) -> None:
            self._put(db, found)
            db.execute(
                "INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?, ?)",
                (book.channel.id, _amount(kept.cumulative), kept.tasks, kept.root, voucher.signature),
            )

        self._run(write)
        return found

    def covered(self, channel: bytes, units: int) -> SignedVoucher | None:
        """Return the voucher of a channel that promises the most without promising more than `units`."""
        query = (
            "SELECT cumulative, tasks, root, signature FROM vouchers WHERE channel = ? AND cumulative <= ? "
            "ORDER BY cumulative DESC LIMIT 1"
        )
        row = self._run(lambda db: db.execute(query, (channel, _amount(units))).fetchone())
        if row is None:
            return None
        cumulative, tasks, root, signature = row
        return SignedVoucher(Voucher(channel, int.from_bytes(cumulative, "big"), tasks, root), signature)

    def _task(self, column: str, channel: bytes, number: int) -> DoneTask | None:
        query = f"SELECT place, task, leaf, size, root, owed_nano, result FROM tasks WHERE channel = ? AND {column} = ?"
        row = self._run(lambda db: db.execute(query, (channel, number)).fetchone())
        if row is None:
            return None
        place, task, leaf, size, root, owed_nano, result = row
        return DoneTask(place, task, leaf, Boundary(size, root, owed_nano), result)

    def _put(self, db: sqlite3.Connection, book: DirectBook) -> None:
        channel, signed = book.channel, book.voucher
        promise: tuple[Any, ...] = (None, None, None, None)
        if signed is not None:
            voucher = signed.voucher
            promise = (_amount(voucher.cumulative), voucher.tasks, voucher.root, signed.signature)
        db.execute(
            "INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                channel.id, channel.payer, channel.provider, channel.signer, channel.salt,
                book.frontier.to_bytes(), book.owed_nano, *promise,
            ),
        )  # fmt: skip

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    result = work(self._connection)
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                return result
            except sqlite3.DatabaseError as error:
                raise self._failure(error) from error

    def _failure(self, error: sqlite3.DatabaseError) -> Corrupted | DiskFull:
        if isinstance(error, sqlite3.OperationalError):
            return DiskFull(
                f"the direct books {self._path} cannot be written: {error}; make room, or check the disk"
            )
        return Corrupted(f"the direct books {self._path} cannot be read: {error}; restore a copy of the file")


def _amount(units: int) -> bytes:
    """Return units as bytes that sort as the number does."""
    return units.to_bytes(12, "big")


def _book(row: tuple[Any, ...]) -> DirectBook:
    payer, provider, signer, salt, frontier, owed, cumulative, tasks, root, signature = row
    channel = Channel(Address(payer), Address(provider), Address(signer), salt)
    voucher = None
    if cumulative is not None:
        promise = Voucher(channel.id, int.from_bytes(cumulative, "big"), tasks, root)
        voucher = SignedVoucher(promise, signature)
    return DirectBook(channel, Frontier.from_bytes(frontier), owed, voucher)
