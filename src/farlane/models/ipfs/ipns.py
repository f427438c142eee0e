"""IPNS names and the signed records behind them, checked here, so that no gateway that hands one out must be believed.

Names are of Ed25519 keys, which stand in the name itself. Source: IPNS Record and Protocol, https://specs.ipfs.tech/ipns/
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Final

from farlane.errors import Corrupted, FarlaneError, InvalidInput, InvalidSignature, NotFound
from farlane.models.unixfs.protobuf import fields

MAX_RECORD_BYTES: Final = 10 << 10
"""Source: IPNS Record and Protocol, record size limit."""
KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MAX_NAME_CHARACTERS: Final = 100
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_KEY_HEAD: Final = bytes((0x00, 0x24, 0x08, 0x01, 0x12, KEY_BYTES))
"""Identity multihash of a libp2p public key of kind Ed25519."""
_CID_HEAD: Final = bytes((0x01, 0x72)) + _KEY_HEAD
_SIGNED_PREFIX: Final = b"ipns-signature:"
_SIGNATURE_FIELD: Final = 8
_DATA_FIELD: Final = 9
_END_OF_LIFE: Final = 0


@dataclass(frozen=True, slots=True)
class IpnsRecord:
    """A record whose signature was checked: where the name leads, how new it is, until when it holds (Unix seconds)."""

    path: str
    sequence: int
    valid_until: float


def parse_ipns_name(text: str) -> bytes:
    """Return the Ed25519 public key in a name: base36 (`k51...`), base32 (`bafz...`) or a peer id (`12D3Koo...`).

    Raises:
        InvalidInput: it is a name by DNS, or of another kind of key, or none.
    """
    raw = _decoded(text)
    for head in (_CID_HEAD, _KEY_HEAD):
        if raw.startswith(head) and len(raw) == len(head) + KEY_BYTES:
            return raw[len(head) :]
    raise InvalidInput(
        f"{text[:120]!r} is no IPNS name of an Ed25519 key, which begins with k51 or 12D3Koo; names by DNS and of "
        "other keys are resolved by a kubo (--api)"
    )


def open_record(raw: bytes, key: bytes, now: float) -> IpnsRecord:
    """Check a record and return what it says.

    Args:
        raw: the record, from anybody.
        key: the name's Ed25519 public key, 32 bytes.
        now: Unix seconds.

    Raises:
        Corrupted: it is no record.
        InvalidSignature: its name's owner did not sign it.
        NotFound: it is no longer valid.
    """
    from cryptography.exceptions import InvalidSignature as Mismatch
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature, data = _signed_parts(raw)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _SIGNED_PREFIX + data)
    except (Mismatch, ValueError) as error:
        raise InvalidSignature(
            "the IPNS record was not signed by the owner of its name: do not use it"
        ) from error
    record = _read(data)
    if record.valid_until < now:
        raise NotFound(
            "the newest IPNS record of this name is no longer valid: its owner must publish it again"
        )
    return record


def _signed_parts(raw: bytes) -> tuple[bytes, bytes]:
    if len(raw) > MAX_RECORD_BYTES:
        raise Corrupted(f"an IPNS record has at most {MAX_RECORD_BYTES} bytes, this one {len(raw)}")
    try:
        found = {one.number: one.octets for one in fields(raw, "an IPNS record")}
    except FarlaneError as error:
        raise Corrupted(f"this is no IPNS record: {error.message}") from error
    signature, data = found.get(_SIGNATURE_FIELD, b""), found.get(_DATA_FIELD, b"")
    if len(signature) != _SIGNATURE_BYTES or not data:
        raise Corrupted("this is no IPNS record with a signature of version 2")
    return signature, data


def _read(data: bytes) -> IpnsRecord:
    import dag_cbor

    try:
        said = dag_cbor.decode(data)
    except Exception as error:  # the library raises its own, KeyError and RecursionError alike
        raise Corrupted("the IPNS record does not hold strict DAG-CBOR") from error
    if not isinstance(said, dict):
        raise Corrupted("the IPNS record holds no map")
    value, validity, sequence = said.get("Value"), said.get("Validity"), said.get("Sequence")
    if not isinstance(value, bytes) or not isinstance(validity, bytes) or type(sequence) is not int:
        raise Corrupted("the IPNS record lacks its value, its validity or its sequence")
    if said.get("ValidityType") != _END_OF_LIFE:
        raise Corrupted("the IPNS record is valid in a way that is not known here")
    try:
        moment = datetime.datetime.fromisoformat(_to_microseconds(validity.decode("ascii")))
        path = value.decode("ascii")
    except ValueError as error:
        raise Corrupted("the IPNS record has a value or a moment that cannot be read") from error
    if moment.tzinfo is None:
        raise Corrupted("the IPNS record ends at a moment without a time zone")
    return IpnsRecord(path, sequence, moment.timestamp())


def _to_microseconds(moment: str) -> str:
    """Cut nanoseconds, which Python does not read, off a moment as RFC 3339 writes it."""
    head, dot, rest = moment.partition(".")
    if not dot:
        return moment
    digits = rest.rstrip("Zz")
    digits = digits.split("+")[0].split("-")[0]
    return f"{head}.{digits[:6]}{rest[len(digits) :]}"


def _decoded(text: str) -> bytes:
    if len(text) > _MAX_NAME_CHARACTERS:
        return b""
    if text.startswith("k"):
        return _from_digits(text[1:], _BASE36)
    if text.startswith("b"):
        return _from_bits(text[1:])
    # An identity multihash begins with 0, which base58 writes as a 1 of its own.
    return b"\0" + _from_digits(text[1:], _BASE58) if text.startswith("1") else b""


def _from_digits(text: str, alphabet: str) -> bytes:
    number = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            return b""
        number = number * len(alphabet) + digit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _from_bits(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE32.find(character)
        if digit < 0:
            return b""
        number = number << 5 | digit
    spare = len(text) * 5 % 8
    return (number >> spare).to_bytes(len(text) * 5 // 8, "big")
