"""The chain's state root: a sum over all entries, kept up to date by what changes and checked by adding up again."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from farlane.ledger.embedded.evm import Account, Changes

_MODULUS = 1 << 256


def account_entry(address: bytes, account: Account) -> int:
    """Return an account's share in the sum."""
    figures = account.nonce.to_bytes(8, "big") + account.balance.to_bytes(32, "big")
    return _share(b"account" + address + figures + account.code_hash)


def slot_entry(address: bytes, number: int, value: int) -> int:
    """Return a storage slot's share in the sum, 0 for an empty one."""
    if not value:
        return 0
    return _share(b"slot" + address + number.to_bytes(32, "big") + value.to_bytes(32, "big"))


def _share(entry: bytes) -> int:
    return int.from_bytes(sha256(entry).digest(), "big")


def moved(root: bytes, gone: Iterator[int], new: Iterator[int]) -> bytes:
    """Return the root after entries went and others came.

    The order does not matter, and whoever has all entries can add them up and compare. It finds damage; it is no
    Merkle root: nothing can be proved from it to somebody who has only the header.
    """
    total = int.from_bytes(root, "big") - sum(gone) + sum(new)
    return (total % _MODULUS).to_bytes(32, "big")


def new_entries(changes: Changes) -> Iterator[int]:
    """Yield the shares of what a message wrote."""
    for address, account in changes.accounts.items():
        if account is not None:
            yield account_entry(address, account)
    for (address, number), value in changes.slots.items():
        yield slot_entry(address, number, value)
