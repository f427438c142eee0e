"""LedgerService: what people ask of the hub's ledger, and tell it to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.hub import Hub
from farlane.hub.record_source import LedgerReader
from farlane.wire import limits
from farlane.wire.ledger import (
    cap_from_wire,
    cap_state_to_wire,
    channel_to_wire,
    history_to_wire,
    model_usage_to_wire,
    status_to_wire,
    usage_to_wire,
)
from farlane.wire.serving import current_identity, require_admin, require_owner
from farlane.wire.v1 import ledger_pb2, ledger_pb2_grpc

MAX_KEY_CHARS = 100
MAX_MONTH_CHARS = 7
MAX_DAY_CHARS = 10
MAX_GRANT_NANO = 10**18
"""A thousand million credits at once: more is a slip of the pen."""


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """Serves clients; each sees its own organisation's money, and every book of the network."""

    def __init__(self, reader: LedgerReader, hub: Callable[[], Hub]) -> None:
        self._reader, self._hub = reader, hub

    @answered
    async def Status(
        self, request: ledger_pb2.LedgerStatusRequest, context: Context
    ) -> ledger_pb2.LedgerStatusReply:
        """Return where the caller's books stand."""
        return status_to_wire(await self._reader.status(current_identity().organisation))

    @answered
    async def Channels(
        self, request: ledger_pb2.ChannelsRequest, context: Context
    ) -> ledger_pb2.ChannelsReply:
        """Return the caller's books, or all."""
        rows = await self._reader.channels(None if request.all else current_identity().organisation)
        return ledger_pb2.ChannelsReply(rows=[channel_to_wire(row) for row in rows])

    @answered
    async def Notices(self, request: ledger_pb2.NoticesRequest, context: Context) -> ledger_pb2.NoticesReply:
        """Return what the caller's organisation must do so that its channels pay."""
        return ledger_pb2.NoticesReply(notices=self._hub().notices(current_identity().organisation))

    @answered
    async def History(self, request: ledger_pb2.HistoryRequest, context: Context) -> ledger_pb2.HistoryReply:
        """Return what moved the caller's money on the chain."""
        rows = await self._reader.history(current_identity().organisation)
        return ledger_pb2.HistoryReply(rows=[history_to_wire(row) for row in rows])

    @answered
    async def Grant(self, request: ledger_pb2.GrantRequest, context: Context) -> ledger_pb2.GrantReply:
        """Make credits of an embedded chain for the caller's organisation."""
        key = limits.text("the key of a grant", request.key, MAX_KEY_CHARS, required=True)
        amount = limits.integer("the amount of a grant", request.amount, 1, MAX_GRANT_NANO)
        organisation = require_admin("make credits").organisation
        done = await self._reader.grant_credits(f"{organisation}/{key}", organisation, amount)
        return ledger_pb2.GrantReply(transaction=done)

    @answered
    async def Usage(self, request: ledger_pb2.UsageRequest, context: Context) -> ledger_pb2.UsageReply:
        """Return what the caller's organisation used and did."""
        months = [
            limits.text("a month", month, MAX_MONTH_CHARS, required=True)
            for month in (request.first_month, request.last_month)
        ]
        rows = await self._reader.usage(current_identity().organisation, *months)
        return ledger_pb2.UsageReply(rows=[usage_to_wire(row) for row in rows])

    @answered
    async def ModelUsage(
        self, request: ledger_pb2.ModelUsageRequest, context: Context
    ) -> ledger_pb2.ModelUsageReply:
        """Return what the caller's organisation asked of served models, and what others asked of its own."""
        first, last = (
            limits.text("a day", day, MAX_DAY_CHARS, required=True)
            for day in (request.first_day, request.last_day)
        )
        own, store = current_identity().organisation, self._hub().store
        rows = await asyncio.to_thread(store.model_usage, first, last)
        seen = [row for row in rows if own in (row.organisation, row.deployment.partition("/")[0])]
        return ledger_pb2.ModelUsageReply(rows=[model_usage_to_wire(row) for row in seen])

    @answered
    async def SetCap(self, request: ledger_pb2.Cap, context: Context) -> ledger_pb2.CapsReply:
        """Set what an organisation, or one of its projects, may spend and hold; a ceiling if it is named."""
        cap = cap_from_wire(request)
        if cap.organisation:
            require_owner(f"set ceilings for {cap.organisation}")
            cap = replace(cap, ceiling=True)
        else:
            own = require_admin("set budgets and quotas").organisation
            cap = replace(cap, organisation=own, ceiling=False)
        self._hub().set_cap(cap)
        return self._caps(cap.organisation)

    @answered
    async def ListCaps(self, request: ledger_pb2.ListCapsRequest, context: Context) -> ledger_pb2.CapsReply:
        """Return the caps of the caller's organisation, or of others to the hub's owner."""
        own = current_identity().organisation
        if request.all or request.organisation not in ("", own):
            require_owner("see the budgets of other organisations")
        return self._caps(None if request.all else request.organisation or own)

    def _caps(self, organisation: str | None) -> ledger_pb2.CapsReply:
        states = self._hub().reactor.state.accounts.states(organisation)
        return ledger_pb2.CapsReply(caps=[cap_state_to_wire(state) for state in states])

    @answered
    async def Settle(self, request: ledger_pb2.SettleRequest, context: Context) -> ledger_pb2.SettleReply:
        """Settle now what is due; where that costs gas, only for administrators.

        Raises:
            PermissionRefused: it costs gas, and the caller is no administrator.
        """
        if not await self._reader.gas_is_free():
            require_admin("settle at the hub's cost")
        return ledger_pb2.SettleReply(transactions=await self._reader.settle())
