"""SHA-256 of bytes, streams and files, and comparison in constant time."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import BinaryIO

DIGEST_BYTES = 32
CHUNK_BYTES = 1 << 20


def sha256(data: bytes | bytearray | memoryview) -> bytes:
    """Return the 32-byte SHA-256 digest of `data`."""
    return hashlib.sha256(data).digest()


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """Return the SHA-256 digest of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_stream(stream: BinaryIO) -> bytes:
    """Return the 32-byte SHA-256 digest of what is left in `stream`, in constant memory."""
    # Not hashlib.file_digest: it hashes a BytesIO from its beginning, wherever it stands.
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.digest()


def sha256_file(path: Path) -> bytes:
    """Return the 32-byte SHA-256 digest of a file, in constant memory.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as stream:
        return sha256_stream(stream)


def equal_secrets(one: str | bytes, other: str | bytes) -> bool:
    """Tell whether two secrets are equal, in a time that does not depend on where they differ.

    Text is compared as UTF-8; the length may leak, the content does not.
    """
    return hmac.compare_digest(_octets(one), _octets(other))


def _octets(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret
