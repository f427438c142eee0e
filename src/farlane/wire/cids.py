"""The CID of a blob, computed while its bytes pass by: what `ipfs add` says under the profile unixfs-v1-2025."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20
MAX_LINKS = 1024
_RAW, _DAG_PB = 0x55, 0x70
_FILE = 2


@dataclass(frozen=True, slots=True)
class _Node:
    """One block of the tree."""

    cid: bytes
    file_bytes: int
    """Bytes of the file below it."""
    total_bytes: int
    """The same with the blocks that hold the tree together."""


class BlobHasher:
    """Takes a blob piece by piece and tells its CID; constant memory but for 100 bytes a MiB.

    Source: IPIP-0499, profile unixfs-v1-2025: CIDv1, sha2-256, raw leaves of 1 MiB, balanced, 1024 links a node.
    """

    def __init__(self) -> None:
        self._leaves: list[_Node] = []
        self._hash = hashlib.sha256()
        self._filled = 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            if self._filled == CHUNK_BYTES:
                self._end_leaf()
            piece = view[: CHUNK_BYTES - self._filled]
            self._hash.update(piece)
            self._filled += len(piece)
            view = view[len(piece) :]

    def cid(self) -> str:
        """Return the CID of all bytes taken, as base32 text."""
        level = [*self._leaves, self._leaf()]
        while len(level) > 1:
            level = [_parent(level[first : first + MAX_LINKS]) for first in range(0, len(level), MAX_LINKS)]
        return "b" + base64.b32encode(level[0].cid).decode().rstrip("=").lower()

    def _end_leaf(self) -> None:
        self._leaves.append(self._leaf())
        self._hash, self._filled = hashlib.sha256(), 0

    def _leaf(self) -> _Node:
        return _Node(_cid(_RAW, self._hash.digest()), self._filled, self._filled)


def _parent(children: list[_Node]) -> _Node:
    file_bytes = sum(child.file_bytes for child in children)
    unixfs = _number(1, _FILE) + _number(3, file_bytes)
    unixfs += b"".join(_number(4, child.file_bytes) for child in children)
    # dag-pb writes the links (field 2) before the data (field 1), and a file's links have an empty name, not none.
    links = (_bytes(1, child.cid) + _bytes(2, b"") + _number(3, child.total_bytes) for child in children)
    block = b"".join(_bytes(2, link) for link in links) + _bytes(1, unixfs)
    total_bytes = len(block) + sum(child.total_bytes for child in children)
    return _Node(_cid(_DAG_PB, hashlib.sha256(block).digest()), file_bytes, total_bytes)


def _cid(codec: int, digest: bytes) -> bytes:
    return bytes([1, codec, 0x12, len(digest)]) + digest


def _number(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
