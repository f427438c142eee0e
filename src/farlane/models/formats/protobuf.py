"""A minimal reader of protobuf's encoding: the fields of one message, none of it trusted.

Source: protobuf, Encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from farlane.errors import Corrupted
from farlane.models.formats.content import Content

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10


class Window:
    """A part of a content that is read through a small buffer.

    Args:
        content: what is read.
        start: where the part begins.
        end: where it ends.
    """

    def __init__(self, content: Content, start: int, end: int) -> None:
        self.content, self.at, self.end = content, start, end
        self._piece, self._begin = b"", start

    def byte(self) -> int:
        """Return the next byte.

        Raises:
            Corrupted: there is none.
        """
        if self.at >= self.end:
            raise Corrupted("a protobuf message ends in the middle of a field")
        place = self.at - self._begin
        if not 0 <= place < len(self._piece):
            self._begin, self._piece = self.at, self.content.read(self.at, min(4096, self.end - self.at))
            place = 0
            if not self._piece:
                raise Corrupted("a protobuf message ends in the middle of a field")
        self.at += 1
        return self._piece[place]

    def varint(self) -> int:
        """Return the next variable-length integer.

        Raises:
            Corrupted: it is cut off or too long.
        """
        value = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value & ((1 << 64) - 1)
        raise Corrupted("a protobuf integer is longer than 10 bytes")


def fields(content: Content, start: int, end: int, limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, start or value, end) of each field of a message.

    For BYTES the last two are where its content lies; for VARINT the third is its value.

    Raises:
        Corrupted: the message is none, or has more than `limit` fields.
    """
    window, count = Window(content, start, end), 0
    while window.at < window.end:
        count += 1
        if count > limit:
            raise Corrupted(f"a protobuf message has more than {limit} fields")
        tag = window.varint()
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Corrupted("a protobuf field has the number 0")
        if kind == VARINT:
            yield number, kind, window.varint(), window.at
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(kind, -1)
        if kind == BYTES:
            length = window.varint()
        if length < 0 or window.at + length > end:
            raise Corrupted(
                f"a protobuf field of kind {kind} does not fit: {max(0, window.at + length - end)} bytes are missing",
                missing_bytes=max(0, window.at + length - end),
            )
        yield number, kind, window.at, window.at + length
        window.at += length


def text(content: Content, start: int, end: int, limit: int = 1 << 16) -> str:
    """Return a text field.

    Raises:
        Corrupted: it is longer than `limit`, or not UTF-8.
    """
    if end - start > limit:
        raise Corrupted(f"a protobuf text has {end - start} bytes, more than {limit}")
    try:
        return content.read(start, end - start).decode()
    except UnicodeDecodeError as error:
        raise Corrupted("a protobuf text is not UTF-8") from error
