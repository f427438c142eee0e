"""Exclusive use of a store: one hub, or one restore, at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Conflict
from farlane.kit.file_lock import FileLock
from farlane.kit.files import disk_full_as_error


def lock_store(path: Path) -> FileLock:
    """Take a store for this process alone; the caller releases the lock.

    Raises:
        Conflict: another hub has it.
        DiskFull: there is no room to write down who has it.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        with disk_full_as_error(path):
            lock.acquire()
    except Conflict as error:
        pid = error.facts.get("pid") or "unknown"
        raise Conflict(
            f"the store {path} is in use by another hub (process {pid}); one hub at a time may use it. Stop that one "
            "first (`farlane down`), or choose another directory",
            path=str(path),
            pid=pid,
        ) from error
    return lock


@contextlib.contextmanager
def locked_store(path: Path) -> Iterator[None]:
    """Hold a store for this process alone during a block.

    Raises:
        Conflict: another hub has it.
    """
    lock = lock_store(path)
    try:
        yield
    finally:
        lock.release()
