"""The durable books of direct calls: one SQLite file with a row a channel, its leaves, and the last result."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from farlane.errors import Conflict, Corrupted, DiskFull
from farlane.ledger.accounts import Address
from farlane.ledger.books import Book
from farlane.ledger.tree import Frontier
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher

T = TypeVar("T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
    id BLOB PRIMARY KEY, payer TEXT NOT NULL, provider TEXT NOT NULL, signer TEXT NOT NULL, salt BLOB NOT NULL,
    frontier BLOB NOT NULL, owed_nano INTEGER NOT NULL, cumulative BLOB, tasks INTEGER, root BLOB, signature BLOB,
    last_task BLOB, last_result BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS leaves (
    channel BLOB NOT NULL, place INTEGER NOT NULL, leaf BLOB NOT NULL, PRIMARY KEY (channel, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouchers (
    channel BLOB NOT NULL, cumulative BLOB NOT NULL, tasks INTEGER NOT NULL, root BLOB NOT NULL,
    signature BLOB NOT NULL, PRIMARY KEY (channel, cumulative)
) STRICT, WITHOUT ROWID;
"""
# Files of version 0 kept the newest voucher alone: one that promises more than the deposit can never be claimed.
_FROM_VERSION_0 = """INSERT OR IGNORE INTO vouchers SELECT id, cumulative, tasks, root, signature FROM channels
WHERE cumulative IS NOT NULL"""
SCHEMA_VERSION = 1
_COLUMNS = (
    "payer, provider, signer, salt, frontier, owed_nano, cumulative, tasks, root, signature, last_task, "
    "last_result"
)


@dataclass(frozen=True, slots=True)
class DirectBook:
    """One channel as it is durable.

    last_task: SHA-256 of the last task's id; last_result: what was answered, as it travels; both None before the first.
    """

    channel: Channel
    frontier: Frontier
    owed_nano: int = 0
    voucher: SignedVoucher | None = None
    last_task: bytes | None = None
    last_result: bytes | None = None

    @property
    def paid_tasks(self) -> int:
        """How many leaves the newest voucher covers."""
        return 0 if self.voucher is None else self.voucher.voucher.tasks

    def open(self) -> Book:
        """Return the book to work on; what comes of it is kept by the store alone."""
        voucher = None if self.voucher is None else self.voucher.voucher
        return Book(self.frontier.copy(), self.owed_nano, voucher)


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
            self._upgrade()
        except sqlite3.DatabaseError as error:
            raise self._failure(error) from error

    def _upgrade(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise Conflict(
                f"the direct books {self._path} were written by a newer farlane (schema {version}; this one knows up "
                f"to {SCHEMA_VERSION}): install that version again"
            )
        if version < SCHEMA_VERSION:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} {_FROM_VERSION_0}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def find(self, channel: Channel) -> DirectBook:
        """Return a channel's book, an empty one where there is none yet."""
        row = self._run(
            lambda db: db.execute(
                f"SELECT {_COLUMNS} FROM channels WHERE id = ?",  # a constant
                (channel.id,),
            ).fetchone()
        )
        return DirectBook(channel, Frontier()) if row is None else _book(row)

    def all(self) -> list[DirectBook]:
        """Return every book."""
        query = f"SELECT {_COLUMNS} FROM channels"  # a constant
        return [_book(row) for row in self._run(lambda db: db.execute(query).fetchall())]

    def promised(self) -> list[bytes]:
        """Return the channels that have a voucher."""
        query = "SELECT id FROM channels WHERE cumulative IS NOT NULL"
        return [row[0] for row in self._run(lambda db: db.execute(query).fetchall())]

    def leaves(self, channel: bytes) -> list[bytes]:
        """Return a channel's leaves in order, for an audit."""
        query = "SELECT leaf FROM leaves WHERE channel = ? ORDER BY place"
        return [row[0] for row in self._run(lambda db: db.execute(query, (channel,)).fetchall())]

    def append(self, book: DirectBook, after: Book, leaf: bytes, task: bytes, result: bytes) -> DirectBook:
        """Keep one more leaf with its result; returns the book as it is then."""
        found = replace(
            book, frontier=after.frontier, owed_nano=after.owed_nano, last_task=task, last_result=result
        )

        def write(db: sqlite3.Connection) -> None:
            self._put(db, found)
            db.execute("INSERT INTO leaves VALUES (?, ?, ?)", (book.channel.id, book.frontier.size, leaf))

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

    def _put(self, db: sqlite3.Connection, book: DirectBook) -> None:
        channel, signed = book.channel, book.voucher
        promise = (None, None, None, None)
        if signed is not None:
            voucher = signed.voucher
            promise = (_amount(voucher.cumulative), voucher.tasks, voucher.root, signed.signature)  # type: ignore[assignment]
        db.execute(
            "INSERT OR REPLACE INTO channels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                channel.id, channel.payer, channel.provider, channel.signer, channel.salt,
                book.frontier.to_bytes(), book.owed_nano, *promise, book.last_task, book.last_result,
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


def _book(row: tuple[object, ...]) -> DirectBook:
    payer, provider, signer, salt, frontier, owed, cumulative, tasks, root, signature, task, result = row
    channel = Channel(Address(str(payer)), Address(str(provider)), Address(str(signer)), bytes(salt))  # type: ignore[call-overload]
    voucher = None
    if cumulative is not None:
        promise = Voucher(channel.id, int.from_bytes(cumulative, "big"), tasks, root)  # type: ignore[arg-type]
        voucher = SignedVoucher(promise, signature)  # type: ignore[arg-type]
    return DirectBook(channel, Frontier.from_bytes(frontier), owed, voucher, task, result)  # type: ignore[arg-type]
