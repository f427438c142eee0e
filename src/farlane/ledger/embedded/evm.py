"""The Evm port: executes one message on a state and tells what it would change; it keeps nothing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from farlane.ledger.keccak import keccak256

EMPTY_CODE_HASH = keccak256(b"")
"""Code hash of an account without code. Source: yellow paper, section on the world state."""

Slot = tuple[bytes, int]
"""A contract's 20-byte address and the number of one of its storage slots."""
AccessList = Sequence[tuple[bytes, Sequence[int]]]
"""Addresses with the slots that a transaction announces. Source: EIP-2930."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account; balance in wei."""

    nonce: int = 0
    balance: int = 0
    code_hash: bytes = EMPTY_CODE_HASH


class State(Protocol):
    """What an EVM reads: the accounts as they were before the message. Addresses have 20 bytes."""

    def account(self, address: bytes) -> Account | None:
        """Return an account, None where there is none."""
        ...

    def code(self, code_hash: bytes) -> bytes:
        """Return the code of a hash that an account names."""
        ...

    def slot(self, address: bytes, number: int) -> int:
        """Return a storage slot, 0 where nothing was stored."""
        ...

    def block_hash(self, number: int) -> bytes | None:
        """Return the hash of a sealed block."""
        ...


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block in which a message runs: time in unix seconds, base fee in wei per gas."""

    chain_id: int
    number: int
    time: int
    gas_limit: int
    base_fee: int
    beneficiary: bytes
    randomness: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A transaction, or a call that asks what one would do.

    to: None creates a contract. max_fee, max_tip: wei per gas; a call that pays nothing has 0 in both, and its
    block a base fee of 0. intrinsic_gas: what is owed before the first instruction, part of `gas`.
    """

    sender: bytes
    to: bytes | None
    value: int
    data: bytes
    gas: int
    intrinsic_gas: int
    nonce: int
    max_fee: int
    max_tip: int
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True)
class Log:
    """One event: topics of 32 bytes, at most four."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What a message changes.

    accounts: new content; None for one that is gone. slots: new values, 0 for one that is free again. codes: new
    code by its hash. wiped: accounts whose whole storage goes before `slots` are written.
    """

    accounts: Mapping[bytes, Account | None] = field(default_factory=dict)
    slots: Mapping[Slot, int] = field(default_factory=dict)
    codes: Mapping[bytes, bytes] = field(default_factory=dict)
    wiped: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message did.

    gas_used: what is paid for. gas_spent: what was needed on the way, before refunds. failure: why it failed, in
    geth's words; empty when it did not. output: what was returned, or the data of a revert. created: the address
    of a new contract.
    """

    gas_used: int
    gas_spent: int
    failure: str
    reverted: bool
    output: bytes
    logs: tuple[Log, ...]
    created: bytes | None
    changes: Changes


class Evm(Protocol):
    """An implementation of the EVM (rules of Cancun or later)."""

    @property
    def name(self) -> str:
        """Name and version, for `web3_clientVersion`."""
        ...

    def execute(self, block: BlockContext, state: State, message: Message) -> Outcome:
        """Run a message whose nonce, fees and balance its caller has checked."""
        ...
