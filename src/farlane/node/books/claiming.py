"""Claiming for the node's books: what is promised on which channel, what deposits cover of it, and the node's chain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

from farlane.errors import ChainUnavailable, FarlaneError
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.claiming import WatchSettings, covered_units
from farlane.ledger.deploy import verify_deployment
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import ChannelState, SignedClaim
from farlane.ledger.rpc import RpcClient
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import SignedVoucher, Voucher, units_floor
from farlane.ledger.watcher import VoucherSource
from farlane.node.books.claim_terms import ClaimTerms, claim_terms
from farlane.node.books.node_book import NodeBook
from farlane.node.books.opening import read_network_file
from farlane.node.books.signing import HeadKey
from farlane.node.books.store import BookStore
from farlane.node.claims import LEAVING_S, ClaimRules, Claims
from farlane.node.direct.book_store import BOOKS_FILE, DirectBookStore
from farlane.node.direct.claiming import DirectVouchers, watch_of
from farlane.node.direct.settings import direct_settings
from farlane.node.settings import NodeSettings

log = logging.getLogger(__name__)

POLL_S = 15.0
"""How often the node looks; a close window is hours or days."""
FILE = "claims"
"""Name of the outbox's file in the node's directory, before the chain's id."""
WRONG_CHAIN_S = 600.0
"""How soon an endpoint that is not the network's chain is asked again."""
DUST_DIVISOR = 10
"""A last claim before leaving is worth its gas from this part of a credit on."""
Further = Sequence[tuple[VoucherSource, WatchSettings]]
Books = Callable[[], Iterable[NodeBook]]


class BookVouchers:
    """The vouchers of a node's books; the newest are in memory, all of them in the file.

    Args:
        domain: the chain and contract that are looked at; books of others are left alone.
        books: all there are.
        store: their file.
    """

    def __init__(self, domain: Domain, books: Books, store: BookStore) -> None:
        self._domain, self._all, self._store = domain, books, store
        self._found: dict[bytes, tuple[int, SignedClaim | None]] = {}
        self._covered: dict[bytes, int] = {}
        self._said: dict[bytes, ChannelState] = {}

    def channels(self) -> list[bytes]:
        """Return the channels of all books on this chain."""
        return [book.channel.id for book in self._books()]

    async def claims(self, states: Mapping[bytes, ChannelState]) -> list[SignedClaim]:
        """Return each book's newest voucher and, where its deposit does not cover that, the newest it covers."""
        claims: list[SignedClaim] = []
        for book in self._books():
            state, newest = states.get(book.channel.id), book.claim
            if state is None or newest is None:
                continue
            covered = newest
            if newest.signed.voucher.cumulative > state.deposit:
                found = await self._below(book, state.deposit)
                self._warn(book, newest, found, state)
                covered = found or newest
                claimable = 0 if found is None else found.signed.voucher.cumulative
            else:
                claimable = newest.signed.voucher.cumulative
            claims += [newest] if covered is newest else [newest, covered]
            self._covered[book.channel.id] = covered_units(state, newest.signed.voucher.cumulative, claimable)
        return claims

    def covered_units(self, channel: bytes) -> int | None:
        """Return how much of a channel's voucher its deposit covers, None before the first look."""
        return self._covered.get(channel)

    async def _below(self, book: NodeBook, units: int) -> SignedClaim | None:
        # Later vouchers promise more still, so that what was found stands as long as the deposit does.
        channel = book.channel
        deposit, claim = self._found.get(channel.id, (-1, None))
        if deposit != units:
            kept = await asyncio.to_thread(self._store.covered, book.id, units)
            claim = None
            if kept is not None:
                voucher = Voucher(channel.id, kept.cumulative, kept.tasks, kept.root)
                claim = SignedClaim(channel, SignedVoucher(voucher, kept.signature))
            self._found[channel.id] = units, claim
        return claim

    def _warn(
        self, book: NodeBook, newest: SignedClaim, found: SignedClaim | None, state: ChannelState
    ) -> None:
        if self._said.get(book.channel.id) == state:
            return
        self._said[book.channel.id] = state
        log.warning(
            "book %d: the channel's deposit of %d units does not cover the %d that were promised; the newest voucher "
            "that it covers is for %d",
            book.terms.book, state.deposit, newest.signed.voucher.cumulative,
            0 if found is None else found.signed.voucher.cumulative,
        )  # fmt: skip

    def _books(self) -> list[NodeBook]:
        return [book for book in self._all() if book.domain == self._domain]


