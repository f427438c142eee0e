"""Who holds what in a store on a disk, and who may add to it: locks that end with their process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farlane.errors import InvalidInput
from farlane.kit.files import disk_full_as_error, private_directory, write_all
from farlane.models.cid import Cid, parse_cid
from farlane.models.temporary import TemporaryFiles

_MAX_CID_CHARACTERS: Final = 59


class AddersLock:
    """Many may add at once, in any process, or one keeps all others from it.

    Args:
        path: the lock file (flock), never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Add inside the block; waits while another thread or process has `exclusive`. May nest."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one; waits until all others are done. May nest, but not inside `shared`."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextlib.contextmanager
    def try_exclusive(self) -> Iterator[bool]:
        """Tell whether this is the only one, without waiting."""
        try:
            with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                yield True
        except BlockingIOError:
            yield False

    @contextlib.contextmanager
    def _locked(self, operation: int) -> Iterator[None]:
        if getattr(self._mine, "held", False):
            yield
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, operation)
            self._mine.held = True
            try:
                yield
            finally:
                self._mine.held = False
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


class Holds:
    """Roots held by the processes of one store: for each a small file, locked by its holder.

    Args:
        directory: made with mode 0700 if it is missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = private_directory(directory)
        self._files = TemporaryFiles(directory)

    def add(self, root: Cid) -> tuple[int, Path]:
        """Hold a root until `release` is called with what this returns, or the process ends."""
        with disk_full_as_error(self._directory):
            descriptor, path = self._files.create()
            try:
                write_all(descriptor, root.text.encode("ascii"))
            except BaseException:
                self.release((descriptor, path))
                raise
        return descriptor, path

    def release(self, held: tuple[int, Path]) -> None:
        """End one hold."""
        descriptor, path = held
        path.unlink(missing_ok=True)
        os.close(descriptor)

    def held(self) -> frozenset[Cid]:
        """Return the roots held at present; what dead processes held is released."""
        self._files.sweep()
        roots = set()
        for path in self._directory.iterdir():
            # Released meanwhile, or just being made.
            with contextlib.suppress(FileNotFoundError, InvalidInput), path.open("rb") as stream:
                roots.add(parse_cid(stream.read(_MAX_CID_CHARACTERS).decode("ascii", "replace")))
        return frozenset(roots)
