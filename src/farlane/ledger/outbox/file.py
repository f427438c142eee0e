"""The outbox's file: how it is made, recognised, opened for one process and read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Conflict, Corrupted, DiskFull, FarlaneError, Unavailable
from farlane.kit.sqlite_files import Fault, FileKind, fault_of, new_file, recognise
from farlane.ledger.outbox import queries

APPLICATION_ID = 0x66_72_6C_6F
"""`frlo` in the header of the file."""
SCHEMA_VERSION = 1
OUTBOX = FileKind(
    APPLICATION_ID, SCHEMA_VERSION, "the outbox", "an outbox",
    "move it away and look up, on the chain, the latest transactions of its accounts before you send anything again",
)  # fmt: skip


def open_file(path: Path | None, chain_id: int) -> sqlite3.Connection:
    """Open an outbox, new if there is none; the caller holds its lock.

    Args:
        path: None for one in memory.
        chain_id: of the chain it sends to.

    Raises:
        Conflict: it is another chain's, or a newer farlane's.
        InvalidInput: it is some other database.
        Corrupted: it is damaged.
        DiskFull: no room.
    """
    with file_errors(path):
        if path is not None and not path.exists():
            with new_file(path) as temporary:
                _write_new(temporary, chain_id)
        # Used by one thread at a time: the outbox's own.
        connection = sqlite3.connect(
            ":memory:" if path is None else path, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in queries.PRAGMAS:
                connection.execute(pragma)
            if path is None:
                _write_schema(connection, chain_id)
            _check_chain(connection, path, chain_id)
        except BaseException:
            connection.close()
            raise
        return connection


def _write_new(path: Path, chain_id: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        _write_schema(connection, chain_id)
    finally:
        connection.close()


def _check_chain(connection: sqlite3.Connection, path: Path | None, chain_id: int) -> None:
    recognise(connection, path, OUTBOX)
    (known,) = connection.execute(queries.GET_PROPERTY, ("chain_id",)).fetchone()
    if known != chain_id:
        raise Conflict(
            f"the outbox {path} is of chain {known}, not of chain {chain_id}: its transactions count nowhere else; "
            "use one file per chain",
            path=str(path),
        )


def _write_schema(connection: sqlite3.Connection, chain_id: int) -> None:
    with transaction(connection):
        for statement in queries.SCHEMA:
            connection.execute(statement)
        connection.execute(queries.SET_PROPERTY, ("chain_id", chain_id))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Make a block's changes durable together, or none of them."""
    connection.execute(queries.BEGIN)
    try:
        yield
        connection.execute(queries.COMMIT)
    except BaseException:
        if connection.in_transaction:
            connection.execute(queries.ROLLBACK)
        raise


@contextlib.contextmanager
def file_errors(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into the tree's."""
    try:
        yield
    except sqlite3.Error as error:
        raise _meaning(error, path) from error


def _meaning(error: sqlite3.Error, path: Path | None) -> FarlaneError:
    fault = Fault.REFUSED if path is None else fault_of(error, path)
    if fault == Fault.FULL:
        return DiskFull(
            f"the outbox {path} cannot grow: its disk is full. Nothing is sent that is not written down first; free "
            "some space, and it goes on",
            path=str(path),
        )
    if fault == Fault.DAMAGED:
        return Corrupted(f"the outbox {path} is damaged ({error}): {OUTBOX.mend}", path=str(path))
    return Unavailable(f"the outbox {path} cannot be used ({error}): check its disk", path=str(path))
