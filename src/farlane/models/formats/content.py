"""The bytes of a file that is looked into: read anywhere, never beyond its end, never all at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from farlane.errors import Corrupted
from farlane.kit.files import open_regular


class Content(Protocol):
    """A file of a known size."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset` on; fewer at the end."""
        ...


class BytesContent:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset` on; fewer at the end."""
        return self._data[offset : offset + length]


class FileContent:
    """An open file; its size is what it was when it was opened."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._size = os.fstat(descriptor).st_size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset` on; fewer at the end."""
        return os.pread(self.descriptor, max(0, min(length, self._size - offset)), offset)


@contextmanager
def file_content(path: Path) -> Iterator[FileContent]:
    """Open a regular file, refusing links, pipes and devices.

    Raises:
        InvalidInput: it is no regular file.
        FileNotFoundError: there is none.
    """
    descriptor = open_regular(path)
    try:
        yield FileContent(descriptor)
    finally:
        os.close(descriptor)


class Cursor:
    """Reads a content from its beginning, a piece at a time, with a limit on all of it.

    Args:
        content: what is read.
        what: the format, for messages.
        limit: bytes after which the file is refused.
    """

    def __init__(self, content: Content, what: str, limit: int) -> None:
        self._content, self._what, self._limit = content, what, limit
        self._piece, self._start = b"", 0
        self.at = 0

    def take(self, length: int) -> bytes:
        """Return the next bytes.

        Raises:
            Corrupted: the file ends before them, or the limit is passed.
        """
        end = self.at + length
        if end > self._limit:
            raise Corrupted(
                f"this {self._what} file has a header of more than {self._limit} bytes: it is refused"
            )
        if end > self._content.size:
            missing = end - self._content.size
            raise truncated(self._what, missing, self._content.size)
        if end > self._start + len(self._piece):
            self._start = self.at
            self._piece = self._content.read(self.at, max(length, 1 << 20))
        found = self._piece[self.at - self._start : end - self._start]
        if len(found) != length:
            raise truncated(self._what, length - len(found), self._content.size)
        self.at = end
        return found


def truncated(what: str, missing: int, size: int) -> Corrupted:
    """Return the error of a file that ends too early."""
    return Corrupted(
        f"this {what} file is cut off: it has {size} bytes and lacks at least {missing} more; copy it again",
        missing_bytes=missing,
    )
