"""Blocks: memory that hub and worker share, as a file without a name, which grows and never shrinks."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from typing import Self

PAGE_BYTES = 1 << 16


class Block:
    """One block of shared memory, mapped in this process.

    It has no name anywhere, so nothing is left behind however hub and worker end; the other side gets its descriptor
    when it is started. Where the system can, it is sealed against shrinking: a side that cut it off would kill the
    other.

    Args:
        descriptor: of the file; this object closes it.
        writable: whether this side may write.
    """

    def __init__(self, descriptor: int, *, writable: bool) -> None:
        self.descriptor = descriptor
        self._writable = writable
        self._size = 0
        self._buffer = memoryview(b"")

    @classmethod
    def new(cls) -> Self:
        """Return an empty block."""
        return cls(_nameless_file(), writable=True)

    @property
    def buffer(self) -> memoryview:
        """The block's bytes as far as they are mapped."""
        return self._buffer

    def reserve(self, size: int) -> None:
        """Make the block at least so many bytes long and map them; what it held it still holds."""
        if size > self._size:
            wanted = -(-size * 5 // 4 // PAGE_BYTES) * PAGE_BYTES
            if os.fstat(self.descriptor).st_size < wanted:
                os.ftruncate(self.descriptor, wanted)
            self._map(wanted)

    def see(self, size: int) -> None:
        """Map what the other side has reserved, if this side does not yet see so many bytes.

        Raises:
            ValueError: the block is not that long.
        """
        if size > self._size:
            there = os.fstat(self.descriptor).st_size
            if size > there:
                raise ValueError(f"the block has {there} bytes, not {size}")
            self._map(there)

    def close(self) -> None:
        """Let go of the block; arrays upon it hold until they are dropped."""
        self._buffer, self._size = memoryview(b""), 0
        os.close(self.descriptor)

    def _map(self, size: int) -> None:
        # Arrays upon the earlier mapping keep it alive; it shows the same file.
        access = mmap.PROT_READ | (mmap.PROT_WRITE if self._writable else 0)
        self._buffer = memoryview(mmap.mmap(self.descriptor, size, mmap.MAP_SHARED, access))
        self._size = size


def _nameless_file() -> int:
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile(prefix="farlane-block") as file:
            return os.dup(file.fileno())
    descriptor = os.memfd_create("farlane-block", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor
