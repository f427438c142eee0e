"""Channels, tree heads and vouchers: what the two sides of a channel promise, signed and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from farlane.errors import InvalidSignature
from farlane.ledger.accounts import Address, PrivateKey, address_bytes, address_from_bytes, recover_bytes
from farlane.ledger.keccak import keccak256
from farlane.ledger.typed_data import Domain, digest

NANO_PER_CREDIT = 10**9
MAX_UNITS = 2**96 - 1
"""Amounts of a channel are uint96 in the contract."""


@dataclass(frozen=True)
class Channel:
    """One payer's channel to one provider; signer is the session key that promises, salt makes it unique."""

    payer: Address
    provider: Address
    signer: Address
    salt: bytes

    @cached_property
    def id(self) -> bytes:
        """keccak256(abi.encode(payer, provider, signer, salt)), 32 bytes."""
        words = [
            address_bytes(account).rjust(32, b"\0") for account in (self.payer, self.provider, self.signer)
        ]
        return keccak256(b"".join(words) + self.salt)


@dataclass(frozen=True, slots=True)
class Voucher:
    """The signer's promise: `cumulative` units in all for the first `tasks` leaves of the tree with this root."""

    channel: bytes
    cumulative: int
    tasks: int
    root: bytes


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The node's statement: the channel's tree has `size` leaves and this root."""

    channel: bytes
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Delegation:
    """A provider lets a node's key sign tree heads in its name until `expires`, unix seconds."""

    provider: Address
    key: Address
    expires: int


@dataclass(frozen=True, slots=True)
class SignedVoucher:
    """A voucher with the signer's signature."""

    voucher: Voucher
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A tree head with the node's signature."""

    head: TreeHead
    signature: bytes


def units_floor(nano: int, units_per_credit: int) -> int:
    """Return nano-credits in the token's smallest units, rounded down.

    Taken of the running total, never of single amounts, so that nothing is lost over time.
    """
    return nano * units_per_credit // NANO_PER_CREDIT


def nano_floor(units: int, units_per_credit: int) -> int:
    """Return units of the token in nano-credits, rounded down."""
    return units * NANO_PER_CREDIT // units_per_credit


def nano_ceiling(units: int, units_per_credit: int) -> int:
    """Return units of the token in nano-credits, rounded up."""
    return -(-units * NANO_PER_CREDIT // units_per_credit)


def voucher_digest(domain: Domain, voucher: Voucher) -> bytes:
    """Return what the signer signs."""
    return digest(domain, "Voucher", (voucher.channel, voucher.cumulative, voucher.tasks, voucher.root))


def head_digest(domain: Domain, head: TreeHead) -> bytes:
    """Return what the node signs."""
    return digest(domain, "TreeHead", (head.channel, head.size, head.root))


def delegation_digest(domain: Domain, delegation: Delegation) -> bytes:
    """Return what the provider signs."""
    return digest(domain, "Delegation", (delegation.provider, delegation.key, delegation.expires))


def sign_voucher(domain: Domain, key: PrivateKey, voucher: Voucher) -> SignedVoucher:
    """Sign a voucher with the channel's session key."""
    return SignedVoucher(voucher, key.sign(voucher_digest(domain, voucher)))


def sign_head(domain: Domain, key: PrivateKey, head: TreeHead) -> SignedHead:
    """Sign a tree head with a node's key."""
    return SignedHead(head, key.sign(head_digest(domain, head)))


def check_voucher(domain: Domain, signed: SignedVoucher, signer: Address) -> None:
    """Check whose voucher it is.

    Raises:
        InvalidSignature: not the signer's, or for another network, chain or contract.
    """
    _check(voucher_digest(domain, signed.voucher), signed.signature, signer, "voucher")


def check_head(domain: Domain, signed: SignedHead, key: Address) -> None:
    """Check whose tree head it is.

    Raises:
        InvalidSignature: not this key's.
    """
    _check(head_digest(domain, signed.head), signed.signature, key, "tree head")


def check_delegation(domain: Domain, delegation: Delegation, signature: bytes, now: float) -> None:
    """Check that a provider stands behind a node's key.

    Raises:
        InvalidSignature: the provider has not signed it, or it has expired at `now`, unix seconds.
    """
    if delegation.provider == delegation.key:
        return
    if delegation.expires <= now:
        raise InvalidSignature(
            f"the provider {delegation.provider} let {delegation.key} sign until {delegation.expires}, which has "
            "passed: sign a new delegation"
        )
    _check(delegation_digest(domain, delegation), signature, delegation.provider, "delegation")


def _check(what: bytes, signature: bytes, expected: Address, name: str) -> None:
    raw = recover_bytes(what, signature)
    if raw != address_bytes(expected):
        found = address_from_bytes(raw)
        raise InvalidSignature(
            f"the {name} is signed by {found}; expected {expected}, on this network, chain and contract",
            found=found,
            expected=expected,
        )
