"""What a hub can tell of its ledger: where its books are settled, what accounts hold, what happened to them."""

from __future__ import annotations

from typing import Protocol

from farlane.domain.usage import UsageRow
from farlane.wire.ledger import ChannelRow, HistoryRow, LedgerStatus


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

    async def usage(self, organisation: str, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what an organisation used, and what its nodes did for others, in these months."""
        ...

    async def gas_is_free(self) -> bool:
        """Tell whether settling costs the hub nothing, as on an embedded chain."""
        ...

    async def settle(self) -> list[str]:
        """Settle what is due now; returns the transactions' hashes."""
        ...
