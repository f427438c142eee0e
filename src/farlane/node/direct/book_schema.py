"""The tables of the direct books, and how a file of an older farlane becomes one of this."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from farlane.errors import Conflict
from farlane.ledger.leaf import amount_of
from farlane.ledger.tree import Frontier, leaf_hash

VERSION = 2
"""0 kept the newest voucher alone, and one task at a time; 1 all vouchers; 2 knows tasks by the places of their
orders, and the book after each."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS channels (
    id BLOB PRIMARY KEY, payer TEXT NOT NULL, provider TEXT NOT NULL, signer TEXT NOT NULL, salt BLOB NOT NULL,
    frontier BLOB NOT NULL, owed_nano INTEGER NOT NULL, cumulative BLOB, tasks INTEGER, root BLOB, signature BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS tasks (
    channel BLOB NOT NULL, size INTEGER NOT NULL, place INTEGER NOT NULL, task BLOB NOT NULL, leaf BLOB NOT NULL,
    root BLOB NOT NULL, owed_nano INTEGER NOT NULL, result BLOB, PRIMARY KEY (channel, size), UNIQUE (channel, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouchers (
    channel BLOB NOT NULL, cumulative BLOB NOT NULL, tasks INTEGER NOT NULL, root BLOB NOT NULL,
    signature BLOB NOT NULL, PRIMARY KEY (channel, cumulative)
) STRICT, WITHOUT ROWID;
"""
# A newest voucher that promises more than the deposit can never be claimed: so all are kept.
_NEWEST_VOUCHERS = """INSERT OR IGNORE INTO vouchers SELECT id, cumulative, tasks, root, signature FROM channels
WHERE cumulative IS NOT NULL"""
_UNKNOWN = bytes(32)


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to this version, in one transaction; a new file gets the tables.

    Raises:
        Conflict: a newer farlane wrote it.
        sqlite3.DatabaseError: it cannot be read or written.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise Conflict(
            f"the direct books {path} were written by a newer farlane (schema {version}; this one knows up to "
            f"{VERSION}): install that version again"
        )
    if version == VERSION:
        return
    old = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'leaves'").fetchone() is not None
    connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {_NEWEST_VOUCHERS};")
    try:
        if old:
            _replay(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _replay(connection: sqlite3.Connection) -> None:
    """Work out from the leaves what is now kept of each task; only the last one's result was kept."""
    channels = connection.execute("SELECT id, last_task, last_result FROM channels").fetchall()
    for channel, last_task, last_result in channels:
        frontier, owed_nano, rows = Frontier(), 0, []
        query = "SELECT leaf FROM leaves WHERE channel = ? ORDER BY place"
        for place, (leaf,) in enumerate(connection.execute(query, (channel,)).fetchall()):
            frontier.append(leaf_hash(leaf))
            owed_nano += amount_of(leaf)
            rows.append([channel, place + 1, place, _UNKNOWN, leaf, frontier.root(), owed_nano, None])
        if rows:
            rows[-1][3], rows[-1][7] = last_task, last_result
        connection.executemany("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("DROP TABLE leaves")
    connection.execute("ALTER TABLE channels DROP COLUMN last_task")
    connection.execute("ALTER TABLE channels DROP COLUMN last_result")
