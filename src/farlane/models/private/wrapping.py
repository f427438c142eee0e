"""The key of a private version, wrapped for each of its recipients by HPKE.

Wrapping is RFC 9180 in its base mode, by the cryptography package: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
AES-256-GCM. `info` binds a wrapped key to this use and to the version, so that it cannot be moved to another version.
Every version has a key of its own: sharing one version opens no other, and no nonce is ever used with a key twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from farlane.errors import Corrupted, InvalidInput, PermissionRefused
from farlane.models.manifest.values import Encryption
from farlane.models.private.recipients import KEY_BYTES, Recipient, RecipientKey

ALGORITHM: Final = "aes-256-gcm/hpke-x25519"
VERSION_ID_BYTES: Final = 16
_INFO: Final = b"farlane private version key v1"
_WRAPPED_BYTES: Final = 32 + KEY_BYTES + 16  # ephemeral key, the wrapped key, tag
_ENTRY_BYTES: Final = VERSION_ID_BYTES + KEY_BYTES + _WRAPPED_BYTES


@dataclass(frozen=True, slots=True)
class VersionKey:
    """What opens a private version.

    Attributes:
        version_id: 16 random bytes that name the encryption, in clear.
        key: 32 random bytes.
    """

    version_id: bytes
    key: bytes = field(repr=False)


def new_version_key() -> VersionKey:
    """Return a random key for one version."""
    return VersionKey(secrets.token_bytes(VERSION_ID_BYTES), secrets.token_bytes(KEY_BYTES))


def wrapped_for(key: VersionKey, recipients: Iterable[Recipient]) -> Encryption:
    """Return what a manifest says of a version's encryption.

    Raises:
        InvalidInput: there is no recipient: nobody could ever read it; or one has a key that no X25519 key can be.
    """
    entries = tuple(_wrap(key, one) for one in sorted(set(recipients), key=lambda one: one.public_key))
    if not entries:
        raise InvalidInput("a private version needs at least one recipient, or nobody can read it")
    return Encryption(algorithm=ALGORITHM, recipients=entries)


def recipients_of(encryption: Encryption) -> tuple[Recipient, ...]:
    """Return for whom a version's key is wrapped.

    Raises:
        Corrupted: the entries are none.
    """
    return tuple(recipient for _, recipient, _ in _entries(encryption))


def key_among(encryption: Encryption, keys: Sequence[RecipientKey]) -> RecipientKey:
    """Return the first of our keys that a version is wrapped for, else the first of them.

    Raises:
        Corrupted: the entries are none.
    """
    known = set(recipients_of(encryption))
    return next((one for one in keys if one.recipient in known), keys[0])


def unwrap(encryption: Encryption, own: RecipientKey) -> VersionKey:
    """Return the key of a version that is wrapped for us.

    Raises:
        PermissionRefused: it is not wrapped for us.
        Corrupted: it is, and does not open; or the entries are none.
    """
    from cryptography.exceptions import InvalidTag

    for version_id, recipient, wrapped in _entries(encryption):
        if recipient != own.recipient:
            continue
        try:
            key = _suite().decrypt(wrapped, own.private, info=_INFO + version_id)
        except InvalidTag as error:
            raise Corrupted(
                "the key of this private version was wrapped for you and does not open: its manifest was tampered "
                "with; fetch it from its publisher again"
            ) from error
        return VersionKey(version_id, key)
    raise PermissionRefused(
        "this version is private and not shared with you: ask its publisher to share it with "
        f"{own.recipient.text}, which is you",
        recipient=own.recipient.text,
    )


def _wrap(key: VersionKey, recipient: Recipient) -> bytes:
    try:
        wrapped = _suite().encrypt(key.key, recipient.key(), info=_INFO + key.version_id)
    except ValueError as error:
        raise InvalidInput(
            f"{recipient.text} is no X25519 key anybody can have: ask its owner again"
        ) from error
    return key.version_id + recipient.public_key + bytes(wrapped)


def _entries(encryption: Encryption) -> Iterator[tuple[bytes, Recipient, bytes]]:
    if encryption.algorithm != ALGORITHM:
        raise Corrupted(
            f"this version is encrypted by {encryption.algorithm[:64]!r}; this farlane opens {ALGORITHM!r}: "
            "install a newer one"
        )
    for entry in encryption.recipients:
        if len(entry) != _ENTRY_BYTES:
            raise Corrupted(
                f"a recipient of this version has {len(entry)} bytes, expected {_ENTRY_BYTES}: its manifest is damaged"
            )
        yield (
            entry[:VERSION_ID_BYTES],
            Recipient(entry[VERSION_ID_BYTES : VERSION_ID_BYTES + KEY_BYTES]),
            entry[VERSION_ID_BYTES + KEY_BYTES :],
        )


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
