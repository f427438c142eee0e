"""A lock on a file that one process holds at a time, and that names its holder."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from farlane.errors import Conflict, Internal


class FileLock:
    """An advisory lock (flock) that ends with its process, however that ends.

    The file holds the pid of the holder and is never removed: removing it would let two processes lock
    two files of one name.

    Args:
        path: the lock file; its directory must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once or not at all.

        Raises:
            Conflict: if another process (or another FileLock of this one) holds it.
            Internal: if this FileLock holds it already.
            OSError: the file cannot be opened, locked or written; then nothing is held.
        """
        if self._descriptor is not None:
            raise Internal(f"lock {self._path} is held already by this very object: release it first")
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Conflict(
                f"{self._path} is locked by process {holder or '(unknown)'}: only one process may use this "
                "directory; stop that one first or choose another directory",
                path=str(self._path),
                pid=holder,
            ) from error
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held[self] = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError:  # a full disk, as a rule
            self._unlock(descriptor)
            raise

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._unlock(self._descriptor)

    def _unlock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked just now may not have closed it yet
        self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        os.close(descriptor)
        self._descriptor = None
        _held.pop(self, None)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


_held: weakref.WeakKeyDictionary[FileLock, int] = weakref.WeakKeyDictionary()


def _forget_inherited_locks() -> None:
    # A forked child shares the open file, so the lock would outlive its holder for as long as the child runs.
    for lock, descriptor in list(_held.items()):
        lock._close(descriptor)


os.register_at_fork(after_in_child=_forget_inherited_locks)
