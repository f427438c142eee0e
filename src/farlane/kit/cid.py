"""Content identifiers (CIDs) of bytes: what IPFS calls a CIDv1 of one raw block.

A CID is text: `b` (base32, lower case) and then, in base32 without padding, version 1, codec raw (0x55) and the
multihash sha2-256 (0x12, 32 bytes). One content has exactly one such text, and `ipfs block put --cid-codec=raw`
gives the same. Source: multiformats/cid and multiformats/multibase specifications.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from pathlib import Path
from typing import Final

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.hashing import DIGEST_BYTES, sha256, sha256_file

CID_LENGTH: Final = 59
"""Characters in every CID made here."""

_PREFIX: Final = bytes((0x01, 0x55, 0x12, DIGEST_BYTES))
_CODECS: Final = {0x70: "a dag-pb node", 0x71: "a dag-cbor node", 0x72: "an IPNS key"}
_ALPHABET: Final = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_CUT_OFF: Final = "cut off, too long or not in canonical base32"
_EXPECTED: Final = (
    f"expected a CIDv1 of a raw block with sha2-256 in base32: 'bafkrei' and more, {CID_LENGTH} in all"
)


def cid_of(data: bytes | bytearray | memoryview) -> str:
    """Return the CID of `data`."""
    return cid_of_digest(sha256(data))


class BlobHasher:
    """Takes a blob piece by piece and tells its CID, in constant memory."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        self._hash.update(data)

    def cid(self) -> str:
        """Return the CID of all bytes taken so far."""
        return cid_of_digest(self._hash.digest())


def cid_of_file(path: Path) -> str:
    """Return the CID of a file's content, in constant memory.

    Raises:
        OSError: if the file cannot be read.
    """
    return cid_of_digest(sha256_file(path))


def cid_of_digest(digest: bytes) -> str:
    """Return the CID of the content whose SHA-256 is `digest`.

    Raises:
        InvalidInput: if `digest` does not have 32 bytes.
    """
    if len(digest) != DIGEST_BYTES:
        raise InvalidInput(f"a SHA-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    return "b" + base64.b32encode(_PREFIX + digest).decode("ascii").rstrip("=").lower()


@functools.lru_cache(maxsize=4096)  # a store parses the same CID several times for each operation
def parse(cid: str) -> bytes:
    """Return the SHA-256 digest (32 bytes) inside a CID.

    Whatever passes is safe as a file name, and is the only text of its content.

    Raises:
        InvalidInput: if `cid` is anything else; the message says what it is.
    """
    digest = _decode(cid)[len(_PREFIX) :] if len(cid) == CID_LENGTH else b""
    # Encoding it again refuses all at once: upper case, another prefix, and stray bits in the last character.
    if len(digest) != DIGEST_BYTES or cid_of_digest(digest) != cid:
        raise InvalidInput(f"{cid[:100]!r} is {_description(cid)}: {_EXPECTED}", cid=cid[:100])
    return digest


@functools.lru_cache(maxsize=4096)
def digest_of(cid: str) -> bytes:
    """Return the SHA-256 digest (32 bytes) inside a CIDv1 of a raw block, a dag-pb or a dag-cbor node.

    Raises:
        InvalidInput: if `cid` is anything else.
    """
    head = _decode(cid)
    codec = head[1] if len(head) == len(_PREFIX) + DIGEST_BYTES else 0
    prefix = bytes((_PREFIX[0], codec)) + _PREFIX[2:]
    if codec not in (0x55, 0x70, 0x71) or not cid.startswith("b") or head[: len(prefix)] != prefix:
        raise InvalidInput(
            f"{cid[:100]!r} is not a CID of version 1 with sha2-256 in base32; expected something like 'bafyrei...'"
        )
    if base64.b32encode(head).decode("ascii").rstrip("=").lower() != cid[1:]:
        raise InvalidInput(f"{cid[:100]!r} is {_CUT_OFF}: expected a CID exactly as it was shown")
    return head[len(prefix) :]


def verify(cid: str, data: bytes | bytearray | memoryview) -> None:
    """Check that `data` is the content of `cid`.

    Raises:
        InvalidInput: if `cid` is not a CID.
        Corrupted: if the bytes are others.
    """
    if sha256(data) != parse(cid):
        raise Corrupted(
            f"the {len(data)} bytes received for {cid} hash to {cid_of(data)}: fetch them again from another source",
            cid=cid,
        )


def _decode(cid: str) -> bytes:
    """Return the bytes of a lower-case base32 CID, or none if it is not one."""
    text = cid[1:]
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return b""


def _description(cid: str) -> str:
    """Say what a text that is no raw CID might be."""
    if not cid:
        return "empty"
    if cid.startswith("Qm") and len(cid) == 46:
        return "a CIDv0, which names a dag-pb node"
    if not cid.startswith("b") or not _ALPHABET.issuperset(cid):
        return "not in base32 (lower case), which begins with 'b'"
    head = _decode(cid)[: len(_PREFIX)]
    if len(head) < len(_PREFIX):
        return _CUT_OFF
    version, codec, *multihash = head
    if version != _PREFIX[0]:
        return "not a CID of version 1"
    if codec != _PREFIX[1]:
        return _CODECS.get(codec, "a CID of another codec than raw")
    if bytes(multihash) != _PREFIX[2:]:
        return "a CID with another hash than sha2-256"
    return _CUT_OFF
