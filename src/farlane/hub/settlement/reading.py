"""Reading: what people ask of a hub's ledger, put together from its books and the chain."""

from __future__ import annotations

import asyncio

from farlane.domain.usage import UsageRow
from farlane.hub.books.books import HubBook
from farlane.hub.settlement.chain import ChainDesk
from farlane.hub.settlement.dues import due_of, notice_of
from farlane.hub.settlement.plan import BookFigures
from farlane.hub.settlement.service import Settlement
from farlane.hub.settlement.standing import lack_of
from farlane.ledger import port
from farlane.ledger.accounts import Address
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.vouchers import nano_ceiling, nano_floor
from farlane.wire.ledger import ChannelRow, HistoryRow, LedgerStatus


class SettlementReader:
    """The LedgerReader of a hub that settles."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement

    async def status(self, organisation: str) -> LedgerStatus:
        """Return where an organisation's books stand."""
        settlement, desk = self._settlement, await self._desk()
        connection, deployment, keys = settlement.connection, desk.deployment, settlement.keys
        assert connection is not None
        account, problem = (
            keys.payer(organisation),
            settlement.problem or lack_of(settlement.hub.books, organisation),
        )
        rows = await self.channels(organisation)
        return LedgerStatus(
            deployment.network, deployment.chain_id, deployment.ledger, connection.place, connection.embedded,
            connection.url if connection.embedded else "", problem, organisation, account,
            keys.holds_payer(organisation), self._nano(desk, await desk.ledger.balance(account)),
            sum(row.deposit - row.claimed for row in rows if row.state != "closed"), sum(row.owed for row in rows),
            sum(row.promised for row in rows), sum(row.claimed for row in rows),
            await desk.ledger.transaction_count(), keys.operator(),
            *[await desk.ledger.coin(one) // 10**9 for one in (keys.operator(), account)],
        )  # fmt: skip

    async def channels(self, organisation: str | None) -> list[ChannelRow]:
        """Return the books of an organisation, or all."""
        desk, hub = await self._desk(), self._settlement.hub
        found = [one for one in hub.books.all.values() if organisation in (None, one.opened.organisation)]
        figures = await self._settlement.rounds.figures(hub, found)
        return [self._row(desk, one, its) for one, its in zip(found, figures, strict=True)]

    async def history(self, organisation: str) -> list[HistoryRow]:
        """Return what moved an organisation's money on the chain, oldest first."""
        desk = await self._desk()
        account = self._settlement.keys.payer(organisation)
        own = {
            one.channel.id for one in self._settlement.hub.books.all.values() if one.channel.payer == account
        }
        times = BlockTimes(desk)
        rows = []
        for event in await desk.ledger.events():
            moved = _moved(event, account, own)
            if moved is not None:
                kind, units, channel = moved
                sign = -1 if units < 0 else 1
                rows.append(
                    HistoryRow(
                        event.block, "0x" + event.transaction.hex(), await times.of(event.block), kind,
                        sign * self._nano(desk, abs(units)), channel,
                    )
                )  # fmt: skip
        return rows

    async def grant_credits(self, key: str, organisation: str, nano: int) -> str:
        """Make credits for an organisation on an embedded chain; returns the transaction's hash."""
        return "0x" + (await self._settlement.grant(key, organisation, nano)).hash.hex()

    async def usage(self, organisation: str, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what an organisation used, and what its nodes did for others; the chain is not asked."""
        read = self._settlement.hub.store.usage
        rows = await asyncio.get_running_loop().run_in_executor(None, read, first_month, last_month)
        return [row for row in rows if organisation in (row.organisation, row.provider)]

    async def gas_is_free(self) -> bool:
        """Tell whether settling costs the hub nothing, as on an embedded chain."""
        await self._settlement.wait_ready()
        return self._settlement.gas_is_free

    async def settle(self) -> list[str]:
        """Settle what is due now; returns the transactions' hashes."""
        return ["0x" + receipt.hash.hex() for receipt in await self._settlement.settle_now()]

    async def _desk(self) -> ChainDesk:
        await self._settlement.wait_ready()
        return self._settlement.desk

    def _row(self, desk: ChainDesk, one: HubBook, figures: BookFigures) -> ChannelRow:
        opened, voucher, state = one.opened, one.voucher, figures.state
        promised = 0 if voucher is None else voucher.cumulative
        name, upc = self._settlement.hub.node_name(opened.node), desk.ledger.units_per_credit
        due = due_of(figures, self._settlement.rounds.deposit_units) if one.payable else None
        return ChannelRow(
            opened.book, opened.organisation, opened.node, name, "0x" + one.channel.id.hex(),
            opened.payer, opened.provider, opened.signer, "0x" + opened.salt.hex(), _state(state),
            self._nano(desk, state.deposit), self._nano(desk, state.claimed), one.book.owed_nano,
            self._nano(desk, promised), one.book.size, 0 if voucher is None else voucher.tasks,
            self._settlement.hub.bookkeeper.disputes.get(opened.book, ""), figures.held,
            0 if due is None else nano_ceiling(due.amount, upc), "" if due is None else notice_of(due, name, upc),
        )  # fmt: skip

    @staticmethod
    def _nano(desk: ChainDesk, units: int) -> int:
        return nano_floor(units, desk.ledger.units_per_credit)


class BlockTimes:
    """Times of blocks, each asked for once."""

    def __init__(self, desk: ChainDesk) -> None:
        self._desk = desk
        self._known: dict[int, float] = {}

    async def of(self, block: int) -> float:
        """Return a block's time, unix seconds.

        Raises:
            NotFound: the chain has no such block.
        """
        if block not in self._known:
            self._known[block] = await self._desk.ledger.block_time(block)
        return self._known[block]


def _state(state: ChannelState) -> str:
    if not state.exists:
        return "none"
    if state.close_at == CLOSED:
        return "closed"
    return "closing" if state.close_at else "open"


def _moved(event: port.LedgerEvent, account: Address, own: set[bytes]) -> tuple[str, int, str] | None:
    """Return (kind, signed units of the account's free balance, channel) of an event, None for one of others."""
    match event:
        case port.Deposited() if event.account == account:
            return "deposit", event.amount, ""
        case port.Withdrawn() if event.account == account:
            return "withdrawal", -event.amount, ""
        case port.ChannelOpened() if event.channel.payer == account:
            return "channel opened", -event.amount, "0x" + event.channel.id.hex()
        case port.ChannelToppedUp() if event.channel_id in own:
            return "channel topped up", -event.amount, "0x" + event.channel_id.hex()
        case port.VoucherSettled() if event.channel_id in own:
            return "voucher settled", 0, "0x" + event.channel_id.hex()
        case port.ChannelClosed() if event.channel_id in own:
            return "channel closed", event.refunded, "0x" + event.channel_id.hex()
        case _:
            return None
