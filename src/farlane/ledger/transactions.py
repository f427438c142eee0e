"""Transactions: EIP-1559 (type 2), encoded, signed and named by their hash."""

from __future__ import annotations

from dataclasses import dataclass

import rlp

from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, PrivateKey, address_bytes
from farlane.ledger.keccak import keccak256

_TYPE = b"\x02"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What is signed. Fees in wei per gas; `to` is None where a contract is created."""

    chain_id: int
    nonce: int
    max_tip: int
    max_fee: int
    gas: int
    to: Address | None
    value: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """The bytes to send and the hash they are known by."""

    raw: bytes
    hash: bytes


def sign_transaction(transaction: Transaction, key: PrivateKey) -> SignedTransaction:
    """Encode and sign a transaction.

    Source: EIP-1559, transaction type 2; EIP-2718 envelopes.

    Raises:
        InvalidInput: a negative number, or a tip above the fee.
    """
    numbers = (
        transaction.chain_id,
        transaction.nonce,
        transaction.max_tip,
        transaction.max_fee,
        transaction.gas,
    )
    if min(*numbers, transaction.value) < 0 or transaction.max_tip > transaction.max_fee:
        raise InvalidInput(f"a transaction of {key.address} has impossible figures: {transaction!r}")
    body = [
        *numbers,
        address_bytes(transaction.to) if transaction.to is not None else b"",
        transaction.value,
        transaction.data,
        [],
    ]
    signature = key.sign(keccak256(_TYPE + rlp.encode(body)))
    parity, r, s = (
        signature[64] - 27,
        int.from_bytes(signature[:32], "big"),
        int.from_bytes(signature[32:64], "big"),
    )
    raw = _TYPE + rlp.encode([*body, parity, r, s])
    return SignedTransaction(raw, keccak256(raw))


def contract_address(creator: Address, nonce: int) -> bytes:
    """Return the 20 bytes of the address a creation with this nonce gets.

    Source: yellow paper, section on contract creation.
    """
    return keccak256(rlp.encode([address_bytes(creator), nonce]))[12:]
