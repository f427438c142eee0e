"""The hub's ledger as a client sees it: its organisation's account, the network's channels, credits and settlement."""

from __future__ import annotations

import uuid
from typing import Any

from farlane.domain.caps import Cap, CapState
from farlane.domain.usage import ModelUsage, UsageRow
from farlane.sdk.connection import Connection
from farlane.wire.ledger import (
    ChannelRow,
    HistoryRow,
    LedgerStatus,
    cap_state_from_wire,
    cap_to_wire,
    channel_from_wire,
    history_from_wire,
    model_usage_from_wire,
    status_from_wire,
    usage_from_wire,
)
from farlane.wire.v1 import ledger_pb2
from farlane.wire.v1.ledger_pb2_grpc import LedgerServiceStub

SETTLE_TIMEOUT_S = 300.0


class LedgerClient:
    """Asks the ledger of the hub behind a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def status(self) -> LedgerStatus:
        """Return where this organisation's books stand."""
        return status_from_wire(
            await self._call("Status", ledger_pb2.LedgerStatusRequest(), "asking the ledger")
        )

    async def channels(self, *, all: bool = False) -> list[ChannelRow]:
        """Return this organisation's books, or with `all` every one of the network."""
        reply = await self._call("Channels", ledger_pb2.ChannelsRequest(all=all), "listing channels")
        return [channel_from_wire(row) for row in reply.rows]

    async def notices(self) -> list[str]:
        """Return what this organisation must do so that its channels pay, where it holds its account itself."""
        reply = await self._call("Notices", ledger_pb2.NoticesRequest(), "asking what is due")
        return list(reply.notices)

    async def history(self) -> list[HistoryRow]:
        """Return what moved this organisation's money on the chain, oldest first."""
        reply = await self._call("History", ledger_pb2.HistoryRequest(), "reading the ledger's history")
        return [history_from_wire(row) for row in reply.rows]

    async def grant(self, nano: int, key: str | None = None) -> str:
        """Make credits for this organisation on an embedded chain; returns the transaction's hash.

        Args:
            nano: nano-credits.
            key: makes it happen once however often it is asked; a random one where none is given.
        """
        request = ledger_pb2.GrantRequest(key=key or uuid.uuid4().hex, amount=nano)
        reply = await self._call("Grant", request, "making credits", SETTLE_TIMEOUT_S)
        return str(reply.transaction)

    async def usage(self, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what this organisation used, and what its nodes did for others, in these months (YYYY-MM)."""
        request = ledger_pb2.UsageRequest(first_month=first_month, last_month=last_month)
        return [usage_from_wire(row) for row in (await self._call("Usage", request, "summing usage")).rows]

    async def model_usage(self, first_day: str, last_day: str) -> list[ModelUsage]:
        """Return what this organisation asked of served models, and others of its own, on these days (YYYY-MM-DD)."""
        request = ledger_pb2.ModelUsageRequest(first_day=first_day, last_day=last_day)
        reply = await self._call("ModelUsage", request, "summing usage of models")
        return [model_usage_from_wire(row) for row in reply.rows]

    async def set_cap(self, cap: Cap) -> list[CapState]:
        """Set a cap; returns all of that organisation.

        Args:
            cap: of this organisation where it names none; else the ceiling of the one it names, for the hub's owner.
        """
        return self._caps(await self._call("SetCap", cap_to_wire(cap), "setting a budget"))

    async def caps(self, organisation: str = "", *, all: bool = False) -> list[CapState]:
        """Return the caps of an organisation and its projects, with what stands against them.

        Args:
            organisation: this one where it is empty; another one for the hub's owner.
            all: of every organisation, for the hub's owner.
        """
        request = ledger_pb2.ListCapsRequest(organisation=organisation, all=all)
        return self._caps(await self._call("ListCaps", request, "listing budgets"))

    @staticmethod
    def _caps(reply: ledger_pb2.CapsReply) -> list[CapState]:
        return [cap_state_from_wire(state) for state in reply.caps]

    async def settle(self) -> list[str]:
        """Settle now what can be; returns the transactions' hashes."""
        reply = await self._call("Settle", ledger_pb2.SettleRequest(), "settling", SETTLE_TIMEOUT_S)
        return list(reply.transactions)

    async def _call(self, method: str, request: Any, doing: str, timeout_s: float = 60.0) -> Any:
        return await self._connection.call(
            method, request, doing, timeout_s=timeout_s, stub=LedgerServiceStub
        )
