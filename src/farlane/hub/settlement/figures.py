"""Figures: the hub's books beside what the chain says of their channels, as planning wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from farlane.domain.bookkeeping import VoucherSigned
from farlane.hub.books.books import HubBook
from farlane.hub.hub import Hub
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures
from farlane.hub.store.port import Store
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.vouchers import SignedVoucher, Voucher, units_floor

MAX_READS = 16
"""Channels asked for at once."""


class Figures:
    """Reads books beside their channels. One that is closed for ever is asked for once.

    Args:
        ledger: the chain.
        keys: the hub's.
    """

    def __init__(self, ledger: EthereumLedger, keys: HubKeys) -> None:
        self._ledger, self._keys = ledger, keys
        self._closed: dict[bytes, ChannelState] = {}

    async def of(self, hub: Hub, books: Iterable[HubBook]) -> list[BookFigures]:
        """Return books as planning sees them.

        Raises:
            ChainUnavailable: the chain is away.
        """
        current = {found.opened.book for found in hub.books.current.values()}
        gate = asyncio.Semaphore(MAX_READS)

        async def read(found: HubBook) -> BookFigures:
            async with gate:
                return await self._figures(hub, found, found.opened.book in current)

        return list(await asyncio.gather(*map(read, books)))

    async def _figures(self, hub: Hub, found: HubBook, is_current: bool) -> BookFigures:
        opened = found.opened
        state = await self._channel(found.channel.id)
        held = self._keys.holds_account(found.channel.payer)
        owed = units_floor(found.book.owed_nano, self._ledger.units_per_credit)
        covered = await _covered(hub, found, state)
        return BookFigures(
            opened.book, opened.organisation, found.channel, held, owed, _signed(found, found.voucher), state,
            is_current, covered,
        )  # fmt: skip

    async def _channel(self, channel: bytes) -> ChannelState:
        state = self._closed.get(channel)
        if state is None:
            state = await self._ledger.channel(channel)
            if state.close_at == CLOSED:
                self._closed[channel] = state
        return state


async def _covered(hub: Hub, found: HubBook, state: ChannelState) -> SignedVoucher | None:
    """Return the newest voucher that the deposit covers, where the newest of all is beyond it."""
    newest = found.voucher
    if newest is None or newest.cumulative <= state.deposit or state.deposit <= state.claimed:
        return None
    loop = asyncio.get_running_loop()
    older = await loop.run_in_executor(
        None, newest_covered, hub.store, found.opened.book, newest.tasks, state.deposit
    )
    return _signed(found, older)


def newest_covered(store: Store, book: int, tasks: int, deposit: int) -> VoucherSigned | None:
    """Return the newest of a book's vouchers that promises at most `deposit` units, None where every one promises more.

    Vouchers only ever promise more for more tasks, so halving finds it in a few reads of one row each.

    Args:
        store: has all vouchers.
        book: whose.
        tasks: of its newest voucher, which promises more than the deposit.
        deposit: units.
    """
    found: VoucherSigned | None = None
    # The first voucher over more than `low` leaves may fit; what comes after `high` does not.
    low, high = 0, tasks
    while low < high:
        middle = (low + high) // 2
        first = next(iter(store.vouchers(book, middle, 1)), None)
        if first is not None and first.cumulative <= deposit:
            found, low = first, first.tasks
        else:
            high = middle
    return found


def _signed(found: HubBook, signed: VoucherSigned | None) -> SignedVoucher | None:
    if signed is None:
        return None
    return SignedVoucher(
        Voucher(found.channel.id, signed.cumulative, signed.tasks, signed.root), signed.signature
    )
