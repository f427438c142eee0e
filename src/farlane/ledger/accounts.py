"""Accounts: secp256k1 keys, their addresses, and signatures that name their signer."""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from typing import NewType, NoReturn

from coincurve import PrivateKey as CurveKey
from coincurve import PublicKey

from farlane.errors import InvalidInput, InvalidSignature
from farlane.ledger.keccak import keccak256

Address = NewType("Address", str)
"""An account as people see it: 0x and 40 hex digits, upper and lower case as EIP-55 says."""

NO_ADDRESS = Address("0x" + "0" * 40)
SIGNATURE_BYTES = 65
CURVE_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Source: SEC 2, secp256k1."""
_HALF_ORDER = CURVE_ORDER // 2
_ADDRESS = re.compile(r"0[xX]([0-9a-fA-F]{40})")


def address_from_bytes(raw: bytes) -> Address:
    """Return the checksummed text of a 20-byte address.

    Source: EIP-55.

    Raises:
        InvalidInput: not 20 bytes.
    """
    if len(raw) != 20:
        raise InvalidInput(f"an address has 20 bytes; these are {len(raw)}")
    digits = raw.hex()
    marks = keccak256(digits.encode()).hex()
    return Address(
        "0x" + "".join(d.upper() if int(m, 16) > 7 else d for d, m in zip(digits, marks, strict=False))
    )


def address_bytes(address: Address) -> bytes:
    """Return the 20 bytes of an address."""
    return bytes.fromhex(address[2:])


def parse_address(text: str) -> Address:
    """Read an address that somebody typed.

    Raises:
        InvalidInput: it is not one, or its checksum does not fit (a digit is wrong).
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"{text!r} is not an address; expected 0x and 40 hex digits", address=text)
    digits = found[1]
    address = address_from_bytes(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper(), address[2:]):
        raise InvalidInput(
            f"the address {text!r} has a wrong digit: its checksum (EIP-55) does not fit; copy it again",
            address=text,
        )
    return address


class PrivateKey:
    """One secp256k1 key. It shows its address, never itself."""

    __slots__ = ("_key", "address")

    def __init__(self, key: CurveKey) -> None:
        self._key = key
        self.address = address_from_bytes(_address_of(key.public_key))

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a new random key."""
        return cls.from_bytes((secrets.randbelow(CURVE_ORDER - 1) + 1).to_bytes(32, "big"))

    @classmethod
    def from_bytes(cls, raw: bytes) -> PrivateKey:
        """Return the key of 32 bytes.

        Raises:
            InvalidInput: they are not a key.
        """
        if len(raw) != 32 or not 0 < int.from_bytes(raw, "big") < CURVE_ORDER:
            raise InvalidInput(
                "these bytes are not a secp256k1 key; expected 32, between 1 and the curve's order"
            )
        return cls(CurveKey(raw))

    def to_bytes(self) -> bytes:
        """Return the 32 secret bytes, for a key file and nothing else."""
        return self._key.secret

    def sign(self, digest: bytes) -> bytes:
        """Return r || s || v over a 32-byte digest: 65 bytes, s in the lower half, v 27 or 28."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((raw[64] + 27,))

    def __repr__(self) -> str:
        """Name the account, not the key."""
        return f"PrivateKey({self.address})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"the key of {self.address} cannot be pickled or copied: a task or another process gets its address, "
            "never the key"
        )


def recover(digest: bytes, signature: bytes) -> Address:
    """Return whose signature it is.

    Raises:
        InvalidSignature: it has the wrong length, a v that is not 27 or 28, or its malleable twin's high s.
    """
    return address_from_bytes(recover_bytes(digest, signature))


def recover_bytes(digest: bytes, signature: bytes) -> bytes:
    """Return the 20 bytes of the signer's address, without the cost of its checksum; raises as `recover`."""
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidSignature(f"a signature has {SIGNATURE_BYTES} bytes; this one has {len(signature)}")
    if signature[64] not in (27, 28):
        raise InvalidSignature(f"the signature's last byte is {signature[64]}; expected 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise InvalidSignature(
            "the signature's s is in the upper half: it is the malleable twin of another one"
        )
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes((signature[64] - 27,)), digest, hasher=None
        )
    except Exception as error:
        raise InvalidSignature("the signature belongs to no key") from error
    return _address_of(key)


def _address_of(key: PublicKey) -> bytes:
    return _address_of_point(key.format(compressed=False))


@lru_cache(maxsize=4096)
def _address_of_point(point: bytes) -> bytes:
    # Kept, since a hub or node sees the same signers again and again.
    return keccak256(point[1:])[12:]
