"""Who may read a private version: X25519 key pairs of people and nodes, and the text by which one is named.

A recipient's text is `rcpt-` and base32 of its public key and 4 bytes of checksum, so that a mistyped one is refused
and never a key that nobody has.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.files import fsync_directory, private_directory, read_private
from farlane.kit.hashing import sha256
from farlane.kit.new_files import write_new

if TYPE_CHECKING:  # cryptography takes 0.1 s to import: only those who touch keys pay for it
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_FILE: Final = "recipient.key"
RETIRED_FILES: Final = "recipient-*.key"
KEY_BYTES: Final = 32
_PREFIX: Final = "rcpt-"
_CHECKSUM_BYTES: Final = 4
_CHECKSUM_OF: Final = b"farlane recipient v1"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody a key can be wrapped for.

    Attributes:
        public_key: X25519, 32 bytes.
    """

    public_key: bytes

    @property
    def text(self) -> str:
        """How people write it."""
        octets = self.public_key + _checksum(self.public_key)
        return _PREFIX + base64.b32encode(octets).decode("ascii").rstrip("=").lower()

    def key(self) -> X25519PublicKey:
        """Return it for use."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        return X25519PublicKey.from_public_bytes(self.public_key)


@dataclass(frozen=True, slots=True)
class RecipientKey:
    """A recipient with the private half."""

    recipient: Recipient
    private: X25519PrivateKey = field(repr=False)


def parse_recipient(text: str) -> Recipient:
    """Return the recipient that a text names.

    Raises:
        InvalidInput: it is none, or mistyped.
    """
    digits = text.removeprefix(_PREFIX)
    try:
        octets = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError):
        octets = b""
    recipient = Recipient(octets[:KEY_BYTES])
    if len(octets) != KEY_BYTES + _CHECKSUM_BYTES or recipient.text != text:
        raise InvalidInput(
            f"{text[:100]!r} is no recipient: expected '{_PREFIX}' and 58 characters, as its owner's program shows it; "
            "was it copied whole?"
        )
    return recipient


def new_recipient_key() -> RecipientKey:
    """Return a new key pair."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return _pair(X25519PrivateKey.generate())


def recipient_key(directory: Path) -> RecipientKey:
    """Return the key pair kept in a directory, made on first use; the file has mode 0600.

    Args:
        directory: made with mode 0700 if it is missing.

    Raises:
        PermissionRefused: others can read the key.
        Corrupted: the file holds no key; it is never replaced on its own, for versions are wrapped for it.
        DiskFull: a new one cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    path = private_directory(directory) / KEY_FILE
    try:
        return _read(path)
    except FileNotFoundError:
        made = X25519PrivateKey.generate()
        try:
            write_new(path, made.private_bytes_raw())
        except FileExistsError:  # somebody else was quicker: theirs counts
            return recipient_key(directory)
        return _pair(made)


def renewed_recipient_key(directory: Path) -> RecipientKey:
    """Put a new key pair in the place of the one kept in a directory; the old one is kept beside it, and still reads.

    Raises:
        PermissionRefused, Corrupted, DiskFull: as `recipient_key`.
    """
    path = private_directory(directory) / KEY_FILE
    try:
        old = _read(path)
    except FileNotFoundError:
        return recipient_key(directory)
    kept = path.with_name(RETIRED_FILES.replace("*", old.recipient.public_key.hex()[:16]))
    os.replace(path, kept)
    fsync_directory(directory)
    return recipient_key(directory)


def recipient_keys(directory: Path) -> tuple[RecipientKey, ...]:
    """Return the key pair kept in a directory, made on first use, then those that it took the place of.

    Raises:
        PermissionRefused, Corrupted, DiskFull: as `recipient_key`.
    """
    current = recipient_key(directory)
    return (current, *(_read(path) for path in sorted(directory.glob(RETIRED_FILES))))


def _read(path: Path) -> RecipientKey:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    octets = read_private(path)
    if len(octets) != KEY_BYTES:
        raise Corrupted(
            f"{path} has {len(octets)} bytes, an X25519 key has {KEY_BYTES}: restore it from a backup; without it "
            "nothing that was encrypted for it can be read",
            path=str(path),
        )
    return _pair(X25519PrivateKey.from_private_bytes(octets))


def _pair(private: X25519PrivateKey) -> RecipientKey:
    return RecipientKey(Recipient(private.public_key().public_bytes_raw()), private)


def _checksum(public_key: bytes) -> bytes:
    return sha256(_CHECKSUM_OF + public_key)[:_CHECKSUM_BYTES]
