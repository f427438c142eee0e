"""What SQLite's errors mean to a hub: a full disk, a damaged file, a failing disk, or a broken promise of ours."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Corrupted, DiskFull, FarlaneError, Internal, Unavailable
from farlane.hub.store.sqlite.encoding import RESTORE_ADVICE
from farlane.kit.sqlite_files import Fault, fault_of


def store_error(error: sqlite3.Error, path: Path) -> FarlaneError:
    """Return the error a caller can act on for one of SQLite's, which it keeps as its cause."""
    meaning = _meaning(error, path)
    meaning.__cause__ = error
    return meaning


def _meaning(error: sqlite3.Error, path: Path) -> FarlaneError:
    fault = fault_of(error, path)
    if fault is Fault.FULL:
        return disk_full(path)
    if fault is Fault.DAMAGED:
        return Corrupted(f"the store {path} is damaged ({error}): {RESTORE_ADVICE}", path=str(path))
    if fault is Fault.DISK:
        return Unavailable(
            f"the disk of the store {path} failed ({error}); expected it to be readable and writable. Check the disk "
            f"and the file's permissions, then start the hub again; if the file is lost, {RESTORE_ADVICE}",
            path=str(path),
        )
    return Internal(
        f"the store {path} refused a record ({error}); expected each job and key once. Restart the hub: it "
        "continues from the last durable state; and report this",
        path=str(path),
    )


def disk_full(path: Path) -> DiskFull:
    """Return the error of a store whose disk, or whose own limit, is used up."""
    return DiskFull(
        f"the store {path} cannot grow: its disk (or the store's size limit) is full. Nothing more is accepted; what "
        "was acknowledged is safe. Free some space, then resume the hub or start it again",
        path=str(path),
    )


@contextlib.contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the tree's."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
