"""What is checked of a file that arrives leaf by leaf: its SHA-256 and its other DAGs, as far as it is here already.

The first DAG's leaves are checked one by one as they come; all else needs the bytes in order. So whoever has written a
leaf hashes on from where the last one stopped, up to the first hole, and little is left when the last leaf comes.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from farlane.errors import Corrupted
from farlane.kit.passes import Pass, run_passes
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.leaf_hasher import LeafHasher

TURN_BYTES: Final = 4 << 20
"""One who has written a leaf hashes no more than about this: it is to fetch the next one."""


class RunningChecks:
    """Hashes a file in order while it arrives out of order.

    Args:
        dags: of the file, all of its size; the leaves of the first are checked by whoever writes them.
    """

    def __init__(self, dags: Sequence[FileDag]) -> None:
        self._dags = dags
        self._descriptor = -1
        self._open = False
        self._lock = threading.Lock()
        self._next, self._at = 0, 0
        self._begin()

    def start(self, descriptor: int) -> None:
        """Take the file, which stays open until `stop`."""
        self._descriptor, self._open = descriptor, True

    def advance(self, is_here: Callable[[int], bool]) -> None:
        """Hash on from where the last turn ended, unless somebody is at it.

        Args:
            is_here: whether a leaf is written.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            turn_bytes = 0
            while self._open and self._next < len(self._leaves) and turn_bytes < TURN_BYTES:
                if not is_here(self._next):
                    return
                length = int(self._leaves.lengths[self._next])
                piece = memoryview(os.pread(self._descriptor, length, self._at))
                if len(piece) != length:
                    return  # cut off behind our back: found out at the end
                for step in self._passes:
                    step(piece)
                self._next, self._at = self._next + 1, self._at + length
                turn_bytes += length
        finally:
            self._lock.release()

    def restart(self) -> None:
        """Forget what was hashed, since bytes on the disk were others than those that were written."""
        with self._lock:
            self._begin()

    def finish(self, expected: str | None = None) -> str:
        """Hash the rest and return the file's SHA-256 as 64 hex digits; all leaves are written.

        Args:
            expected: what it must be, None for whatever it is.

        Raises:
            Corrupted: the file is another, is cut off, or one of its other DAGs is of another file.
        """
        with self._lock:
            left = self._leaves.size_bytes - self._at
            found = run_passes(_Rest(self._descriptor, self._at), left, self._passes)  # type: ignore[arg-type]
            if found != left:
                raise Corrupted("the assembled file was cut off or added to while it arrived: fetch it again")
            self._next, self._at = len(self._leaves), self._leaves.size_bytes
            sha256 = self._leaves.digest(0).hex() if self._first.is_whole_file else self._whole.hexdigest()
            if expected not in (None, sha256):
                raise Corrupted(
                    f"the assembled file has SHA-256 {sha256}, not {expected}: its DAG is of another file"
                )
            for dag, others in zip(self._dags[1:], self._others, strict=True):
                if others.leaves().digests != dag.leaves.digests:
                    raise Corrupted(
                        f"DAG {dag.root} is of another file than DAG {self._dags[0].root}: their leaves differ"
                    )
            return sha256

    def stop(self) -> None:
        """Read no more of the file, which is about to be closed."""
        with self._lock:
            self._open = False

    def _begin(self) -> None:
        self._leaves = self._dags[0].leaves
        self._next, self._at = 0, 0
        self._first = LeafHasher.done(self._leaves)
        self._others = [
            LeafHasher(dag.leaves.lengths, dag.leaves.wrapped, [self._first]) for dag in self._dags[1:]
        ]
        self._whole = hashlib.sha256()
        self._passes: list[Pass] = [other.update for other in self._others]
        if not self._first.is_whole_file:
            self._passes.append(self._whole.update)


class _Rest(io.RawIOBase):
    """An open file from some offset on, wherever its own position is."""

    def __init__(self, descriptor: int, offset: int) -> None:
        self._descriptor, self._offset = descriptor, offset

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = os.preadv(self._descriptor, [buffer], self._offset)
        self._offset += count
        return count
