"""Figures: the hub's books beside what the chain says of their channels, as planning wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from farlane.domain.bookkeeping import VoucherSigned
from farlane.hub.books.books import HubBook
from farlane.hub.hub import Hub
from farlane.hub.settlement.chain import ChainDesk
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures
from farlane.hub.store.port import Store
from farlane.ledger.port import ChannelState
from farlane.ledger.vouchers import SignedVoucher, Voucher, units_floor


async def figures_of(desk: ChainDesk, hub: Hub, keys: HubKeys, books: Iterable[HubBook]) -> list[BookFigures]:
    """Return books as planning sees them.

    Raises:
        ChainUnavailable: the chain is away.
    """
    current = {found.opened.book for found in hub.books.current.values()}
    return [await _figures(desk, hub, keys, found, found.opened.book in current) for found in books]


async def _figures(desk: ChainDesk, hub: Hub, keys: HubKeys, found: HubBook, is_current: bool) -> BookFigures:
    opened = found.opened
    state = await desk.ledger.channel(found.channel.id)
    held = keys.holds_payer(opened.organisation)
    owed = units_floor(found.book.owed_nano, desk.ledger.units_per_credit)
    covered = await _covered(hub, found, state)
    return BookFigures(
        opened.book, opened.organisation, found.channel, held, owed, _signed(found, found.voucher), state,
        is_current, covered,
    )  # fmt: skip


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
