"""The little of protobuf's wire format that dag-pb and UnixFS use: varints and length-delimited fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from farlane.errors import InvalidInput

VARINT: Final = 0
"""Wire type of integers."""
LENGTH_DELIMITED: Final = 2
"""Wire type of bytes, text and messages."""

_MAX_VARINT_BYTES: Final = 10
_MAX_UINT64: Final = (1 << 64) - 1


class Field(NamedTuple):
    """One field of a message: `integer` if its wire type is VARINT, `octets` if LENGTH_DELIMITED."""

    number: int
    wire_type: int
    integer: int
    octets: bytes


def varint(value: int) -> bytes:
    """Encode an integer of at most 64 bits, not negative."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def integer_field(number: int, value: int) -> bytes:
    """Encode an integer field."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, octets: bytes) -> bytes:
    """Encode a field of bytes, text or a message."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(octets)) + octets


def fields(message: bytes, what: str) -> Iterator[Field]:
    """Yield a message's fields in order.

    Args:
        message: the encoded message.
        what: it should be, for the error.

    Raises:
        InvalidInput: it is cut off, or has another wire type than the two above.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = _read_varint(message, at, what)
        number, wire_type = key >> 3, key & 7
        value, at = _read_varint(message, at, what)
        if wire_type == VARINT:
            yield Field(number, wire_type, value, b"")
        elif wire_type == LENGTH_DELIMITED:
            if value > end - at:
                raise InvalidInput(
                    f"{what} is cut off: field {number} says {value} bytes and {end - at} are left"
                )
            yield Field(number, wire_type, 0, message[at : at + value])
            at += value
        else:
            raise InvalidInput(f"{what} has a field of wire type {wire_type}: expected 0 or 2")


def _read_varint(message: bytes, at: int, what: str) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if at >= len(message):
            raise InvalidInput(f"{what} is cut off in the middle of a number")
        octet = message[at]
        at += 1
        value |= (octet & 0x7F) << 7 * count
        if octet < 0x80:
            if value > _MAX_UINT64 or (count and not octet):
                break
            return value, at
    raise InvalidInput(f"{what} has a number that is not in its shortest form or exceeds 64 bits")
