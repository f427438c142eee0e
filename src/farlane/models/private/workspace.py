"""Where a private version is encrypted before it is added: on the repository's own disk, swept after a crash."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farlane.kit.files import private_directory


@contextmanager
def workspace(parent: Path | None) -> Iterator[Path]:
    """Yield a folder only this user can enter, removed at the end.

    What a process that was killed left in `parent` is removed first; those that still run keep theirs.

    Args:
        parent: made with mode 0700 if it is missing; None for the system's directory of temporary files.
    """
    if parent is not None:
        _sweep(private_directory(parent))
    place, descriptor = _made(parent)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(descriptor)


def _made(parent: Path | None) -> tuple[Path, int]:
    """Return a new folder, and the descriptor that keeps it from being swept."""
    while True:
        place = Path(tempfile.mkdtemp(prefix="farlane-private-", dir=parent))
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Between these lines a sweep may have found it unlocked: then it is gone, and we try again.
            if os.fstat(descriptor).st_nlink:
                return place, descriptor
            os.close(descriptor)


def _sweep(parent: Path) -> None:
    for place in parent.iterdir():
        with contextlib.suppress(OSError):  # it is gone, or its process lives
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
            finally:
                os.close(descriptor)
