"""The chain file's format: how a new one is made whole, and how one is recognised or refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from farlane.errors import Corrupted, FarlaneError, Internal, Unavailable
from farlane.errors import DiskFull as DiskFullError
from farlane.kit.sqlite_files import Fault, FileKind, fault_of
from farlane.ledger.embedded import queries

SCHEMA_VERSION = 1
"""Goes up with every change of a table or of what a header covers."""
APPLICATION_ID = 0x66_72_6C_63
"""`frlc` in the header of the file."""
ADVICE = (
    "stop the hub, restore the chain file from a backup, or move it away to start a new chain (its contracts and "
    "balances are then gone, and every network on it with them)"
)
CHAIN = FileKind(APPLICATION_ID, SCHEMA_VERSION, "the chain file", "a farlane chain", ADVICE)


def file_error(error: sqlite3.Error, path: Path) -> FarlaneError:
    """Return the error a caller can act on for one of SQLite's."""
    fault = fault_of(error, path)
    if fault is Fault.FULL:
        return DiskFullError(
            f"the chain file {path} cannot grow: its disk (or its own limit) is full. The transaction was not "
            "accepted, earlier ones are safe; free some space and send it again",
            path=str(path),
        )
    if fault is Fault.DAMAGED:
        return damaged(path, str(error))
    if fault is Fault.DISK:
        return Unavailable(
            f"the disk of the chain file {path} failed ({error}); expected it to be readable and writable. Check the "
            "disk and the file's permissions, then start again",
            path=str(path),
        )
    return Internal(
        f"the chain file {path} refused a block ({error}): restart, which continues from the last sealed block, and "
        "report this",
        path=str(path),
    )


def damaged(path: Path, what: str) -> Corrupted:
    """Return the error of a file that does not hold what was written."""
    return Corrupted(f"the chain file {path} is damaged ({what}): {ADVICE}", path=str(path))


def write_schema(connection: sqlite3.Connection, chain_id: int) -> None:
    """Fill a new file with tables and properties; the caller commits."""
    for statement in queries.SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(queries.SET_PROPERTY, ("chain_id", str(chain_id)))
