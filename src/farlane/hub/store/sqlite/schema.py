"""The store file's format: how a new one is made, how one is recognised and brought forward."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from farlane.errors import Unavailable
from farlane.hub.store.sqlite import queries
from farlane.hub.store.sqlite.encoding import RESTORE_ADVICE
from farlane.hub.store.sqlite.faults import store_errors
from farlane.kit.sqlite_files import FileKind, new_file

SCHEMA_VERSION = 5
"""Goes up with every change of a table or a packed blob; a file of the version before stays in the tests."""
APPLICATION_ID = 0x66_72_6C_6E
"""`frln` in the header of the file: what `file` and we know it by."""
STORE = FileKind(
    APPLICATION_ID, SCHEMA_VERSION, "the store", "a farlane store", RESTORE_ADVICE,
    "install that version again, or restore a backup from before",
)  # fmt: skip
PAGE_BYTES = 16384
"""Larger than SQLite's 4096: a batch of payloads then costs a third less CPU, a commit of one row 15 % more."""
_OLDEST_SQLITE = (3, 37, 0)

Migration = Callable[[sqlite3.Connection], None]


_ADDED = (queries.BOOKS_SCHEMA, queries.PARTS_SCHEMA, queries.MODEL_USAGE_SCHEMA, queries.STATEMENTS_SCHEMA)
"""The tables that each version after the first adds."""


def _adding(tables: str) -> Migration:
    def migrate(connection: sqlite3.Connection) -> None:
        for statement in tables.split(";"):
            connection.execute(statement)

    return migrate


MIGRATIONS: Mapping[int, Migration] = {version: _adding(tables) for version, tables in enumerate(_ADDED, 1)}
"""Version -> what brings a store of that version to the next; it runs inside a transaction."""


def check_sqlite() -> None:
    """Refuse an SQLite library that is too old for the schema.

    Raises:
        Unavailable: it is.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise Unavailable(
            f"this Python uses SQLite {sqlite3.sqlite_version}; the store needs {wanted} or newer: use a newer "
            "Python build"
        )


def create_store(path: Path, network: str | None = None) -> None:
    """Make a new store of a network (a new one where none is named), epoch 1, no records; whole or not at all.

    Raises:
        DiskFull: no room.
    """
    with new_file(path) as temporary, store_errors(path):
        _write_schema(temporary, network or secrets.token_hex(16))


def _write_schema(path: Path, network: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute(queries.BEGIN)
        for statement in (queries.SCHEMA + "".join(_ADDED)).split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute(queries.SET_PROPERTY, ("network", network))
        connection.execute(queries.SET_PROPERTY, ("epoch", 1))
        connection.execute(queries.COMMIT)
    finally:
        connection.close()


def bring_forward(
    connection: sqlite3.Connection,
    version: int,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    target: int = SCHEMA_VERSION,
) -> None:
    """Bring a store from `version` to `target`, one durable step at a time.

    A crash in a step leaves the version before it.
    """
    for step in range(version, target):
        connection.execute(queries.BEGIN)
        try:
            migrations[step](connection)
            connection.execute(f"PRAGMA user_version = {step + 1}")
            connection.execute(queries.COMMIT)
        except BaseException:
            if connection.in_transaction:
                connection.execute(queries.ROLLBACK)
            raise
