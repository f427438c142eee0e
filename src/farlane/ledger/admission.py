"""Admission by wallet: the statement by which a key asks one hub, and no other, to be let in."""

from __future__ import annotations

from farlane.errors import InvalidSignature
from farlane.ledger.accounts import Address, PrivateKey, recover
from farlane.ledger.typed_data import Domain, digest


def sign_admission(domain: Domain, key: PrivateKey, hub: bytes, nonce: bytes, expires: int) -> bytes:
    """Sign a hub's challenge.

    Args:
        domain: the registry's; see `farlane.ledger.network_registry.registry_domain`.
        key: the node's.
        hub: SHA-256 of the hub's TLS key, as it was pinned: another hub can do nothing with the signature.
        nonce: the hub's, 32 bytes.
        expires: unix seconds.
    """
    return key.sign(digest(domain, "Admission", (hub, nonce, expires)))


def check_admission(
    domain: Domain, key: Address, hub: bytes, nonce: bytes, expires: int, signature: bytes
) -> None:
    """Check whose answer to a challenge it is.

    Raises:
        InvalidSignature: not the key's, or for another hub, network or chain.
    """
    found = recover(digest(domain, "Admission", (hub, nonce, expires)), signature)
    if found != key:
        raise InvalidSignature(
            f"the answer is signed by {found}; expected {key}, for this hub, network and chain",
            found=found,
            expected=key,
        )
