"""One encrypted file: records of 1 MiB that are exactly the blocks of its DAG, each opened by itself and in its place.

    header   128 bytes: magic 16, commitment to the key 32, version id 16, salt 32, number 4, zeros 4, size 8, zeros 16
    record   AES-256-GCM of the next bytes, tag at its end; 1 MiB each, the first with the header, the last shorter

The key of a file is HKDF-SHA256(version key, salt, version id and number). The salt is 32 random bytes for each file
that is ever sealed, so its key is used for this file alone and the record's index is a nonce that never comes again.
Additional data of each record are the header, its index and how many there are: records that are swapped, left out,
cut off or of another file, version or key do not open. The commitment is there since AES-GCM alone lets one ciphertext
open under two keys. Source: RFC 5869 (HKDF); NIST SP 800-38D (GCM, deterministic nonces); RFC 9771, section 4.3.1
(key commitment).
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from farlane.errors import Conflict, Corrupted, InvalidInput, PermissionRefused
from farlane.kit.hashing import equal_secrets
from farlane.models.private.wrapping import VERSION_ID_BYTES, VersionKey

RECORD_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 128
TAG_BYTES: Final = 16
MAX_SIZE_BYTES: Final = 1 << 50
_MAGIC: Final = b"farlane-private\x01"
_HEADER: Final = struct.Struct("<16s32s16s32sIIQ16s")
_SALT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in clear at the beginning of a sealed file.

    Attributes:
        commitment: to the version's key, 32 bytes.
        version_id: of the version, 16 bytes.
        salt: of the file, 32 bytes.
        number: of the file in the version.
        size_bytes: of the plain file.
    """

    commitment: bytes
    version_id: bytes
    salt: bytes
    number: int
    size_bytes: int

    def encode(self) -> bytes:
        """Return its 128 bytes."""
        return _HEADER.pack(
            _MAGIC, self.commitment, self.version_id, self.salt, self.number, 0, self.size_bytes, bytes(16)
        )

    @property
    def records(self) -> int:
        """How many records the file has, at least one."""
        rest = max(0, self.size_bytes - _capacity(0))
        return 1 + -(-rest // _capacity(1))

    @property
    def sealed_bytes(self) -> int:
        """Size of the sealed file."""
        return HEADER_BYTES + self.size_bytes + TAG_BYTES * self.records


def seal_file(source: BinaryIO, size_bytes: int, target: BinaryIO, key: VersionKey, number: int) -> Header:
    """Encrypt a file.

    Args:
        source: the plain file, at its beginning.
        size_bytes: of it.
        target: where the sealed file goes.
        key: of the version.
        number: of the file in the version; each may be used once.

    Raises:
        Conflict: the source has another size.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header = Header(commitment(key), key.version_id, secrets.token_bytes(_SALT_BYTES), number, size_bytes)
    head = header.encode()
    cipher = AESGCM(_file_key(key, header))
    target.write(head)
    for index in range(header.records):
        want = min(_capacity(index), size_bytes - _start(index))
        plain = source.read(want)
        if len(plain) != want:
            raise Conflict("the file became shorter while it was encrypted: stop its writer first")
        target.write(cipher.encrypt(_nonce(index), plain, _additional(head, index, header.records)))
    if source.read(1):
        raise Conflict("the file became longer while it was encrypted: stop its writer first")
    return header


def read_header(path: Path) -> Header:
    """Return the header of a sealed file, which nobody has authenticated yet.

    Raises:
        Corrupted: it is no sealed file, or is cut off.
    """
    with path.open("rb") as stream:
        return _header(stream.read(HEADER_BYTES), path.stat().st_size)


def open_file(source: BinaryIO, sealed_bytes: int, key: VersionKey, number: int) -> Iterator[bytes]:
    """Yield the plain bytes of a sealed file, each record authenticated before any of it is seen.

    Only who reads to the end knows that nothing was cut off.

    Args:
        source: the sealed file, at its beginning.
        sealed_bytes: its size.
        key: of the version.
        number: which file of the version it must be.

    Raises:
        PermissionRefused: it was encrypted with another key.
        Corrupted: it is another file, of another version, or was changed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head = source.read(HEADER_BYTES)
    header = _header(head, sealed_bytes)
    if header.version_id != key.version_id or header.number != number:
        raise Corrupted(
            f"this is file {header.number} of private version {header.version_id.hex()}: expected file {number} of "
            f"{key.version_id.hex()}; fetch the version again"
        )
    if not equal_secrets(header.commitment, commitment(key)):
        raise PermissionRefused("this file was encrypted with another key than the one given")
    cipher = AESGCM(_file_key(key, header))
    for index in range(header.records):
        length = min(_capacity(index), header.size_bytes - _start(index)) + TAG_BYTES
        try:
            yield cipher.decrypt(_nonce(index), source.read(length), _additional(head, index, header.records))
        except InvalidTag as error:
            raise Corrupted(
                f"record {index} of file {number} does not open: it was changed, moved or is of another file; fetch "
                "it from another source",
                record=index,
            ) from error


def commitment(key: VersionKey) -> bytes:
    """Return 32 bytes that only this key gives, and that tell nothing about it."""
    return _derived(key.key, key.version_id, b"farlane private commitment v1")


def _header(raw: bytes, sealed_bytes: int) -> Header:
    if len(raw) < HEADER_BYTES or not raw.startswith(_MAGIC):
        raise Corrupted("this is no file of a private version, or a newer farlane wrote it")
    _, committed, version_id, salt, number, zeros, size, padding = _HEADER.unpack(raw)
    header = Header(committed, version_id, salt, number, size)
    if zeros or any(padding) or size > MAX_SIZE_BYTES or header.sealed_bytes != sealed_bytes:
        raise Corrupted(
            f"a file of a private version has {sealed_bytes} bytes, its header tells another size: it was cut off or "
            "changed; fetch it again"
        )
    return header


def _file_key(key: VersionKey, header: Header) -> bytes:
    if len(key.version_id) != VERSION_ID_BYTES:
        raise InvalidInput(f"a version id has {VERSION_ID_BYTES} bytes, not {len(key.version_id)}")
    info = b"farlane private file v1" + header.version_id + header.number.to_bytes(4, "big")
    return _derived(key.key, header.salt, info)


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _capacity(index: int) -> int:
    """Return how many plain bytes a full record has."""
    return RECORD_BYTES - TAG_BYTES - (HEADER_BYTES if index == 0 else 0)


def _start(index: int) -> int:
    """Return where in the plain file a record begins."""
    return 0 if index == 0 else _capacity(0) + (index - 1) * _capacity(1)


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _additional(head: bytes, index: int, records: int) -> bytes:
    return head + index.to_bytes(8, "big") + records.to_bytes(8, "big")
