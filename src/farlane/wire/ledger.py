"""What a hub tells of its ledger, to and from the wire."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from google.protobuf.message import Message

from farlane.domain.caps import Cap, CapState
from farlane.domain.usage import ModelUsage, UsageRow
from farlane.wire import limits
from farlane.wire.v1 import ledger_pb2

T = TypeVar("T")
MAX_ALERTS = 20
MAX_QUOTAS = 100


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Where the books stand, of one organisation. Amounts in nano-credits.

    embedded: the chain belongs to the hub, and is worth as much trust; rpc: where it can be asked on the hub's own
    machine, empty where nowhere; problem: why settlement waits, empty if it does not; held: the hub holds the
    account's key; free: balance in the contract; locked: in channels, not yet claimed; owed: for all leaves;
    promised: by vouchers; claimed: on the chain; trades: on record in the contract; operator: the hub's own account,
    which pays the gas of settling; operator_gwei, account_gwei: coin for gas, rounded down.
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
    operator: str = ""
    operator_gwei: int = 0
    account_gwei: int = 0


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


def model_usage_to_wire(row: ModelUsage) -> ledger_pb2.ModelUsageRow:
    """Return a sum of requests as it travels."""
    return ledger_pb2.ModelUsageRow(**_values(row))


def model_usage_from_wire(message: ledger_pb2.ModelUsageRow) -> ModelUsage:
    """Read a sum of requests."""
    return _read(ModelUsage, message)


def cap_to_wire(cap: Cap) -> ledger_pb2.Cap:
    """Return a cap as it travels."""
    return ledger_pb2.Cap(
        organisation=cap.organisation, project=cap.project, monthly=cap.monthly_nano, total=cap.total_nano,
        quotas=cap.quotas, alerts=cap.alerts, ceiling=cap.ceiling,
    )  # fmt: skip


def cap_from_wire(message: ledger_pb2.Cap) -> Cap:
    """Read a cap.

    Raises:
        InvalidInput: figures that cannot be.
    """
    organisation = limits.text("organisation", message.organisation, limits.MAX_NAME_CHARS)
    project = limits.text("project", message.project, limits.MAX_NAME_CHARS)
    limits.at_most("alerts of a budget", message.alerts, MAX_ALERTS)
    limits.at_most("quotas", message.quotas, MAX_QUOTAS)
    for quota, most in message.quotas.items():
        limits.integer(f"the quota {quota}", most, 0, limits.MAX_INTEGER)
    return Cap(
        organisation, project, message.monthly if message.HasField("monthly") else None,
        message.total if message.HasField("total") else None, dict(sorted(message.quotas.items())),
        tuple(sorted(set(message.alerts))), message.ceiling,
    )  # fmt: skip


def cap_state_to_wire(state: CapState) -> ledger_pb2.CapState:
    """Return a cap with what stands against it, as it travels."""
    return ledger_pb2.CapState(
        cap=cap_to_wire(state.cap),
        month=state.month,
        spent=state.spent,
        spent_total=state.spent_total,
        reserved=state.reserved,
        used=state.used,
    )


def cap_state_from_wire(message: ledger_pb2.CapState) -> CapState:
    """Read a cap with what stands against it."""
    return CapState(
        cap_from_wire(message.cap), message.month, message.spent, message.spent_total, message.reserved,
        dict(sorted(message.used.items())),
    )  # fmt: skip


def _values(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _read(kind: type[T], message: Message) -> T:
    return kind(**{field.name: getattr(message, field.name) for field in fields(kind)})  # type: ignore[arg-type]
