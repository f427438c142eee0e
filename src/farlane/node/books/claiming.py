"""Claiming: the node sees on the chain itself whether deposits cover its vouchers, and claims before a channel closes.

It needs no hub for that. The gas is paid by the node's own key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from farlane.errors import ChainUnavailable, FarlaneError, InvalidSignature, Reverted
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.port import CLOSED, MAX_CLAIMS, ChannelState, Ledger, SignedClaim
from farlane.ledger.vouchers import SignedVoucher, Voucher
from farlane.node.books.node_book import NodeBook
from farlane.node.books.opening import read_network_file
from farlane.node.books.signing import HeadKey
from farlane.node.settings import NodeSettings

log = logging.getLogger(__name__)

POLL_S = 15.0
"""How often the node looks; a close window is hours or days."""
GAS_OF_A_CLAIM = 60_000
"""What settling one voucher takes, with some to spare: below it the node's key cannot claim."""


class ChainWatch:
    """Looks at the channels of a node's books.

    Args:
        ledger: the chain; that it is the right one was checked.
        key: claims and pays the gas.
        books: all there are.
        gas_left: returns how much gas the key's coin would buy; None where gas costs nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        key: HeadKey,
        books: Callable[[], Iterable[NodeBook]],
        gas_left: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._ledger, self._key, self._books, self._gas_left = ledger, key, books, gas_left
        self._states: dict[bytes, ChannelState] = {}
        self._trouble = ""

    def covered_units(self, channel: bytes) -> int | None:
        """Return how much of a channel's voucher its deposit covers, None before the first look."""
        state = self._states.get(channel)
        return None if state is None else covered_by(state)

    async def run(self, poll_s: float = POLL_S) -> None:
        """Look again and again; a chain that is away is waited for."""
        first = True
        while True:
            try:
                if first:
                    await self.check_gas()
                    first = False
                await self.look()
                self._say("")
            except FarlaneError as error:
                self._say(error.message)
            await asyncio.sleep(poll_s)

    async def look(self) -> list[SignedClaim]:
        """Look at all channels once, and claim what is in danger; returns what was claimed.

        Raises:
            ChainUnavailable: the chain is away; what was seen last stands.
        """
        endangered: list[SignedClaim] = []
        for book in self._books():
            if book.domain != self._ledger.domain:
                continue
            state = await self._ledger.channel(book.channel.id)
            before = self._states.get(book.channel.id)
            self._states[book.channel.id] = state
            voucher = book.book.voucher
            if voucher is None:
                continue
            if before != state and covered_by(state) < voucher.cumulative:
                log.warning(
                    "book %d: the channel's deposit covers %d of the %d units that were promised",
                    book.terms.book, covered_by(state), voucher.cumulative,
                )  # fmt: skip
            if must_claim(state, voucher):
                endangered.append(SignedClaim(book.channel, SignedVoucher(voucher, book.voucher_signature)))
        if endangered:
            await self._claim(endangered)
        return endangered

    async def _claim(self, claims: Sequence[SignedClaim]) -> None:
        await self._key.unlock()
        if self._key.key is None:
            return  # said by `unlock`
        await self.check_gas()
        for start in range(0, len(claims), MAX_CLAIMS):
            part = claims[start : start + MAX_CLAIMS]
            try:
                await self._settle(self._key.key, part)
            except (Reverted, InvalidSignature):
                # All or none: the others must not wait for a bad one.
                for claim in part:
                    await self._settle_alone(self._key.key, claim)

    async def _settle_alone(self, key: PrivateKey, claim: SignedClaim) -> None:
        try:
            await self._settle(key, [claim])
        except (Reverted, InvalidSignature) as error:
            log.error(
                "a voucher of channel 0x%s cannot be claimed: %s", claim.channel.id.hex(), error.message
            )

    async def _settle(self, key: PrivateKey, claims: Sequence[SignedClaim]) -> None:
        receipt = await self._ledger.settle(key, claims)
        log.info(
            "claimed %d vouchers whose channels are being closed, in transaction 0x%s (%d gas)",
            len(claims), receipt.hash.hex(), receipt.gas_used,
        )  # fmt: skip

    async def check_gas(self) -> None:
        """Say so where the key could not pay for a claim."""
        if self._gas_left is not None and await self._gas_left() < GAS_OF_A_CLAIM:
            log.error(
                "the node's key %s has too little of the chain's coin to claim what it is owed (a claim takes about "
                "%d gas): send it some",
                self._key.address,
                GAS_OF_A_CLAIM,
            )

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("the node cannot look at the chain: %s", trouble)
        elif self._trouble and not trouble:
            log.info("the node can look at the chain again")
        self._trouble = trouble


def covered_by(state: ChannelState) -> int:
    """Return how many units of a voucher a channel pays, those already claimed included; pure."""
    return state.claimed if state.close_at == CLOSED else state.deposit


def must_claim(state: ChannelState, voucher: Voucher) -> bool:
    """Tell whether a voucher is lost unless it is claimed now: the payer has begun to close the channel; pure."""
    return state.claimable and state.close_at != 0 and min(voucher.cumulative, state.deposit) > state.claimed


async def watch_chain(
    settings: NodeSettings,
    key: HeadKey,
    books: Callable[[], Iterable[NodeBook]],
    ready: Callable[[ChainWatch], None],
    poll_s: float = POLL_S,
) -> None:
    """Watch the chain for a node until cancelled; returns at once where no endpoint is set.

    Args:
        settings: the node's.
        key: claims and pays the gas.
        books: all there are.
        ready: hears the watch once the deployment was found to be ours.
        poll_s: how often it looks.
    """
    if settings.rpc is None:
        return
    from farlane.ledger.deploy import verify_deployment
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.ledger.rpc import RpcClient

    assert settings.network_file is not None  # `open_books` has refused that
    deployment = read_network_file(settings.network_file)
    async with RpcClient(settings.rpc) as rpc:

        async def gas_left() -> int:
            coin = await rpc.quantity("eth_getBalance", key.address, "latest")
            return coin // max(1, await rpc.quantity("eth_gasPrice"))

        while True:
            try:
                await verify_deployment(rpc, deployment)
                break
            except ChainUnavailable as error:
                log.warning("the node cannot look at the chain yet: %s", error.message)
                await asyncio.sleep(POLL_S)
            except FarlaneError as error:
                log.error("the node does not use this chain: %s", error.message)
                return
        watch = ChainWatch(EthereumLedger(rpc, deployment), key, books, gas_left)
        ready(watch)
        await watch.run(poll_s)
