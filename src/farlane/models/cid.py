"""Content identifiers of blocks: CIDv0 and CIDv1 with sha2-256, for the codecs raw, dag-pb and dag-cbor.

`farlane.kit.cid` knows only raw CIDs, the names of payloads; models consist of DAGs, whose blocks have other codecs.
A CID here has exactly one text: base58btc for version 0 (`Qm...`), lower-case base32 for version 1 (`b...`).
Source: multiformats/cid, multiformats/multibase and multiformats/multicodec specifications.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from typing import Final, NamedTuple

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.hashing import DIGEST_BYTES

RAW: Final = 0x55
"""Codec of a block that is plain bytes."""
DAG_PB: Final = 0x70
"""Codec of a UnixFS node."""
DAG_CBOR: Final = 0x71
"""Codec of a manifest."""

Octets = bytes | bytearray | memoryview
"""Bytes in any of the forms a block arrives in."""

_SHA2_256: Final = bytes((0x12, DIGEST_BYTES))
_CODECS: Final = {RAW: "raw", DAG_PB: "dag-pb", DAG_CBOR: "dag-cbor"}
_HASHES: Final = {
    0x00: "identity",
    0x11: "sha1",
    0x13: "sha2-512",
    0x16: "sha3-256",
    0x1B: "keccak-256",
    0x1E: "blake3",
}
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS58: Final = {character: value for value, character in enumerate(_BASE58)}
_V0_CHARACTERS: Final = 46
_V1_CHARACTERS: Final = 59
_V0_BYTES: Final = 2 + DIGEST_BYTES
_V1_BYTES: Final = 4 + DIGEST_BYTES
_EXPECTED: Final = (
    "expected a CID with sha2-256 of a raw, dag-pb or dag-cbor block: version 1 in base32 ('b' and 58 characters) "
    "or version 0 ('Qm' and 44 characters)"
)


class Cid(NamedTuple):
    """One block's name.

    version: 0 or 1; codec: RAW, DAG_PB or DAG_CBOR (version 0: always DAG_PB); digest: SHA-256 of the block, 32 bytes.
    Made by `parse_cid`, `cid_from_bytes`, `block_cid` or `cid_of_digest`, which check these.
    """

    version: int
    codec: int
    digest: bytes

    @property
    def text(self) -> str:
        """The one text of this CID."""
        return _text(self)

    @property
    def bytes(self) -> bytes:
        """The binary form, as links in blocks have it: 34 bytes in version 0, 36 in version 1."""
        if self.version == 0:
            return _SHA2_256 + self.digest
        return _V1_HEADS[self.codec] + self.digest

    def __str__(self) -> str:
        return _text(self)


_V1_HEADS: Final = {codec: bytes((1, codec)) + _SHA2_256 for codec in _CODECS}
_CODECS_OF_HEADS: Final = {head: codec for codec, head in _V1_HEADS.items()}


def cid_of_digest(codec: int, digest: bytes, version: int = 1) -> Cid:
    """Return the CID of the block whose SHA-256 is `digest`.

    Raises:
        InvalidInput: not 32 bytes, an unknown codec, or a version that this codec does not have.
    """
    if len(digest) != DIGEST_BYTES:
        raise InvalidInput(f"a SHA-256 digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    if codec not in _CODECS:
        raise InvalidInput(f"codec 0x{codec:x} is none of raw (0x55), dag-pb (0x70) and dag-cbor (0x71)")
    if version != 1 and (version != 0 or codec != DAG_PB):
        raise InvalidInput(
            f"a CID of version {version} and codec {_CODECS[codec]} does not exist: take version 1"
        )
    return Cid(version, codec, digest)


def block_cid(codec: int, data: Octets, version: int = 1) -> Cid:
    """Return the CID of a block.

    Raises:
        InvalidInput: an unknown codec, or a version that this codec does not have.
    """
    return cid_of_digest(codec, hashlib.sha256(data).digest(), version)


def verify_block(cid: Cid, data: Octets) -> None:
    """Check that `data` is the block of `cid`.

    Raises:
        Corrupted: the bytes are others.
    """
    digest = hashlib.sha256(data).digest()
    if digest != cid.digest:
        found = Cid(cid.version, cid.codec, digest)
        raise Corrupted(
            f"the {memoryview(data).nbytes} bytes received for block {cid} hash to {found}: fetch them again from "
            "another source",
            cid=cid.text,
        )


@functools.lru_cache(maxsize=16384)  # one block's CID is parsed for each message that names it
def parse_cid(text: str) -> Cid:
    """Return the CID that a text names.

    Whatever passes is the only text of its CID.

    Raises:
        InvalidInput: it is anything else; the message says what it is.
    """
    if len(text) == _V0_CHARACTERS and text.startswith("Qm"):
        cid = _from_base58(text)
    else:
        cid = _from_base32(text)
    # Encoding it again refuses what decoding lets pass, such as stray bits in the last character.
    if _text(cid) != text:
        raise _refused(text, "not in canonical base32")
    return cid


def cid_from_bytes(raw: Octets) -> Cid:
    """Return the CID in binary form, as links in blocks have it.

    Raises:
        InvalidInput: it is another kind of CID, or none; the message says what it is.
    """
    octets = bytes(raw)
    if len(octets) == _V1_BYTES and (codec := _CODECS_OF_HEADS.get(octets[:4])) is not None:
        return Cid(1, codec, octets[4:])
    if len(octets) == _V0_BYTES and octets.startswith(_SHA2_256):
        return Cid(0, DAG_PB, octets[2:])
    raise _refused(f"0x{octets[:50].hex()}", _description(octets))


@functools.lru_cache(maxsize=16384)
def _text(cid: Cid) -> str:
    if cid.version == 0:
        return _base58(cid.bytes)
    return "b" + base64.b32encode(cid.bytes).decode("ascii").rstrip("=").lower()


def _base58(octets: bytes) -> str:
    """Encode bytes that do not begin with 0."""
    number, characters = int.from_bytes(octets, "big"), []
    while number:
        number, digit = divmod(number, 58)
        characters.append(_BASE58[digit])
    return "".join(reversed(characters))


def _from_base58(text: str) -> Cid:
    number = 0
    for character in text:
        if character not in _DIGITS58:
            raise _refused(text, f"not in base58btc, which has no {character!r}")
        number = number * 58 + _DIGITS58[character]
    return cid_from_bytes(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _from_base32(text: str) -> Cid:
    if not text:
        raise _refused(text, "empty")
    if not text.startswith("b"):
        raise _refused(text, _other_base(text))
    digits = text[1:]
    try:
        octets = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError) as error:
        raise _refused(text, "not in canonical base32") from error
    if len(text) != _V1_CHARACTERS or len(octets) != _V1_BYTES or octets[:4] not in _CODECS_OF_HEADS:
        raise _refused(text, _description(octets))
    return Cid(1, _CODECS_OF_HEADS[octets[:4]], octets[4:])


def _other_base(text: str) -> str:
    if text.startswith("Qm"):
        return f"a CIDv0 of {len(text)} characters: cut off or too long"
    if text.startswith("z"):
        return "a CIDv1 in base58btc"
    if text.startswith(("B", "f", "F", "u", "k", "m")):
        return "a CID in another base than lower-case base32, or none"
    return "no CID"


def _description(octets: bytes) -> str:
    """Say what bytes that are no CID of ours might be."""
    if len(octets) < 4:
        return "cut off"
    if octets.startswith(_SHA2_256):
        return f"a CIDv0 of {len(octets)} bytes instead of {_V0_BYTES}"
    version, codec, function, length = octets[:4]
    if version != 1:
        return f"not a CID of version 1 but of {version}"
    if codec not in _CODECS:
        return f"a CID of another codec (0x{codec:x})"
    if function != _SHA2_256[0]:
        return f"a CID with another hash ({_HASHES.get(function, f'0x{function:x}')})"
    if length != DIGEST_BYTES:
        return f"a CID with a digest of {length} bytes instead of {DIGEST_BYTES}"
    return "cut off or too long"


def _refused(text: str, what: str) -> InvalidInput:
    return InvalidInput(f"{text[:120]!r} is {what}: {_EXPECTED}", cid=text[:120])
