"""The file of a node's books: its tables, how a new one is made, how one is recognised, and what its errors mean."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Corrupted, DiskFull, FarlaneError, Unavailable
from farlane.kit.sqlite_files import Fault, FileKind, fault_of, new_file, recognise

APPLICATION_ID = 0x66_72_6C_62
"""`frlb` in the header of the file."""
SCHEMA_VERSION = 1
_MAX_PAGES = 2**32 - 2
_ADVICE = (
    "the newest vouchers in it are money: keep the file, restore a copy of it if you have one; moved aside, the node "
    "starts new books"
)
_BOOKS = FileKind(APPLICATION_ID, SCHEMA_VERSION, "the node's book file", "a node's books", _ADVICE)
# Amounts beyond 64 bits are texts of digits. One row of leaves is one batch, deflated; leaves are never deleted.
_SCHEMA = """
CREATE TABLE properties (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE hubs (key BLOB PRIMARY KEY, network TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE prices (number INTEGER PRIMARY KEY, rates TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE books (
    id INTEGER PRIMARY KEY, network TEXT NOT NULL, book INTEGER NOT NULL, organisation TEXT NOT NULL,
    payer TEXT NOT NULL, provider TEXT NOT NULL, signer TEXT NOT NULL, salt BLOB NOT NULL, domain TEXT NOT NULL,
    frontier BLOB NOT NULL, owed_nano TEXT NOT NULL, objection TEXT NOT NULL, evidence TEXT NOT NULL,
    UNIQUE (network, book)) STRICT;
CREATE TABLE leaves (
    book INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, at REAL NOT NULL,
    packed BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX leaves_of_book ON leaves (book, first);
CREATE TABLE heads (
    book INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, owed_nano TEXT NOT NULL,
    signature BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (book, size)) STRICT, WITHOUT ROWID;
CREATE TABLE vouchers (
    book INTEGER NOT NULL, tasks INTEGER NOT NULL, cumulative TEXT NOT NULL, root BLOB NOT NULL,
    signature BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (book, tasks)) STRICT, WITHOUT ROWID;
"""


def open_database(path: Path, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open the file, made if there is none; recovers what a killed node left.

    Args:
        path: the file; its directory exists and is private.
        max_bytes: it does not grow beyond this; None: as far as the disk goes.

    Raises:
        Corrupted: the file is damaged.
        InvalidInput: it is some other database.
        Conflict: a newer farlane wrote it.
        DiskFull: no room.
    """
    if not path.exists():
        _create(path)
    # One thread uses it, but not the one that opens it.
    with database_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            recognise(connection, path, _BOOKS)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000"):
                connection.execute(f"PRAGMA {pragma}")
            limit_size(connection, max_bytes)
        except BaseException:
            connection.close()
            raise
    return connection


def limit_size(connection: sqlite3.Connection, max_bytes: int | None) -> None:
    """Let the file grow to `max_bytes`, or what it has already; None: as far as the disk goes."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    pages = _MAX_PAGES if max_bytes is None else max(1, max_bytes // page_bytes)
    connection.execute(f"PRAGMA max_page_count = {pages}")


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the tree's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path) from error


def _create(path: Path) -> None:
    with new_file(path) as temporary, database_errors(path):
        _write_schema(temporary)


def _write_schema(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _meaning(error: sqlite3.Error, path: Path) -> FarlaneError:
    fault = fault_of(error, path)
    if fault is Fault.FULL:
        return DiskFull(
            f"the node's books {path} cannot grow: the disk is full. Until there is room the node signs nothing and "
            "takes no new work; what it has is safe. Free some space",
            path=str(path),
        )
    if fault is Fault.DAMAGED:
        return Corrupted(f"the node's books {path} are damaged ({error}): {_ADVICE}", path=str(path))
    return Unavailable(
        f"the node's books {path} cannot be used ({error}); expected a file that can be read and written. Check the "
        "disk and the file's permissions, then start the node again",
        path=str(path),
    )
