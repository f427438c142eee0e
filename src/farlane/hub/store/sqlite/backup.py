"""Backups: a consistent copy of a running store, and a new store from such a copy, in a new epoch."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound
from farlane.hub.store.port import restored_epoch
from farlane.hub.store.sqlite import queries
from farlane.hub.store.sqlite.faults import store_errors
from farlane.hub.store.sqlite.lock import locked_store
from farlane.hub.store.sqlite.schema import STORE, bring_forward, check_sqlite
from farlane.kit.sqlite_files import new_file, recognise


def write_backup(source: sqlite3.Connection, target: Path) -> None:
    """Copy the snapshot of a reading connection into a new file that needs no journal beside it.

    Raises:
        Conflict: the file exists.
        DiskFull: no room; nothing is left behind.
    """
    if target.exists():
        raise Conflict(
            f"{target} exists; a backup never overwrites anything: choose another file name", path=str(target)
        )
    with new_file(target) as temporary:
        _copy(source, temporary)


def restore(backup: Path, target: Path, *, now: float | None = None) -> None:
    """Make a new store from a backup: the same network, a new epoch, so that leases of before are void.

    Args:
        backup: what `write_backup` wrote.
        target: the file of the new store.
        now: unix seconds; None: the machine's clock.

    Raises:
        NotFound: there is no such backup.
        Conflict: a store is there already, or a newer farlane wrote the backup.
        Corrupted: the backup is damaged.
        InvalidInput: the backup is something else, or a running store.
        DiskFull: no room; nothing is left behind.
    """
    check_sqlite()
    if not backup.is_file():
        raise NotFound(
            f"there is no backup {backup}; expected a file made by `farlane backup`", path=str(backup)
        )
    if Path(f"{backup}-wal").exists():
        raise InvalidInput(
            f"{backup} has a journal beside it, so it is a store and no backup: copying one by hand may miss its "
            "newest records; make a backup with `farlane backup`",
            path=str(backup),
        )
    with locked_store(target):
        _refuse_existing(target)
        with new_file(target) as temporary:
            _copy_backup(backup, temporary)
            with store_errors(temporary):
                _start_epoch(temporary, backup, time.time() if now is None else now)


def _refuse_existing(target: Path) -> None:
    # A left-over journal would be replayed into the restored file and damage it.
    for path in (target, target.with_name(f"{target.name}-wal"), target.with_name(f"{target.name}-journal")):
        if path.exists():
            raise Conflict(
                f"{path} exists; a backup is only restored where there is no store: move that store's files away "
                "first, or choose another directory",
                path=str(path),
            )


def _copy_backup(backup: Path, temporary: Path) -> None:
    with store_errors(backup):
        # immutable: a backup on a read-only medium is fine, and nothing is written beside it.
        source = sqlite3.connect(
            f"{backup.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None
        )
        try:
            recognise(source, backup, STORE)
            _check_integrity(source, backup)
            _copy(source, temporary)
        finally:
            source.close()


def _check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    problems = [row[0] for row in connection.execute(queries.CHECK_INTEGRITY)]
    if problems != ["ok"]:
        raise Corrupted(
            f"the backup {path} is damaged ({'; '.join(problems)[:300]}): choose an older backup",
            path=str(path),
        )


def _start_epoch(path: Path, backup: Path, now: float) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        bring_forward(connection, recognise(connection, backup, STORE))
        epoch = int(dict(connection.execute(queries.PROPERTIES))["epoch"])
        connection.execute(queries.SET_PROPERTY, ("epoch", restored_epoch(epoch, now)))
    finally:
        connection.close()


def _copy(source: sqlite3.Connection, target: Path) -> None:
    with store_errors(target):
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            source.backup(copy)  # in one step: it reads one snapshot and is never started again
            copy.execute(queries.MAKE_ROLLBACK_JOURNAL)
        finally:
            copy.close()
