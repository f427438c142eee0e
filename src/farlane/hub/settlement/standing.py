"""Standing: tells the hub's books what stands behind them on the chain, and looks again while heads wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from farlane.errors import FarlaneError
from farlane.hub.books.books import HubBook, HubBooks
from farlane.hub.books.payers import lack_text
from farlane.hub.hub import Hub
from farlane.hub.settlement.plan import BookFigures
from farlane.ledger.ethereum import EthereumLedger

LOOK_S = 1.0
"""How often it is looked whether heads wait, which takes no word from the chain."""
MAX_LOOK_S = 10.0
"""How long, at most, the chain is left alone while the same heads wait."""


def lack_of(books: HubBooks, organisation: str) -> str:
    """Return that an account which the hub holds does not cover what its organisation owes, empty where it does."""
    missing = books.lacking_nano(organisation)
    return lack_text(organisation, books.account(organisation), missing) if missing else ""


async def tell_standing(
    ledger: EthereumLedger, hub: Hub, figures: Sequence[BookFigures], begun: Callable[[str], bool]
) -> None:
    """Tell a hub what its channels and their payers' balances cover.

    Args:
        ledger: the chain.
        hub: whose books.
        figures: books, with channels read just now.
        begun: whether an organisation has got what it begins with; what others have says nothing yet.

    Raises:
        ChainUnavailable: the chain is away.
    """
    # Balances after channels: what is locked in between counts as neither, rather than twice.
    payers = {one.channel.payer for one in figures if one.held and begun(one.organisation)}
    free = {payer: await ledger.balance(payer) for payer in payers}
    hub.books.see({one.book: one.state for one in figures}, free)


async def watch_heads(
    hub: Callable[[], Hub], look: Callable[[Hub, Sequence[HubBook]], Awaitable[object]]
) -> None:
    """Look at the chain while heads wait for what stands behind their vouchers, until cancelled.

    Args:
        hub: the hub in force.
        look: reads books of a hub from the chain and tells it.
    """
    pause, before = LOOK_S, frozenset[int]()
    while True:
        await asyncio.sleep(pause)
        try:
            found = hub()
        except FarlaneError:  # its store is being reopened
            continue
        waiting = frozenset(found.books.waiting)
        pause = min(2 * pause, MAX_LOOK_S) if waiting and waiting == before else LOOK_S
        before = waiting
        if not waiting:
            continue
        organisations = {found.books.all[one].opened.organisation for one in waiting}
        try:
            await look(
                found, [book for one in sorted(organisations) for book in found.books.of_organisation(one)]
            )
            found.chain_trouble = ""
        except FarlaneError as error:
            found.chain_trouble = error.message
