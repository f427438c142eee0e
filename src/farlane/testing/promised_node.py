"""A node that was promised payment on channels of a real chain, and whose hub is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.claiming import WatchSettings
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy, deployment_to_json
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.rpc import RpcClient
from farlane.node.books.claiming import BookClaims, BookVouchers
from farlane.node.books.signing import HeadKey
from farlane.node.claims import ClaimRules, Claims
from farlane.testing.kept_books import KEY, KeptBooks
from farlane.testing.scripted_book import NETWORK, ScriptedBook
from farlane.testing.waiting import PATIENCE_S

ETHER = 10**18
WATCH = WatchSettings(poll_s=0.05, threshold=None)
OUTBOX = OutboxSettings(poll_s=0.02, backoff_cap_s=0.05)


@dataclass
class PromisedNode:
    """A node and its payer on a chain whose blocks come at once.

    url, rpc: anvil; payer: opens channels; gas: the key that claims; books: of the node, in `directory`.
    """

    url: str
    rpc: RpcClient
    deployment: Deployment
    ledger: EthereumLedger
    payer: PrivateKey
    gas: PrivateKey
    directory: Path
    books: KeptBooks

    def hub(self, number: int = 1) -> ScriptedBook:
        """Return the hub's side of another book."""
        domain = self.deployment.domain
        return ScriptedBook(KEY.address, number=number, payer=self.payer.address, domain=domain)

    async def promise(self, hub: ScriptedBook, *indices: int) -> int:
        """Let the node do tasks and take a voucher; returns the units promised in all."""
        self.books.hear(terms=hub.terms())
        self.books.hear(leaves=hub.append(*self.books.work(*indices)))
        self.books.hear(voucher=hub.answer(await self.books.head(), KEY.address))
        await self.books.settle()
        assert hub.book.voucher is not None
        return hub.book.voucher.cumulative

    async def open(self, hub: ScriptedBook, units: int) -> None:
        """Let the payer open the book's channel."""
        await self.ledger.open_channel(self.payer, hub.channel, units)

    async def close(self, hub: ScriptedBook) -> None:
        """Let the payer begin to close the book's channel."""
        await self.ledger.start_close(self.payer, hub.channel)

    async def paid(self) -> int:
        """Return what the node was paid, in units."""
        return await self.ledger.balance(KEY.address)

    async def sent(self) -> int:
        """Return how many transactions of the claiming key are on the chain."""
        return await self.rpc.quantity("eth_getTransactionCount", self.gas.address, "latest")

    async def wait(self, units: int) -> None:
        """Wait until the node was paid so much."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.paid() < units:  # noqa: ASYNC110  # the chain tells nobody
                await asyncio.sleep(0.02)

    def network_file(self) -> Path:
        """Return the path of the network's file, written if it is not there."""
        file = self.directory / "network.json"
        file.write_bytes(deployment_to_json(self.deployment))
        return file

    def claims(
        self, watch: WatchSettings = WATCH, *, rpc: RpcClient | None = None, file: str = "claims",
        count: ClaimCount | None = None, leaving_s: float = 20.0,
    ) -> Claims:  # fmt: skip
        """Return what claims for the node.

        Args:
            watch: when.
            rpc: another way to the chain.
            file: another outbox.
            count: counts.
            leaving_s: bound of the last claim.
        """
        shelf, store = self.books.books.keeper.shelf, self.books.store
        vouchers = BookVouchers(self.deployment.domain, shelf.books, store)
        key = HeadKey(self.directory, self.gas.address, key=self.gas)
        rules = ClaimRules(watch, OUTBOX, leaving_s)
        return Claims(rpc or self.rpc, self.deployment, self.directory / file, key, vouchers, rules, count)


@asynccontextmanager
async def promised_node(url: str, directory: Path) -> AsyncIterator[PromisedNode]:
    """Deploy a network on anvil, and give its payer credits and everybody coin."""
    deployer, payer, gas = (PrivateKey.generate() for _ in range(3))
    async with RpcClient(url) as rpc:
        for key in (deployer, payer, gas):
            await rpc.call("anvil_setBalance", key.address, hex(100 * ETHER))
        deployment = await deploy(rpc, deployer, DeploymentPlan(NETWORK, deployer.address))
        ledger = EthereumLedger(rpc, deployment)
        await ledger.mint(deployer, payer.address, 10**13)
        await ledger.deposit(payer, 10**13)
        books = KeptBooks(directory)
        books.join()
        yield PromisedNode(url, rpc, deployment, ledger, payer, gas, directory, books)
        books.store.close()


@asynccontextmanager
async def at_work(claims: Claims | BookClaims, **given: Any) -> AsyncIterator[None]:
    """Let a node claim while the block runs; it ends as a killed process does."""
    work = asyncio.create_task(claims.run(**given))
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait([work])