def rules_of(terms: ClaimTerms, units_per_credit: int, poll_s: float = POLL_S) -> ClaimRules:
    """Return when and how a node claims, by its settings and in units of the network's token."""
    watch = WatchSettings(
        poll_s=poll_s,
        threshold=units_floor(terms.threshold_nano, units_per_credit) or None,
        dust=max(1, units_per_credit // DUST_DIVISOR),
        policy=GasPolicy(terms.max_fee_wei, terms.urgent_max_fee_wei),
    )
    return ClaimRules(watch, OutboxSettings(confirmations=terms.confirmations), LEAVING_S)


class BookClaims:
    """A node's claims on the chain that its settings name.

    Args:
        settings: the node's; `rpc` and `network_file` are set.
        key: claims and pays the gas.
        books: all there are.
        store: their file.
        count: counts what was claimed.
    """

    def __init__(
        self, settings: NodeSettings, key: HeadKey, books: Books, store: BookStore, count: ClaimCount
    ) -> None:
        assert settings.rpc is not None  # whoever makes it has looked
        assert settings.network_file is not None  # `open_books` has refused that
        self._settings, self._endpoints = settings, settings.rpc
        self._key, self._count = key, count
        self._deployment = read_network_file(settings.network_file)
        self._terms = claim_terms(settings)
        self.vouchers = BookVouchers(self._deployment.domain, books, store)

    async def run(self, poll_s: float = POLL_S) -> None:
        """Look at the chain and claim until cancelled; one that is away, or another network's, is asked again."""
        async with self._chain() as rpc:
            await self._find_contracts(rpc, poll_s)
            with self._direct_vouchers() as more:
                await self._claims(rpc, poll_s, more).run()

    async def _find_contracts(self, rpc: RpcClient, poll_s: float) -> None:
        said = ""
        while True:
            try:
                return await verify_deployment(rpc, self._deployment)
            except ChainUnavailable as error:
                level, text, pause_s = (
                    logging.WARNING,
                    f"cannot look at the chain yet: {error.message}",
                    poll_s,
                )
            except FarlaneError as error:
                # An endpoint that is not in step yet knows nothing of the contracts either.
                level, text, pause_s = (
                    logging.ERROR,
                    f"does not use this chain: {error.message}",
                    WRONG_CHAIN_S,
                )
            if text != said:
                log.log(level, "the node claims nothing and %s", text)
                said = text
            await asyncio.sleep(pause_s)

    async def finish(self) -> None:
        """Claim what is worth it, as the last act before the process ends; bounded in time, and nothing is raised."""
        async with self._chain() as rpc:
            with self._direct_vouchers() as more:
                await self._claims(rpc, POLL_S, more).finish()

    @contextlib.asynccontextmanager
    async def _chain(self) -> AsyncIterator[RpcClient]:
        async with RpcClient(self._endpoints, chain_id=self._deployment.chain_id) as rpc:
            yield rpc

    @contextlib.contextmanager
    def _direct_vouchers(self) -> Iterator[Further]:
        """Open what publishers without a hub have signed, where this node serves such."""
        if self._settings.direct_listen is None or self._settings.direct_network_file is not None:
            yield ()  # there are none, or they are for another chain
            return
        directory = self._settings.directory
        with contextlib.closing(DirectBookStore(directory / BOOKS_FILE)) as store:
            yield ((DirectVouchers(store), watch_of(direct_settings(self._settings))),)

    def _claims(self, rpc: RpcClient, poll_s: float, more: Further) -> Claims:
        deployment = self._deployment
        rules = rules_of(self._terms, deployment.units_per_credit, poll_s)
        file = self._settings.directory / FILE
        return Claims(rpc, deployment, file, self._key, self.vouchers, rules, self._count, more)
