"""The data of UnixFS nodes: what a dag-pb block says about a file, a directory or a shard of one.

Source: https://specs.ipfs.tech/unixfs/ (message Data).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from farlane.errors import InvalidInput, TooLarge
from farlane.models.unixfs.protobuf import (
    LENGTH_DELIMITED,
    VARINT,
    bytes_field,
    fields,
    integer_field,
    varint,
)

MURMUR3_X64_64: Final = 0x22
"""Code of the hash that places names in sharded directories."""

_WHAT: Final = "UnixFS data"
_MAX_SIZES: Final = 32_768
_TYPE, _DATA, _SIZE, _BLOCK_SIZE, _HASH, _FANOUT, _MODE, _TIME = 1, 2, 3, 4, 5, 6, 7, 8
_BYTES_FIELDS: Final = (_DATA, _TIME)


class NodeKind(IntEnum):
    """What a node is."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


@dataclass(frozen=True, slots=True)
class NodeData:
    """UnixFS data.

    data: bytes of a file in this very node, or the bitfield of a shard; size_bytes: of the file below; block_sizes: of
    the file below each link; hash_code, fanout: of a shard.
    """

    kind: NodeKind
    data: bytes | None = None
    size_bytes: int | None = None
    block_sizes: Sequence[int] = ()
    hash_code: int | None = None
    fanout: int | None = None


def encode_data(node: NodeData) -> bytes:
    """Return the encoded message."""
    parts = [integer_field(_TYPE, node.kind)]
    if node.data is not None:
        parts.append(bytes_field(_DATA, node.data))
    if node.size_bytes is not None:
        parts.append(integer_field(_SIZE, node.size_bytes))
    parts.extend(b"\x20" + varint(size) for size in node.block_sizes)
    if node.hash_code is not None:
        parts.append(integer_field(_HASH, node.hash_code))
    if node.fanout is not None:
        parts.append(integer_field(_FANOUT, node.fanout))
    return b"".join(parts)


def decode_data(message: bytes) -> NodeData:
    """Return what an encoded message says; permission bits and times are read over.

    Raises:
        InvalidInput: it is no UnixFS data.
        TooLarge: it lists more sizes than a node can have links.
    """
    integers: dict[int, int] = {}
    data: bytes | None = None
    sizes: list[int] = []
    for field in fields(message, _WHAT):
        if not _TYPE <= field.number <= _TIME:
            raise InvalidInput(f"{_WHAT} has field {field.number}, which does not exist")
        if field.number == _BLOCK_SIZE:
            sizes.extend(_block_sizes(field.wire_type, field.integer, field.octets))
            if len(sizes) > _MAX_SIZES:
                raise TooLarge(f"{_WHAT} lists more than {_MAX_SIZES} block sizes")
            continue
        if field.wire_type != (LENGTH_DELIMITED if field.number in _BYTES_FIELDS else VARINT):
            raise InvalidInput(f"{_WHAT} has field {field.number} of wire type {field.wire_type}")
        if field.number in integers or (field.number == _DATA and data is not None):
            raise InvalidInput(f"{_WHAT} has field {field.number} twice")
        if field.number == _DATA:
            data = field.octets
        else:
            integers[field.number] = field.integer
    kind = integers.get(_TYPE)
    if kind is None or kind > NodeKind.SHARD:
        raise InvalidInput(f"{_WHAT} is of kind {kind}: expected 0 to {int(NodeKind.SHARD)}")
    return NodeData(
        NodeKind(kind), data, integers.get(_SIZE), tuple(sizes), integers.get(_HASH), integers.get(_FANOUT)
    )


def wrap_leaf(data: bytes | bytearray | memoryview) -> bytes:
    """Return the leaf block of a profile without raw leaves: a UnixFS file node with the bytes in it."""
    size = memoryview(data).nbytes
    head = bytes_field(_DATA, b"")[:1] + varint(size) if size else b""
    tail = integer_field(_SIZE, size)
    message_bytes = 2 + len(head) + size + len(tail)
    return b"".join((b"\x0a", varint(message_bytes), b"\x08\x02", head, data, tail))


def _block_sizes(wire_type: int, integer: int, octets: bytes) -> list[int]:
    if wire_type == VARINT:
        return [integer]
    raise InvalidInput(f"{_WHAT} has packed block sizes ({len(octets)} bytes), which UnixFS does not")
