"""Signatures by which an ERC-20 moves without an `approve`: permits (ERC-2612) and authorizations (ERC-3009)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from farlane.errors import InvalidInput, Reverted
from farlane.ledger.accounts import Address, PrivateKey, address_bytes
from farlane.ledger.keccak import keccak256
from farlane.ledger.rpc import RpcClient

PERMIT_TYPE = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
"""Source: ERC-2612."""
RECEIVE_TYPE = (
    b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
    b"bytes32 nonce)"
)
"""Source: ERC-3009. Of its two transfers the one that only the recipient can send, so that nobody comes between."""
DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
VERSIONS = ("1", "2")
"""Of domains in use; a token does not say which is its own in a way that all share. USDC's is 2."""
DAY_S = 86_400

Signature = tuple[int, bytes, bytes]
"""v, r and s, as contracts take them."""


@dataclass(frozen=True, slots=True)
class Permit:
    """`owner` lets `spender` take `value` units until `deadline`, unix seconds; the nonce makes it count once."""

    owner: Address
    spender: Address
    value: int
    nonce: int
    deadline: int


@dataclass(frozen=True, slots=True)
class Authorization:
    """`owner` sends `value` units to `to`, who alone can have it done, before `valid_before`, unix seconds."""

    owner: Address
    to: Address
    value: int
    valid_before: int
    nonce: bytes


def valid_until(now: float) -> int:
    """Return until when a signature of today counts: one or two days from `now`, unix seconds.

    The same for all of one day of UTC, so that a command that is repeated signs the same bytes.
    """
    return (int(now) // DAY_S + 2) * DAY_S


async def token_separator(rpc: RpcClient, token: Address, chain_id: int) -> bytes:
    """Return a token's EIP-712 domain separator, made here of its name and address, as the token itself has it.

    Raises:
        InvalidInput: it has none that is made like this: it takes no such signatures.
    """
    try:
        name = str(await rpc.read("CreditToken", token, "name"))
        stated = await rpc.read("CreditToken", token, "DOMAIN_SEPARATOR")
    except (Reverted, InvalidInput) as error:
        raise _takes_none(token) from error
    for version in VERSIONS:
        separator = keccak256(
            keccak256(DOMAIN_TYPE) + keccak256(name.encode()) + keccak256(version.encode())
            + chain_id.to_bytes(32, "big") + _word(token)
        )  # fmt: skip
        if separator == stated:
            return separator
    raise _takes_none(token)


async def permit_nonce(rpc: RpcClient, token: Address, owner: Address) -> int:
    """Return the nonce of an account's next permit.

    Raises:
        InvalidInput: the token takes no permits.
    """
    try:
        return int(await rpc.read("CreditToken", token, "nonces", (owner,)))
    except (Reverted, InvalidInput) as error:
        raise _takes_none(token) from error


def sign_permit(separator: bytes, key: PrivateKey, permit: Permit) -> Signature:
    """Sign a permit of the account `key`."""
    body = (
        keccak256(PERMIT_TYPE) + _word(permit.owner) + _word(permit.spender) + _number(permit.value)
        + _number(permit.nonce) + _number(permit.deadline)
    )  # fmt: skip
    return _signed(separator, key, body)


def sign_authorization(separator: bytes, key: PrivateKey, authorization: Authorization) -> Signature:
    """Sign an authorization of the account `key`; it is valid at once."""
    body = (
        keccak256(RECEIVE_TYPE) + _word(authorization.owner) + _word(authorization.to) + _number(authorization.value)
        + _number(0) + _number(authorization.valid_before) + authorization.nonce
    )  # fmt: skip
    return _signed(separator, key, body)


def fresh_nonce() -> bytes:
    """Return the nonce of a new authorization: 32 random bytes."""
    return secrets.token_bytes(32)


def _signed(separator: bytes, key: PrivateKey, body: bytes) -> Signature:
    raw = key.sign(keccak256(b"\x19\x01" + separator + keccak256(body)))
    return raw[64], raw[:32], raw[32:64]


def _word(address: Address) -> bytes:
    return address_bytes(address).rjust(32, b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _takes_none(token: Address) -> InvalidInput:
    return InvalidInput(
        f"the token {token} takes no signatures of this kind (ERC-2612, ERC-3009): deposit by a transaction instead, "
        "without --permit and --owner"
    )
