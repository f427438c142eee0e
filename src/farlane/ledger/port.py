"""The Ledger port: channels and balances of one network as every implementation keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, SignedVoucher

CLOSED = 2**64 - 1
"""`close_at` of a channel that is closed for ever."""
MAX_CLAIMS = 300
"""Vouchers in one transaction: geth takes no transaction above 128 KiB. Source: go-ethereum, txMaxSize."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as the ledger has it, in units. close_at: 0 open, CLOSED for ever closed, else unix seconds."""

    deposit: int
    claimed: int
    close_at: int

    @property
    def exists(self) -> bool:
        """Tell whether it was ever opened."""
        return self.deposit > 0 or self.close_at > 0

    @property
    def claimable(self) -> bool:
        """Tell whether a voucher can still be settled."""
        return self.deposit > 0 and self.close_at != CLOSED


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """A voucher with the channel it is for."""

    channel: Channel
    signed: SignedVoucher


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """A transaction that is part of the chain and did what it should."""

    hash: bytes
    block: int
    gas_used: int


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """One event of the contract; block, transaction and position say where it stands. Amounts in units."""

    block: int
    transaction: bytes
    position: int


@dataclass(frozen=True, slots=True)
class Deposited(LedgerEvent):
    """Tokens came in."""

    account: Address
    source: Address
    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn(LedgerEvent):
    """Tokens went out."""

    account: Address
    to: Address
    amount: int


@dataclass(frozen=True, slots=True)
class ChannelOpened(LedgerEvent):
    """A channel was opened with a deposit."""

    channel: Channel
    amount: int


@dataclass(frozen=True, slots=True)
class ChannelToppedUp(LedgerEvent):
    """A channel's deposit grew."""

    channel_id: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class VoucherSettled(LedgerEvent):
    """A voucher was settled: `paid` of its `cumulative` was new; `root` anchors its first `tasks` receipts."""

    channel_id: bytes
    cumulative: int
    paid: int
    tasks: int
    root: bytes


@dataclass(frozen=True, slots=True)
class CloseStarted(LedgerEvent):
    """The payer closes a channel; the provider can settle at least until `close_at`, unix seconds."""

    channel_id: bytes
    close_at: int


@dataclass(frozen=True, slots=True)
class ChannelClosed(LedgerEvent):
    """A channel is closed for ever."""

    channel_id: bytes
    refunded: int


@dataclass(frozen=True, slots=True)
class JobOpened(LedgerEvent):
    """A job with bonds was opened; what is locked: price of the payer, bond of the provider."""

    job: bytes
    payer: Address
    provider: Address
    price: int
    provider_bond: int
    dispute_bond: int


@dataclass(frozen=True, slots=True)
class JobDisputed(LedgerEvent):
    """The payer disputed a job's result and locked its dispute bond."""

    job: bytes


@dataclass(frozen=True, slots=True)
class JobEnded(LedgerEvent):
    """A job with bonds ended; all that was locked for it is paid out."""

    job: bytes
    state: int
    to_payer: int
    to_provider: int


class Ledger(Protocol):
    """What hubs, nodes and people need of the contract; every implementation passes `farlane.testing.ledger_suite`.

    Amounts are the token's smallest units. Calls that change something return once their transaction is confirmed.
    All of them raise Reverted, with the contract's own error as fact `error`, where the contract refuses, and
    ChainUnavailable where the chain cannot be reached.
    """

    @property
    def domain(self) -> Domain:
        """Where signatures count."""
        ...

    @property
    def units_per_credit(self) -> int:
        """Units of the token that make one credit."""
        ...

    async def now(self) -> float:
        """Return the time of the chain's head, unix seconds."""
        ...

    async def token_balance(self, account: Address) -> int:
        """Return what an account has outside of the contract."""
        ...

    async def balance(self, account: Address) -> int:
        """Return an account's free balance in the contract."""
        ...

    async def channel(self, channel: bytes) -> ChannelState:
        """Return a channel by its id; one that never was is all zeros."""
        ...

    async def transaction_count(self) -> int:
        """Return how many trades are on record."""
        ...

    async def events(self, first_block: int = 0, last_block: int | None = None) -> list[LedgerEvent]:
        """Return the contract's events of these blocks, both included, in order."""
        ...

    async def deposit(self, key: PrivateKey, amount: int) -> TransactionReceipt:
        """Move tokens of an account into its balance in the contract."""
        ...

    async def withdraw(self, key: PrivateKey, to: Address, amount: int) -> TransactionReceipt:
        """Pay a part of an account's balance out."""
        ...

    async def open_channel(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Open a channel of the payer `key`."""
        ...

    async def top_up(self, key: PrivateKey, channel: Channel, amount: int) -> TransactionReceipt:
        """Add to the deposit of a channel of the payer `key`."""
        ...

    async def settle(self, key: PrivateKey, claims: Sequence[SignedClaim]) -> TransactionReceipt:
        """Settle vouchers, all or none, at most MAX_CLAIMS; `key` pays the gas and may be anybody's."""
        ...

    async def start_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Announce that the payer `key` closes a channel."""
        ...

    async def finish_close(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel whose window has passed."""
        ...

    async def close_by_provider(self, key: PrivateKey, channel: Channel) -> TransactionReceipt:
        """Close a channel of the provider `key` at once."""
        ...
