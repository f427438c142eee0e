"""Claiming: vouchers of direct calls go to the chain in rounds, and at once where a payer closes its channel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.claiming import WatchSettings
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import ChannelState, SignedClaim
from farlane.ledger.vouchers import SignedVoucher
from farlane.node.books.signing import HeadKey
from farlane.node.claims import ClaimRules, Claims
from farlane.node.direct.book_store import DirectBook, DirectBookStore
from farlane.node.direct.settings import DirectSettings

FILE = "direct-claims"
"""Name of the outbox's file beside the books, before the chain's id."""


class DirectVouchers:
    """The vouchers of direct calls.

    Args:
        store: the books.
    """

    def __init__(self, store: DirectBookStore) -> None:
        self._store = store

    def channels(self) -> list[bytes]:
        """Return every channel with a voucher."""
        return self._store.promised()

    async def claims(self, states: Mapping[bytes, ChannelState]) -> list[SignedClaim]:
        """Return each channel's newest voucher, and the one that promises the most its deposit covers."""
        return await asyncio.to_thread(self._claims, states)

    def _claims(self, states: Mapping[bytes, ChannelState]) -> list[SignedClaim]:
        return [
            SignedClaim(book.channel, voucher)
            for book in self._store.all()
            if book.channel.id in states
            for voucher in self._vouchers(book, states[book.channel.id])
        ]

    def _vouchers(self, book: DirectBook, state: ChannelState) -> list[SignedVoucher]:
        covered = self._store.covered(book.channel.id, state.deposit)
        return [voucher for voucher in (book.voucher, covered) if voucher is not None]


def watch_of(settings: DirectSettings) -> WatchSettings:
    """Return when vouchers of direct calls are claimed."""
    return WatchSettings(
        poll_s=settings.watch_s,
        threshold=settings.claim_units,
        regular_s=settings.claim_s,
        policy=GasPolicy(settings.max_fee_wei, settings.urgent_max_fee_wei),
    )


class Claimer:
    """Claims what direct calls are owed.

    Args:
        settings: when, and at what price.
        ledger: the chain.
        key: the node's, which pays the gas.
        store: the books; the outbox lies beside their file.
    """

    def __init__(
        self, settings: DirectSettings, ledger: EthereumLedger, key: PrivateKey, store: DirectBookStore
    ) -> None:
        directory = store.path.parent
        rules = ClaimRules(watch_of(settings), OutboxSettings(confirmations=settings.confirmations))
        self._claims = Claims(
            ledger.rpc, ledger.deployment, directory / FILE, HeadKey(directory, key.address, key=key),
            DirectVouchers(store), rules,
        )  # fmt: skip

    async def run(self) -> None:
        """Claim until cancelled; a chain that is away is waited for.

        Raises:
            Conflict, Corrupted: the outbox cannot be used.
        """
        await self._claims.run()

    async def finish(self) -> None:
        """Claim what is left, as the last act; bounded in time, and nothing is raised."""
        await self._claims.finish()
