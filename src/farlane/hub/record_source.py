"""What a hub can tell of its ledger: where its books are settled, what accounts hold, what happened to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Where the books stand, of one organisation. Amounts in nano-credits.

    embedded: the chain belongs to this hub, and is worth as much trust; rpc: where it can be asked on the hub's own
    machine, empty where nowhere; problem: why settlement waits, empty if it does not; held: the hub holds the
    account's key; free: balance in the contract; locked: in channels, not yet claimed; owed: for all leaves;
    promised: by vouchers; claimed: on the chain; trades: on record in the contract.
    """

    network: str
    chain_id: int
    contract: str
    place: str
    embedded: bool
    rpc: str
    problem: str
    organisation: str
    account: str
    held: bool
    free: int
    locked: int
    owed: int
    promised: int
    claimed: int
    trades: int


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One book and its channel. Amounts in nano-credits; tasks: leaves, and how many of them a voucher covers.

    state: none, open, closing or closed; dispute: why node and hub disagree, empty if they do not.
    """

    book: int
    organisation: str
    node: str
    node_name: str
    channel: str
    payer: str
    provider: str
    signer: str
    salt: str
    state: str
    deposit: int
    claimed: int
    owed: int
    promised: int
    tasks: int
    promised_tasks: int
    dispute: str


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One event of the contract that moved an account's money; amount in nano-credits, negative where it went out."""

    block: int
    transaction: str
    at: float
    kind: str
    amount: int
    channel: str


class LedgerReader(Protocol):
    """What the hub's settlement answers and does for people.

    All of it raises Unavailable while the chain is not open.
    """

    async def status(self, organisation: str) -> LedgerStatus:
        """Return where an organisation's books stand."""
        ...

    async def channels(self, organisation: str | None) -> list[ChannelRow]:
        """Return the books of an organisation, or all."""
        ...

    async def history(self, organisation: str) -> list[HistoryRow]:
        """Return what moved an organisation's money on the chain, oldest first."""
        ...

    async def grant_credits(self, key: str, organisation: str, nano: int) -> str:
        """Make credits for an organisation on an embedded chain; returns the transaction's hash."""
        ...

    async def settle(self) -> list[str]:
        """Settle everything that can be now; returns the transactions' hashes."""
        ...
