"""The CID of a blob, computed while its bytes pass by."""

from __future__ import annotations

import base64
import hashlib

_RAW_SHA256 = bytes([0x01, 0x55, 0x12, 0x20])
"""CIDv1, codec raw, multihash sha2-256 of 32 bytes."""


class BlobHasher:
    """Takes a blob piece by piece and tells its CID: a CIDv1 of one raw block, whatever the size.

    The same bytes have the same CID in the content store; the rooms are strangers, so a test compares the two.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._hash.update(data)

    def cid(self) -> str:
        """Return the CID of all bytes taken, as base32 text."""
        return "b" + base64.b32encode(_RAW_SHA256 + self._hash.digest()).decode().rstrip("=").lower()
