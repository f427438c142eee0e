"""Connections to the store file: one that writes, and a pool of read-only ones that never wait for it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Conflict
from farlane.hub.store.sqlite import queries
from farlane.hub.store.sqlite.faults import store_errors


def open_writer(path: Path, max_bytes: int | None) -> sqlite3.Connection:
    """Open the one connection that writes; recovers the journal of a killed hub.

    Args:
        path: an existing file.
        max_bytes: the file does not grow beyond this; None: as far as the disk goes.
    """
    connection = _connect(path, "rw")
    try:
        for pragma in queries.WRITER_PRAGMAS:
            connection.execute(pragma)
        if max_bytes is not None:
            (page_bytes,) = connection.execute(queries.PAGE_BYTES).fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that only reads."""
    connection = _connect(path, "ro")
    try:
        for pragma in queries.READER_PRAGMAS:
            connection.execute(pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # Connections move between threads, but only one uses each at a time.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )


class ReadPool:
    """Read-only connections, as many as there are readers at once; idle ones are used again.

    In WAL mode a reader sees the last commit before it began and never waits for the next.

    Args:
        path: the store file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection with a snapshot that lasts until the block ends.

        Raises:
            Conflict: the store is closed.
            Corrupted: the file is damaged.
        """
        with store_errors(self._path):
            connection = self._take()
            try:
                connection.execute(queries.BEGIN_READ)
                yield connection
                connection.execute(queries.ROLLBACK)
            except BaseException:
                connection.close()
                raise
            self._give(connection)

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise Conflict("the store is closed; open it again to read from it")
        try:
            return self._idle.pop()
        except IndexError:
            return open_reader(self._path)

    def _give(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close idle connections now and those in use when they come back."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()
