"""The node's durable books: one thread that owns one SQLite file and makes whatever waits one commit."""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from farlane.errors import Conflict, Corrupted, FarlaneError, Internal, InvalidInput
from farlane.node.books.database import database_errors, limit_size, open_database
from farlane.node.books.entries import (
    Entry,
    StoredBooks,
    VoucherKept,
    read_books,
    read_covered,
    read_leaves,
)

log = logging.getLogger(__name__)
T = TypeVar("T")
OnDurable = Callable[[FarlaneError | None], None]
GROUP_ENTRIES = 1024
"""Entries after which a commit is closed."""
_PROBE_BYTES = 1 << 20
"""Room that must be there before writing goes on after a full disk."""


@dataclass(frozen=True, slots=True)
class _Append:
    entries: Sequence[Entry]
    on_durable: OnDurable


@dataclass(frozen=True, slots=True)
class _Call:
    run: Callable[[], None]


class BookStore:
    """Keeps books; make it with `open`.

    After a commit that failed nothing more is written, and every append hears why, until `resume`.

    Args:
        path: the file.
        connection: to it; used by the storage thread alone from here on.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.refusal: FarlaneError | None = None
        """Why nothing is written, None while it is."""
        self._connection = connection
        self._queue: SimpleQueue[_Append | _Call | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="node-books", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, path: Path, max_bytes: int | None = None) -> BookStore:
        """Open the file, made if there is none; see `open_database` for what is raised."""
        return cls(path, open_database(path, max_bytes))

    def append(self, entries: Sequence[Entry], on_durable: OnDurable) -> None:
        """Queue entries for the next commit; `on_durable` is called on the storage thread, in order.

        Raises:
            Conflict: the store is closed.
        """
        self._check_open()
        self._queue.put(_Append(entries, on_durable))

    def load(self) -> StoredBooks:
        """Return what is durable, without leaves.

        Raises:
            Corrupted: it cannot be read.
        """
        try:
            return self._call(lambda: read_books(self._connection))
        except (ValueError, TypeError, InvalidInput) as error:
            raise self._nonsense(error) from error

    def leaves(self, book: int, first: int, count: int) -> list[bytes]:
        """Return some leaves of a book by the node's own number of it, fewer at its end; blocks.

        Raises:
            Corrupted: they cannot be read.
        """
        try:
            return self._call(lambda: read_leaves(self._connection, book, first, count))
        except zlib.error as error:
            raise self._nonsense(error) from error

    def covered(self, book: int, units: int) -> VoucherKept | None:
        """Return a book's newest voucher of at most so many units, by the node's own number of the book; blocks.

        Raises:
            Conflict: the store is closed.
        """
        return self._call(lambda: read_covered(self._connection, book, units))

    def limit(self, max_bytes: int | None) -> None:
        """Let the file grow to so many bytes; None: as far as the disk goes."""
        self._call(lambda: limit_size(self._connection, max_bytes))

    def try_again(self, on_done: Callable[[bool], None]) -> None:
        """Write again if there is room by now; tells, on the storage thread, whether there is."""
        self._check_open()

        def run() -> None:
            try:
                with database_errors(self.path):
                    self._probe()
                self.refusal = None
            except FarlaneError as error:
                log.info("the node's books still cannot be written: %s", error.message)
            on_done(self.refusal is None)

        self._queue.put(_Call(run))

    def close(self) -> None:
        """Commit what is queued and close the file."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _nonsense(self, error: Exception) -> Corrupted:
        return Corrupted(
            f"the node's books {self.path} hold what no farlane has written ({error}): restore a copy of the file",
            path=str(self.path),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise Conflict("the node's books are closed; the node is going down")

    def _call(self, function: Callable[[], T]) -> T:
        self._check_open()
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                with database_errors(self.path):
                    outcome.set_result(function())
            except BaseException as error:
                outcome.set_exception(error)

        self._queue.put(_Call(run))
        return outcome.result()

    def _probe(self) -> None:
        connection = self._connection
        connection.execute("INSERT OR REPLACE INTO properties VALUES ('probe', zeroblob(?))", (_PROBE_BYTES,))
        connection.execute("DELETE FROM properties WHERE name = 'probe'")

    def _run(self) -> None:
        held: _Append | _Call | None = None
        while (item := held or self._queue.get()) is not None:
            held = None
            if isinstance(item, _Call):
                item.run()
                continue
            group = [item]
            stop, held = self._gather(group)
            self._commit(group)
            if stop:
                break
        self._connection.close()

    def _gather(self, group: list[_Append]) -> tuple[bool, _Call | None]:
        """Take what is queued behind the first append; tells whether the end was reached, or what else came."""
        while sum(len(append.entries) for append in group) < GROUP_ENTRIES:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if not isinstance(item, _Append):
                return item is None, item
            group.append(item)
        return False, None

    def _commit(self, group: list[_Append]) -> None:
        if self.refusal is None:
            try:
                with database_errors(self.path):
                    self._write(group)
            except Exception as error:
                log.exception("the node's books cannot be written")
                self.refusal = error if isinstance(error, FarlaneError) else _surprise(error)
        for append in group:
            append.on_durable(self.refusal)

    def _write(self, group: list[_Append]) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            for append in group:
                for entry in append.entries:
                    entry.write(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _surprise(error: Exception) -> Internal:
    return Internal(
        f"an entry could not be written into the node's books ({type(error).__name__}: {error}): please report it"
    )
