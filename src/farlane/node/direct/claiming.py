"""Claiming: vouchers of direct calls go to the chain in rounds, and at once where a payer closes its channel."""

from __future__ import annotations

import asyncio
import logging

from farlane.errors import FarlaneError
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import MAX_CLAIMS, Ledger, SignedClaim
from farlane.node.direct.book_store import DirectBook, DirectBookStore
from farlane.node.direct.settings import DirectSettings

log = logging.getLogger(__name__)


class Claimer:
    """Claims what is promised.

    Args:
        settings: how often.
        ledger: the chain.
        key: the node's, which pays the gas.
        store: the books.
    """

    def __init__(
        self, settings: DirectSettings, ledger: Ledger, key: PrivateKey, store: DirectBookStore
    ) -> None:
        self._settings, self._ledger, self._key, self._store = settings, ledger, key, store

    async def run(self) -> None:
        """Claim until cancelled. A chain that is away is tried again; nothing is lost meanwhile but time."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._settings.claim_s
        while True:
            await asyncio.sleep(min(self._settings.watch_s, max(0.0, due - loop.time())))
            regular = loop.time() >= due
            if regular:
                due = loop.time() + self._settings.claim_s
            try:
                await self.claim(closing_only=not regular)
            except FarlaneError as error:
                log.warning("vouchers cannot be claimed at the moment: %s", error.message)

    async def claim(self, *, closing_only: bool = False) -> int:
        """Claim what is worth it, or only what a payer is about to take away; returns how many vouchers.

        Raises:
            ChainUnavailable, Reverted, InsufficientFunds: the chain takes nothing.
        """
        claims = []
        for book in await asyncio.to_thread(self._store.all):
            claim = await self._claim_of(book, closing_only)
            if claim is not None:
                claims.append(claim)
        for start in range(0, len(claims), MAX_CLAIMS):
            part = claims[start : start + MAX_CLAIMS]
            receipt = await self._ledger.settle(self._key, part)
            log.info("claimed %d vouchers in transaction 0x%s", len(part), receipt.hash.hex())
        return len(claims)

    async def _claim_of(self, book: DirectBook, closing_only: bool) -> SignedClaim | None:
        if book.voucher is None:
            return None
        state = await self._ledger.channel(book.channel.id)
        if not state.claimable or (closing_only and not state.close_at):
            return None
        new = min(book.voucher.voucher.cumulative, state.deposit) - state.claimed
        least = 1 if state.close_at else self._settings.claim_units
        return SignedClaim(book.channel, book.voucher) if new >= least else None
