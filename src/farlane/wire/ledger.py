"""What a hub tells of its ledger, to and from the wire."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from google.protobuf.message import Message

from farlane.domain.caps import Cap, CapState
from farlane.domain.usage import UsageRow
from farlane.wire import limits
from farlane.wire.v1 import ledger_pb2

T = TypeVar("T")
MAX_ALERTS = 20


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Where the books stand, of one organisation. Amounts in nano-credits.

    embedded: the chain belongs to the hub, and is worth as much trust; rpc: where it can be asked on the hub's own
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

    state: none, open, closing or closed; dispute: why node and hub disagree, empty if they do not; held: the hub holds
    the payer's key; wanted: what a payer that holds its key itself must lock now; notice: the same in words, empty if
    nothing.
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
    held: bool = True
    wanted: int = 0
    notice: str = ""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One event of the contract that moved an account's money; amount in nano-credits, negative where it went out."""

    block: int
    transaction: str
    at: float
    kind: str
    amount: int
    channel: str


def status_to_wire(status: LedgerStatus) -> ledger_pb2.LedgerStatusReply:
    """Return a status as it travels."""
    return ledger_pb2.LedgerStatusReply(**_values(status))


def status_from_wire(message: ledger_pb2.LedgerStatusReply) -> LedgerStatus:
    """Read a status."""
    return _read(LedgerStatus, message)


def channel_to_wire(row: ChannelRow) -> ledger_pb2.ChannelRow:
    """Return a channel as it travels."""
    return ledger_pb2.ChannelRow(**_values(row))


def channel_from_wire(message: ledger_pb2.ChannelRow) -> ChannelRow:
    """Read a channel."""
    return _read(ChannelRow, message)


def history_to_wire(row: HistoryRow) -> ledger_pb2.HistoryRow:
    """Return an event as it travels."""
    return ledger_pb2.HistoryRow(**_values(row))


def history_from_wire(message: ledger_pb2.HistoryRow) -> HistoryRow:
    """Read an event."""
    return _read(HistoryRow, message)


def usage_to_wire(row: UsageRow) -> ledger_pb2.UsageRow:
    """Return a sum as it travels."""
    return ledger_pb2.UsageRow(**_values(row))


def usage_from_wire(message: ledger_pb2.UsageRow) -> UsageRow:
    """Read a sum."""
    return _read(UsageRow, message)


def cap_to_wire(cap: Cap) -> ledger_pb2.Cap:
    """Return a cap as it travels; whose it is, is who asks."""
    return ledger_pb2.Cap(
        project=cap.project, monthly=cap.monthly_nano, max_leases=cap.max_leases, alerts=cap.alerts
    )


def cap_from_wire(message: ledger_pb2.Cap, organisation: str) -> Cap:
    """Read a cap of an organisation.

    Raises:
        InvalidInput: figures that cannot be.
    """
    project = limits.text("project", message.project, limits.MAX_NAME_CHARS)
    monthly = message.monthly if message.HasField("monthly") else None
    leases = message.max_leases if message.HasField("max_leases") else None
    limits.at_most("alerts of a budget", message.alerts, MAX_ALERTS)
    return Cap(organisation, project, monthly, leases, tuple(sorted(set(message.alerts))))


def cap_state_to_wire(state: CapState) -> ledger_pb2.CapState:
    """Return a cap with what stands against it, as it travels."""
    return ledger_pb2.CapState(
        cap=cap_to_wire(state.cap),
        month=state.month,
        spent=state.spent,
        reserved=state.reserved,
        leases=state.leases,
    )


def cap_state_from_wire(message: ledger_pb2.CapState, organisation: str) -> CapState:
    """Read a cap with what stands against it."""
    cap = cap_from_wire(message.cap, organisation)
    return CapState(cap, message.month, message.spent, message.reserved, message.leases)


def _values(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _read(kind: type[T], message: Message) -> T:
    return kind(**{field.name: getattr(message, field.name) for field in fields(kind)})  # type: ignore[arg-type]
