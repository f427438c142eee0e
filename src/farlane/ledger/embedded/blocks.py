"""Blocks as Ethereum has them since Cancun: header, hash, bloom, and roots of lists with at most one entry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import rlp

from farlane.ledger.embedded.evm import Log
from farlane.ledger.keccak import keccak256

EMPTY_LIST_HASH = keccak256(rlp.encode([]))
"""Uncles of a block. Source: EIP-3675."""
EMPTY_ROOT = keccak256(rlp.encode(b""))
"""Root of an empty trie. Source: yellow paper, appendix on the trie."""
NO_REQUESTS = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
"""requestsHash of a block without requests: SHA-256 of nothing. Source: EIP-7685."""
GWEI = 10**9
BENEFICIARY = bytes(20)
"""Who gets the tips: nobody."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says of itself: time in unix seconds, base fee in wei per gas."""

    parent: bytes
    state: bytes
    transactions: bytes
    receipts: bytes
    bloom: bytes
    number: int
    gas_limit: int
    gas_used: int
    time: int
    base_fee: int
    withdrawals: bytes

    def encode(self) -> bytes:
        """Return the bytes that are hashed. Source: EIP-1559, EIP-3675, EIP-4895, EIP-4844, EIP-4788, EIP-7685."""
        fields = [
            self.parent, EMPTY_LIST_HASH, BENEFICIARY, self.state, self.transactions, self.receipts, self.bloom,
            0, self.number, self.gas_limit, self.gas_used, self.time, b"", self.parent, bytes(8), self.base_fee,
            self.withdrawals, 0, 0, bytes(32), NO_REQUESTS,
        ]  # fmt: skip
        return bytes(rlp.encode(fields))


def decode_header(raw: bytes) -> Header:
    """Read what `Header.encode` wrote; raises ValueError or rlp's errors for anything else."""
    fields = rlp.decode(raw, strict=True)
    parent, (state, transactions, receipts, bloom) = fields[0], fields[3:7]
    number, gas_limit, gas_used, time = (int.from_bytes(field, "big") for field in fields[8:12])
    base_fee, withdrawals = int.from_bytes(fields[15], "big"), fields[16]
    return Header(
        parent, state, transactions, receipts, bloom, number, gas_limit, gas_used, time, base_fee, withdrawals
    )


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Coin that comes in from outside of the EVM: how the faucet pays. Source: EIP-4895."""

    index: int
    address: bytes
    gwei: int

    def encode(self) -> bytes:
        """Return the entry as a block lists it; it is nobody's validator."""
        return bytes(rlp.encode([self.index, 0, self.address, self.gwei]))


def root_of(entry: bytes | None) -> bytes:
    """Return the trie root of a list with one entry, or none.

    Source: yellow paper, appendix on the trie: a single leaf whose path is the index 0.
    """
    return EMPTY_ROOT if entry is None else keccak256(rlp.encode([b"\x20\x80", entry]))


def bloom_of(logs: Iterable[Log]) -> bytes:
    """Return the 256 bytes that tell which addresses and topics may be in a block.

    Source: yellow paper, section on the transaction receipt.
    """
    bits = 0
    for log in logs:
        for item in (log.address, *log.topics):
            digest = keccak256(item)
            for place in (0, 2, 4):
                bits |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def receipt_bytes(kind: int, succeeded: bool, gas_used: int, logs: Iterable[Log]) -> bytes:
    """Return a receipt as the root covers it. Source: EIP-658, EIP-2718."""
    logs = list(logs)
    listed = [[log.address, list(log.topics), log.data] for log in logs]
    body = bytes(rlp.encode([int(succeeded), gas_used, bloom_of(logs), listed]))
    return body if kind == 0 else bytes((kind,)) + body
