"""EIP-712 typed data: the structs of farlane, their digests, and the same as JSON for wallets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, address_bytes
from farlane.ledger.keccak import keccak256

DOMAIN_FIELDS = (
    ("string", "name"),
    ("string", "version"),
    ("uint256", "chainId"),
    ("address", "verifyingContract"),
    ("bytes32", "salt"),
)
DOMAIN_NAME = "farlane"
DOMAIN_VERSION = "1"

STRUCTS: dict[str, tuple[tuple[str, str], ...]] = {
    "Voucher": (("bytes32", "channel"), ("uint96", "cumulative"), ("uint64", "tasks"), ("bytes32", "root")),
    "TreeHead": (("bytes32", "channel"), ("uint64", "size"), ("bytes32", "root")),
    "Delegation": (("address", "provider"), ("address", "key"), ("uint64", "expires")),
    "JobTerms": (
        ("address", "payer"),
        ("address", "provider"),
        ("address", "arbiter"),
        ("uint96", "price"),
        ("uint96", "providerBond"),
        ("uint96", "disputeBond"),
        ("uint64", "deadline"),
        ("uint64", "window"),
        ("uint64", "arbiterWindow"),
        ("bytes32", "spec"),
        ("bytes32", "salt"),
    ),
    "Acceptance": (("bytes32", "job"), ("bytes32", "result")),
    "KeyOfOperator": (("address", "operator"), ("address", "key")),
    "TaskOrder": (
        ("bytes32", "channel"),
        ("bytes32", "task"),
        ("bytes32", "spec"),
        ("bytes32", "input"),
        ("uint64", "place"),
        ("uint96", "limit"),
    ),
    "Admission": (("bytes32", "hub"), ("bytes32", "nonce"), ("uint64", "expires")),
}
"""Struct -> its fields (type, name), in the order in which they are hashed."""

Value = Address | bytes | int


def type_text(name: str, fields: Sequence[tuple[str, str]]) -> str:
    """Return a struct's `encodeType`, such as `Voucher(bytes32 channel,...)`.

    Source: EIP-712, definition of encodeType.
    """
    return f"{name}({','.join(f'{kind} {field}' for kind, field in fields)})"


@lru_cache
def type_hash(name: str) -> bytes:
    """Return keccak256 of a struct's `encodeType`."""
    return keccak256(type_text(name, STRUCTS[name]).encode())


@dataclass(frozen=True)
class Domain:
    """Where a signature counts: one chain, one contract, one network (32 hex digits, in the domain's salt)."""

    chain_id: int
    contract: Address
    network: str

    @cached_property
    def salt(self) -> bytes:
        """The network's id as 32 bytes, zeros in front."""
        return network_salt(self.network)

    @cached_property
    def separator(self) -> bytes:
        """keccak256 of the encoded domain; a signature's digest begins with it."""
        kinds = type_text("EIP712Domain", DOMAIN_FIELDS).encode()
        return keccak256(
            keccak256(kinds)
            + keccak256(DOMAIN_NAME.encode())
            + keccak256(DOMAIN_VERSION.encode())
            + self.chain_id.to_bytes(32, "big")
            + address_bytes(self.contract).rjust(32, b"\0")
            + self.salt
        )


def network_salt(network: str) -> bytes:
    """Return a network's id as the domain's salt.

    Raises:
        InvalidInput: not up to 64 hex digits.
    """
    try:
        raw = bytes.fromhex(network)
    except ValueError:
        raw = b""
    if not 0 < len(raw) <= 32:
        raise InvalidInput(
            f"{network!r} is not a network's id; expected up to 64 hex digits", network=network
        )
    return raw.rjust(32, b"\0")


def digest(domain: Domain, name: str, values: Sequence[Value]) -> bytes:
    """Return the 32 bytes that are signed: keccak256(0x1901 || separator || hashStruct).

    Source: EIP-712, definition of the signed message.
    """
    body = b"".join(
        value.rjust(32, b"\0") if type(value) is bytes
        else value.to_bytes(32, "big") if type(value) is int
        else address_bytes(value)  # type: ignore[arg-type]  # the third of the three kinds
        .rjust(32, b"\0")
        for value in values
    )  # fmt: skip
    return keccak256(b"\x19\x01" + domain.separator + keccak256(type_hash(name) + body))


def document(domain: Domain, name: str, values: Sequence[Value]) -> dict[str, Any]:
    """Return the same as the JSON of `eth_signTypedData_v4`, for a wallet that shows what it signs."""
    fields = STRUCTS[name]
    message = {
        field: "0x" + value.hex() if isinstance(value, bytes) else value
        for (_, field), value in zip(fields, values, strict=True)
    }
    return {
        "types": {
            "EIP712Domain": [{"name": field, "type": kind} for kind, field in DOMAIN_FIELDS],
            name: [{"name": field, "type": kind} for kind, field in fields],
        },
        "primaryType": name,
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": domain.contract,
            "salt": "0x" + domain.salt.hex(),
        },
        "message": message,
    }
