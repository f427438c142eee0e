"""Files of unfinished writes: locked by their writer, and swept away once the writer is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

from farlane.kit.files import private_directory


class TemporaryFiles:
    """A directory of unfinished files.

    Each is locked (flock) as long as its writer lives, so that a sweep by another process spares it, and a
    crashed writer's leftovers do not wait for an age limit.

    Args:
        directory: made with mode 0700 if it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = private_directory(directory)

    def create(self) -> tuple[int, Path]:
        """Make an empty file.

        Returns:
            A descriptor for writing, which the caller closes, and its path.
        """
        while True:
            path = self._directory / secrets.token_hex(16)
            descriptor = os.open(
                path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            # Between these two lines a sweep may have found the file unlocked: then it is gone, and we try again.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return descriptor, path
            os.close(descriptor)

    def sweep(self) -> int:
        """Remove the files whose writers are gone and return how many."""
        swept = 0
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if _lock(descriptor):
                        path.unlink()
                        swept += 1
                finally:
                    os.close(descriptor)
        return swept


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
