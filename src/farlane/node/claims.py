"""Claims of a node: watcher, settler and a durable outbox put together, and the last claim before it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from farlane.errors import FarlaneError
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.claiming import WatchSettings
from farlane.ledger.deploy import Deployment, verify_deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import RpcClient
from farlane.ledger.settlement import Settler
from farlane.ledger.watcher import ChannelWatcher, VoucherSource
from farlane.node.books.signing import HeadKey

log = logging.getLogger(__name__)

LEAVING_S = 10.0
"""How long the last claim may hold up a shutdown; what was sent counts, and goes on at the next start."""
LOOK_S = 30.0
"""How often the node looks what its claims wait for, and whether its key has coin."""
SAY_AGAIN_S = 3600.0
"""How often the log says of a claim that it still waits."""
GAS_OF_A_CLAIM = 60_000
"""What settling one voucher takes, with some to spare: below it the node's key cannot claim."""
_RESTART = Backoff(1.0, 60.0)
_UNLOCK = Backoff(60.0, 3600.0)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """When and how a node claims. leaving_s: bound of the last claim, in seconds."""

    watch: WatchSettings = field(default_factory=WatchSettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)
    leaving_s: float = LEAVING_S


class Claims:
    """Claims for one key on one chain.

    Args:
        rpc: the chain; that it is the right one was checked.
        deployment: where the contracts are.
        file: where the outbox lies, without its ending: each chain has one of its own, `FILE-CHAIN.db`.
        key: pays the gas.
        vouchers: what could be claimed.
        rules: when and how.
        count: counts what was claimed.
        more: further vouchers and when those are claimed, over the one outbox: a key must not have two.
    """

    def __init__(
        self,
        rpc: RpcClient,
        deployment: Deployment,
        file: Path,
        key: HeadKey,
        vouchers: VoucherSource,
        rules: ClaimRules | None = None,
        count: ClaimCount | None = None,
        more: Sequence[tuple[VoucherSource, WatchSettings]] = (),
    ) -> None:
        self._rpc, self._deployment, self._key = rpc, deployment, key
        self._file = file.with_name(f"{file.name}-{deployment.chain_id}.db")
        self._rules, self._count = rules or ClaimRules(), count or ClaimCount()
        self._watched = ((vouchers, self._rules.watch), *more)
        self._random = Random()

    async def run(self) -> None:
        """Claim until cancelled. What an earlier process has begun goes on, and is not begun twice.

        Raises:
            Conflict: another process uses the outbox, or a newer farlane wrote it.
            Corrupted: it is damaged.
        """
        async with self._outbox(self._rules.outbox) as outbox:
            left = await outbox.pending()
            if left:
                log.info("%d transactions with claims of an earlier run go on", len(left))
            try:
                await self._supervise(outbox)
            finally:
                # Whoever reads the figures must not take the last ones for what is so now.
                self._count.reachable, self._count.waiting = False, 0

    async def _supervise(self, outbox: ChainOutbox) -> None:
        async with TaskSupervisor("claims") as tasks:
            for work, name in (
                (outbox.run, "outbox"),
                *((watcher.run, "channel watcher") for watcher in self._watchers(outbox)),
                (self._unlock, "open the key that claims"),
                (lambda: self._report(outbox), "report on claims"),
            ):
                tasks.start_restarting(work, name, backoff=_RESTART, random=self._random)
            await tasks.wait()

    async def finish(self) -> None:
        """Claim what is worth it, as the last act before the process ends; bounded in time, and nothing is raised."""
        try:
            async with asyncio.timeout(self._rules.leaving_s):
                await self._claim_last()
        except TimeoutError:
            log.warning(
                "the last claims are not on the chain after %g s: they go on at the next start",
                self._rules.leaving_s,
            )
        except FarlaneError as error:
            log.warning("what is owed was not claimed before the end, but is at the next start: %s", error)

    async def _claim_last(self) -> None:
        if not any(True for vouchers, _ in self._watched for _ in vouchers.channels()):
            return
        await verify_deployment(self._rpc, self._deployment)
        await self._key.unlock()
        # Nobody waits here for blocks on top: should one be lost again, the next start finds it unclaimed.
        how = OutboxSettings(poll_s=min(1.0, self._rules.outbox.poll_s))
        async with self._outbox(how) as outbox, TaskSupervisor("last claims") as tasks:
            tasks.start(outbox.run(), "outbox")
            await asyncio.gather(*(one.poll(leaving=True) for one in self._watchers(outbox)))

    @contextlib.asynccontextmanager
    async def _outbox(self, how: OutboxSettings) -> AsyncIterator[ChainOutbox]:
        outbox = await ChainOutbox.open(
            self._file,
            self._rpc,
            self._deployment.chain_id,
            self._find_key,
            settings=how,
            random=self._random,
        )
        try:
            yield outbox
        finally:
            await outbox.close()

    def _watchers(self, outbox: ChainOutbox) -> list[ChannelWatcher]:
        settler = Settler(outbox, self._deployment.ledger, self._key.address)
        ledger = EthereumLedger(self._rpc, self._deployment)
        return [
            ChannelWatcher(ledger, vouchers, settler, watch, self._random, self._count)
            for vouchers, watch in self._watched
        ]

    def _find_key(self, account: Address) -> PrivateKey | None:
        return self._key.key if account == self._key.address else None

    async def _unlock(self) -> None:
        for pause_s in _UNLOCK.delays(self._random):
            await self._key.unlock()  # says why it cannot
            if self._key.key is not None:
                return
            await asyncio.sleep(pause_s)

    async def _report(self, outbox: ChainOutbox) -> None:
        """Say what claims wait for, and whether the key could pay for one."""
        said: dict[str, float] = {}
        poor, loop = False, asyncio.get_running_loop()
        while True:
            waiting = outbox.status().waiting
            self._count.waiting = len(waiting)
            said = {key: at for key, at in said.items() if key in waiting}
            for key, reason in waiting.items():
                if loop.time() >= said.get(key, 0.0):
                    log.warning("a claim waits: %s", reason)
                    said[key] = loop.time() + SAY_AGAIN_S
            with contextlib.suppress(FarlaneError):  # a chain that is away is said by the others
                poor = await self._check_gas(poor)
            await asyncio.sleep(LOOK_S)

    async def _check_gas(self, was_poor: bool) -> bool:
        coin = await self._rpc.quantity("eth_getBalance", self._key.address, "latest")
        poor = coin < GAS_OF_A_CLAIM * await self._rpc.quantity("eth_gasPrice")
        if poor and not was_poor:
            log.error(
                "the node's key %s has too little of the chain's coin to claim what it is owed (a claim takes about "
                "%d gas): send it some",
                self._key.address,
                GAS_OF_A_CLAIM,
            )
        elif was_poor and not poor:
            log.info("the node's key %s has coin for claims again", self._key.address)
        return poor
