"""Database files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from farlane.kit.files import disk_full_as_error, fsync_directory


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Lend a temporary file, for the owner alone, that becomes `target`, durably, if the block succeeds.

    Raises:
        DiskFull: no room; nothing is left behind.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    with disk_full_as_error(target):
        try:
            # Made before SQLite opens it, for the mode: its journal files inherit it.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield temporary
            _sync(temporary)
            os.rename(temporary, target)
            fsync_directory(target.parent)
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{temporary}{suffix}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
