"""Zip archives that are looked into: counted before they are opened, and never unpacked beyond a limit."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from farlane.errors import Corrupted, InvalidInput
from farlane.models.formats.content import Content

MAX_MEMBERS: Final = 10_000
MAX_DIRECTORY_BYTES: Final = 4 << 20
_END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LOCAL: Final = b"PK\x03\x04"
_LOCAL_BYTES: Final = 30
_ENCRYPTED: Final = 1


class _ContentStream(io.RawIOBase):
    """A content as a stream that zipfile reads."""

    def __init__(self, content: Content) -> None:
        self._content, self._at = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._content.size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        found = self._content.read(self._at, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def stream_of(content: Content) -> io.BufferedReader:
    """Return a content as a stream."""
    return io.BufferedReader(_ContentStream(content))


def member_names(content: Content) -> list[str]:
    """Return the names in an archive.

    Raises:
        Corrupted: it is no archive, or cut off.
        InvalidInput: it has more than MAX_MEMBERS.
    """
    with _opened(content) as archive:
        return archive.namelist()


def member_head(content: Content, name: str, limit: int) -> bytes:
    """Return the first bytes of a member.

    Raises:
        Corrupted: it cannot be read.
    """
    with _opened(content) as archive, archive.open(name) as stream:
        return stream.read(limit)


class Stretch:
    """A part of a content, as a content of its own.

    Args:
        content: what it is a part of.
        offset: where it begins.
        size: its bytes.
    """

    def __init__(self, content: Content, offset: int, size: int) -> None:
        self._content, self._offset, self._size = content, offset, size

    @property
    def offset(self) -> int:
        """Where it begins."""
        return self._offset

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset` on; fewer at the end."""
        return self._content.read(self._offset + offset, max(0, min(length, self._size - offset)))


def stored_member(content: Content, name: str) -> Stretch | None:
    """Return where a member lies that is kept as it is, None for one that is packed or encrypted.

    Raises:
        Corrupted: it is not there, or reaches beyond the file.
    """
    with _opened(content) as archive:
        try:
            info = archive.getinfo(name)
        except KeyError as error:
            raise Corrupted(f"the archive has no {name}: it was not saved completely") from error
    if (
        info.compress_type != zipfile.ZIP_STORED
        or info.flag_bits & _ENCRYPTED
        or info.file_size != info.compress_size
    ):
        return None
    head = content.read(info.header_offset, _LOCAL_BYTES)
    if len(head) < _LOCAL_BYTES or not head.startswith(_LOCAL):
        raise Corrupted(f"the archive has no {name} where its directory says: copy it again")
    # The lengths of name and extra field here may be others than in the directory.
    offset = info.header_offset + _LOCAL_BYTES + sum(struct.unpack("<HH", head[-4:]))
    if offset + info.file_size > content.size:
        raise Corrupted(f"{name} in the archive reaches beyond its end: copy it again")
    return Stretch(content, offset, info.file_size)


def member(content: Content, name: str, limit: int) -> bytes:
    """Return a member.

    Raises:
        Corrupted: it is not there, or cannot be read.
        InvalidInput: it is larger than the limit.
    """
    with _opened(content) as archive:
        if name not in archive.namelist():
            raise Corrupted(f"the archive has no {name}: it was not saved completely")
        with archive.open(name) as stream:
            data = stream.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput(
            f"{name} in the archive has more than {limit} bytes: no real model has; it is refused"
        )
    return data


@contextmanager
def _opened(content: Content) -> Iterator[zipfile.ZipFile]:
    _count(content)
    try:
        with stream_of(content) as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, zlib.error) as error:
        raise Corrupted(f"this archive cannot be read ({error}): it may be cut off; copy it again") from error


def _count(content: Content) -> None:
    tail_bytes = min(content.size, _END_BYTES + 65535)
    tail = content.read(content.size - tail_bytes, tail_bytes)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise Corrupted("this archive has no directory at its end: it is cut off; copy it again")
    _, _, _, members, directory = struct.unpack("<HHHHI", tail[at + 4 : at + 16])
    if members > MAX_MEMBERS or directory > MAX_DIRECTORY_BYTES:
        raise InvalidInput(
            f"the archive has {members} members, more than {MAX_MEMBERS}: no real model has; it is refused"
        )
