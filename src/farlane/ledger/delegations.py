"""Delegations as files: a provider's cold key lets a node's key sign tree heads, and the node loads the proof."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from farlane.errors import InvalidInput, InvalidSignature, TooLarge
from farlane.ledger.accounts import SIGNATURE_BYTES, Address, PrivateKey, parse_address
from farlane.ledger.typed_data import Domain, network_salt
from farlane.ledger.vouchers import Delegation, check_delegation, delegation_digest

FORMAT = "farlane-delegation-1"
MAX_BYTES = 16 * 1024
_MAX_EXPIRES = 2**64 - 1
_FIELDS = {"network", "chain_id", "contract", "provider", "key", "expires", "signature"}


@dataclass(frozen=True, slots=True)
class SignedDelegation:
    """A delegation with the provider's signature, and the domain in which it counts."""

    domain: Domain
    delegation: Delegation
    signature: bytes


def sign_delegation(domain: Domain, provider: PrivateKey, key: Address, expires: int) -> SignedDelegation:
    """Let a node's key sign tree heads in the provider's name until `expires`, unix seconds."""
    delegation = Delegation(provider.address, key, expires)
    return SignedDelegation(domain, delegation, provider.sign(delegation_digest(domain, delegation)))


def verify_delegation(signed: SignedDelegation, domain: Domain, key: Address, now: float) -> None:
    """Check that a delegation is for this network and this key, signed by its provider, and has not expired.

    Args:
        signed: what a file says.
        domain: of the network at hand.
        key: the node's own address.
        now: unix seconds.

    Raises:
        InvalidSignature: one of these does not hold.
    """
    if signed.domain != domain:
        raise InvalidSignature(
            f"the delegation is for network {signed.domain.network}, chain {signed.domain.chain_id}, contract "
            f"{signed.domain.contract}; expected {domain.network}, {domain.chain_id}, {domain.contract}: sign one for "
            "this network"
        )
    if signed.delegation.key != key:
        raise InvalidSignature(
            f"the delegation lets {signed.delegation.key} sign, but this node's key is {key}: sign one for it by "
            f"`farlane key delegate NAME {key}`"
        )
    check_delegation(domain, signed.delegation, signed.signature, now)


def delegation_to_json(signed: SignedDelegation) -> bytes:
    """Return the delegation as a file's content."""
    domain, delegation = signed.domain, signed.delegation
    document = {
        "format": FORMAT,
        "network": domain.network,
        "chain_id": domain.chain_id,
        "contract": domain.contract,
        "provider": delegation.provider,
        "key": delegation.key,
        "expires": delegation.expires,
        "signature": signed.signature.hex(),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def delegation_from_json(raw: bytes) -> SignedDelegation:
    """Read a delegation file; whether it is signed is for `verify_delegation` to say.

    Raises:
        InvalidInput: it is not one.
        TooLarge: it is longer than any delegation.
    """
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"the file has {len(raw)} bytes; a delegation has at most {MAX_BYTES}")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not a delegation: {error}") from error
    if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
        raise InvalidInput(f"this is not a delegation; expected JSON with format {FORMAT!r}")
    if set(found) != _FIELDS:
        wrong = ", ".join(sorted(_FIELDS ^ set(found)))
        raise InvalidInput(f"the delegation has fields too many or too few: {wrong}")
    domain = Domain(
        _number(found, "chain_id"), parse_address(str(found["contract"])), _network(found["network"])
    )
    delegation = Delegation(
        parse_address(str(found["provider"])), parse_address(str(found["key"])), _number(found, "expires")
    )
    return SignedDelegation(domain, delegation, _signature(found["signature"]))


def _number(found: dict[str, Any], name: str) -> int:
    number = found[name]
    if type(number) is not int or not 0 <= number <= _MAX_EXPIRES:
        raise InvalidInput(f"the delegation's {name} must be a whole number from 0 to 2^64 - 1")
    return number


def _network(network: object) -> str:
    if not isinstance(network, str):
        raise InvalidInput("the delegation's network must be text")
    network_salt(network)
    return network


def _signature(text: object) -> bytes:
    try:
        signature = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        raise InvalidInput(f"the delegation's signature is not one; expected {SIGNATURE_BYTES} bytes in hex")
    return signature
