"""Join and client tokens: who the holder is, the secret that proves it and the hub's TLS key hash, as one text."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Literal

from farlane.errors import InvalidToken

Role = Literal["client", "node"]

PREFIX = "fl1."
SPKI_BYTES = 32
MAX_NAME_BYTES = 100
MIN_SECRET_CHARS, MAX_SECRET_CHARS = 16, 200
_CHECKSUM_BYTES = 4
_ROLES: dict[int, Role] = {1: "client", 2: "node"}
_ROLE_BYTES = {role: number for number, role in _ROLES.items()}
_MAX_TEXT_CHARS = 1200
_LOOKS_LIKE = (
    f"a token is one line that begins with {PREFIX!r}, followed by about 170 letters and digits 2 to 7, "
    "as `farlane up` prints it"
)


@dataclass(frozen=True, slots=True)
class Token:
    """What lets a client or node in, and lets it know the right hub.

    Raises:
        InvalidToken: a part is missing, too long or cannot travel in a header.
    """

    role: Role
    """What the holder may be."""
    organisation: str
    publisher: str
    """Who submits and pays; empty on a node's token."""
    spki_sha256: bytes
    """SHA-256 of the hub's public TLS key (32 bytes)."""
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.role not in _ROLE_BYTES:
            raise InvalidToken(f"token role {self.role!r} is unknown; expected 'client' or 'node'")
        if not self.organisation:
            raise InvalidToken("a token names an organisation; this one's is empty")
        for what, name in (("organisation", self.organisation), ("publisher", self.publisher)):
            if len(_octets(what, name)) > MAX_NAME_BYTES:
                raise InvalidToken(
                    f"{what} of a token is longer than {MAX_NAME_BYTES} bytes; choose a shorter name"
                )
        if len(self.spki_sha256) != SPKI_BYTES:
            raise InvalidToken(
                f"key hash of a token has {len(self.spki_sha256)} bytes; expected {SPKI_BYTES}"
            )
        # It travels in an HTTP/2 header: anything but visible ASCII would break the call, not only the check.
        visible = all("!" <= char <= "~" for char in self.secret)
        if not visible or not MIN_SECRET_CHARS <= len(self.secret) <= MAX_SECRET_CHARS:
            raise InvalidToken(
                f"secret of a token must be {MIN_SECRET_CHARS} to {MAX_SECRET_CHARS} visible ASCII characters"
            )

    def text(self) -> str:
        """Return the token as people copy it: prefix, base32 of all parts, checksum inside."""
        parts = (self.organisation.encode(), self.publisher.encode(), self.secret.encode())
        body = bytes([_ROLE_BYTES[self.role]]) + self.spki_sha256
        body += b"".join(bytes([len(part)]) + part for part in parts)
        packed = base64.b32encode(body + _checksum(body))
        return PREFIX + packed.decode().rstrip("=").lower()

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that proves the caller on each call."""
        return (("authorization", f"Bearer {self.secret}"),)


def parse_token(text: str) -> Token:
    """Read a token; upper case and the line breaks of a terminal do not matter.

    Raises:
        InvalidToken: not a token, cut off, or mistyped (the checksum tells).
    """
    compact = "".join(text.split()).lower() if len(text) <= _MAX_TEXT_CHARS else ""
    if not compact.startswith(PREFIX):
        raise InvalidToken(f"this is not a token: {_LOOKS_LIKE}")
    packed = compact.removeprefix(PREFIX)
    try:
        raw = base64.b32decode(packed.upper() + "=" * (-len(packed) % 8))
    except (binascii.Error, ValueError) as error:
        raise InvalidToken(
            f"the token has a wrong character or was cut off: {_LOOKS_LIKE}. Copy it again as a whole"
        ) from error
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if checksum != _checksum(body):
        raise InvalidToken(
            f"the token's checksum does not match: it was mistyped or cut off ({len(packed)} characters after "
            f"{PREFIX!r}). Copy it again as a whole; {_LOOKS_LIKE}"
        )
    return _unpack(body)


def secret_digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret: what the hub keeps instead of it (32 bytes)."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _unpack(body: bytes) -> Token:
    role = _ROLES.get(body[0]) if body else None
    rest = body[1 + SPKI_BYTES :]
    texts: list[str] = []
    try:
        while rest:
            size = rest[0]
            if len(rest) <= size:
                break
            texts.append(rest[1 : 1 + size].decode())
            rest = rest[1 + size :]
    except UnicodeDecodeError as error:
        raise _foreign() from error
    if role is None or rest or len(texts) != 3:
        raise _foreign()
    organisation, publisher, secret = texts
    return Token(role, organisation, publisher, body[1 : 1 + SPKI_BYTES], secret)


def _foreign() -> InvalidToken:
    # The checksum was right, so this is no typing error.
    return InvalidToken(
        "the token is whole, but its content is not what this farlane knows: it may come from a newer version. "
        "Upgrade farlane here, or ask for a new token"
    )


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode() + body).digest()[:_CHECKSUM_BYTES]


def _octets(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidToken(f"{what} of a token is not valid Unicode text: {text!r}") from error
