"""Shared memory between the node and one worker: who runs now, since when, what is finished, what is cancelled.

The node must be able to ask a worker that loops, hangs or died, so these facts do not travel in messages:

    words 0-3   the item that was started last: sequence, start (monotonic ns), CPU so far (ns), sequence again
    word  4     the item that was finished last
    words 5-6   outbox: generation, bytes used
    flags       one byte per item: the node no longer wants it
    outbox      result frames not sent yet; after a crash, or while a long task follows short ones, the node
                reads them here

The file is sealed: a worker that shrinks it would kill the node by SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import NamedTuple

MAX_ITEMS = 1024
"""Items a worker may hold at a time: their cancel flags do not overlap."""

OUTBOX_BYTES = 512 * 1024
_FLAGS = 64
_OUTBOX = _FLAGS + MAX_ITEMS
_SIZE = _OUTBOX + OUTBOX_BYTES
_SEQUENCE, _START, _CPU, _SEQUENCE_AGAIN, _DONE, _GENERATION, _USED = range(7)
# Python's fcntl module has these only from 3.12 on. Source: linux/fcntl.h.
_F_ADD_SEALS = 1033
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1, 2, 4


class Running(NamedTuple):
    """The item a worker runs: its sequence, its start, and the worker's CPU time at that moment."""

    sequence: int
    started_ns: int
    cpu_ns: int


def create_progress_file() -> int:
    """Return the descriptor of a fresh, sealed memory file for one worker."""
    descriptor = os.memfd_create("farlane-progress", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _SIZE)
    fcntl.fcntl(descriptor, _F_ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
    return descriptor


class Progress:
    """Both ends' view of the shared memory: the worker writes the words, the node the flags.

    Args:
        descriptor: of `create_progress_file`; it may be closed afterwards.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self._words = memoryview(self._memory)[:_FLAGS].cast("Q")
        self._flags = memoryview(self._memory)[_FLAGS:_OUTBOX]
        self._outbox = memoryview(self._memory)[_OUTBOX:]

    def begin(self, sequence: int, started_ns: int, cpu_ns: int) -> None:
        """Worker: say that an item starts. The sequence is written twice, so that half a write shows."""
        words = self._words
        words[_SEQUENCE] = sequence
        words[_START] = started_ns
        words[_CPU] = cpu_ns
        words[_SEQUENCE_AGAIN] = sequence

    def finish(self, sequence: int) -> None:
        """Worker: say that an item ended and its result is in the outbox."""
        self._words[_DONE] = sequence

    def running(self) -> Running | None:
        """Node: return the item that runs, or None between two items."""
        words = self._words
        sequence = words[_SEQUENCE]
        found = Running(sequence, words[_START], words[_CPU])
        whole = words[_SEQUENCE_AGAIN] == sequence == words[_SEQUENCE]
        return found if whole and words[_DONE] != sequence else None

    def set_cancelled(self, sequence: int, cancelled: bool) -> None:
        """Node: say whether an item is still wanted; the flag of a new item must be reset first."""
        self._flags[sequence % MAX_ITEMS] = cancelled

    def is_cancelled(self, sequence: int) -> bool:
        """Worker: tell whether the node no longer wants an item."""
        return self._flags[sequence % MAX_ITEMS] != 0

    def post(self, frame: bytes) -> bool:
        """Worker: put a result frame into the outbox; False if it has no room (take it out first)."""
        used = self._words[_USED]
        end = used + len(frame)
        if end > OUTBOX_BYTES:
            return False
        self._outbox[used:end] = frame
        self._words[_USED] = end
        return True

    def pending(self) -> memoryview:
        """Worker: return what the outbox holds."""
        return self._outbox[: self._words[_USED]]

    def sent(self) -> None:
        """Worker: empty the outbox."""
        self._words[_GENERATION] += 1
        self._words[_USED] = 0

    def peek(self) -> bytes:
        """Node: return a copy of the frames in the outbox; empty if the worker changed it meanwhile."""
        generation, used = self._words[_GENERATION], self._words[_USED]
        copy = bytes(self._outbox[: min(used, OUTBOX_BYTES)])
        return copy if self._words[_GENERATION] == generation else b""

    def close(self) -> None:
        """Unmap the memory."""
        for view in (self._words, self._flags, self._outbox):
            view.release()
        self._memory.close()
