"""The settlement service: keeps channels funded and vouchers claimed for as long as the hub runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from farlane.errors import FarlaneError, Unavailable
from farlane.hub.books.books import HubBook, Signing
from farlane.hub.hub import Hub
from farlane.hub.settlement.carrier import Carrier
from farlane.hub.settlement.chain import ChainDesk, Connection, Outbox, find_deployment
from farlane.hub.settlement.grants import Grants
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.rounds import Rounds, SettlementSettings, SettlementState
from farlane.hub.settlement.standing import watch_heads
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.deploy import Deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import units_floor

log = logging.getLogger(__name__)
RETRY_S = 5.0
T = TypeVar("T")
Connect = Callable[[], AbstractAsyncContextManager[Connection]]


class Settlement:
    """Brings the books to the chain.

    Args:
        directory: where the outbox is kept.
        file: the network file; on an embedded chain it is made the first time.
        network: the network's id.
        keys: the hub's.
        settings: how often and how much.
        hub: the hub in force.
        connect: opens the chain; tried again until it can be.
        clock: the machine's, unless a test moves time.
    """

    def __init__(
        self,
        directory: Path,
        file: Path,
        network: str,
        keys: HubKeys,
        settings: SettlementSettings,
        hub: Callable[[], Hub],
        connect: Connect,
        clock: Clock | None = None,
    ) -> None:
        self.state = SettlementState()
        self.keys = keys
        self.connection: Connection | None = None
        self.deployment: Deployment | None = None
        self._directory, self._file, self._network, self._settings = directory, file, network, settings
        self._hub, self._connect, self._clock = hub, connect, clock or SystemClock()
        self._desk: ChainDesk | None = None
        self._rounds: Rounds | None = None
        self._grants: Grants | None = None
        self._ready = asyncio.Event()
        self._round = asyncio.Lock()

    async def run(self) -> None:
        """Open the chain and settle every period, until cancelled; whatever fails is told and tried again."""
        while True:
            try:
                await self._run_once()
            except FarlaneError as error:
                self._trouble(error)
            except Exception as error:
                # A hub that cannot settle still has work to do: the nodes' credit bounds what can be owed.
                log.exception("settlement failed; it starts again in a moment")
                self.state.problem = f"settlement failed ({type(error).__name__}); see the hub's log"
            self._ready.clear()
            self._desk = None
            await asyncio.sleep(RETRY_S)

    async def _run_once(self) -> None:
        async with self._opened() as connection:
            self.connection = connection
            async with TaskSupervisor("settlement") as tasks:
                outbox = await self._start(connection, tasks)
                try:
                    await self.desk.renew()
                    tasks.start(outbox.run(), "settlement outbox")
                    tasks.start(watch_heads(self._hub, self._look), "what stands behind vouchers")
                    self._ready.set()
                    await self._settle_on()
                finally:
                    await outbox.close()

    @property
    def desk(self) -> ChainDesk:
        """The way to the contract.

        Raises:
            Unavailable: the chain is not open yet.
        """
        if self._desk is None:
            raise Unavailable(f"the ledger is not ready: {self.state.problem}; try again in a moment")
        return self._desk

    @property
    def rounds(self) -> Rounds:
        """What is done on the chain each time.

        Raises:
            Unavailable: the chain is not open yet.
        """
        if self._rounds is None or self._desk is None:
            raise Unavailable(f"the ledger is not ready: {self.state.problem}; try again in a moment")
        return self._rounds

    @property
    def problem(self) -> str:
        """Why settlement waits, empty if it does not: the last round's trouble, or what holds up a transaction."""
        if self.state.problem or self._desk is None:
            return self.state.problem
        status = self._desk.outbox.status()
        refused = "" if self._rounds is None else self._rounds.carrier.trouble
        return status.trouble or next(iter(status.waiting.values()), refused)

    @property
    def gas_is_free(self) -> bool:
        """Whether the chain is the hub's own, where coin is worth nothing."""
        return self.connection is not None and self.connection.embedded

    @property
    def hub(self) -> Hub:
        """The hub in force.

        Raises:
            Unavailable: its store is being reopened.
        """
        return self._hub()

    def apply_signing(self, hub: Hub) -> None:
        """Let a hub, a new one too, sign vouchers once the chain is there."""
        if self.deployment is not None and hub.books.signing is None:
            hub.bookkeeper.set_signing(self._signing(self.deployment))

    async def settle_now(self) -> list[TransactionReceipt]:
        """Settle at once what is due: everything where gas costs nothing, else as in every round.

        Returns the transactions that were confirmed meanwhile.

        Raises:
            Unavailable: the chain is not open yet.
            ChainUnavailable: the chain is away.
        """
        await self.wait_ready()
        async with self._round:
            self.rounds.carrier.insist()
            return await self.rounds.settle(
                self._hub(), 0 if self.gas_is_free else self._settings.least_claim_nano
            )

    async def grant(self, key: str, organisation: str, nano: int) -> TransactionReceipt:
        """Make credits for an organisation and pay them into its account; only on an embedded chain.

        Args:
            key: makes the grant idempotent.
            organisation: whose account.
            nano: nano-credits.

        Raises:
            InvalidInput: this chain's credits are not ours to make.
            IdempotencyMismatch: the key is that of another grant.
        """
        await self.wait_ready()
        if self._grants is None:
            raise Unavailable(f"the ledger is not ready: {self.state.problem}; try again in a moment")
        return await self._grants.grant(key, organisation, nano)

    async def wait_ready(self) -> None:
        """Wait until the chain is open.

        Raises:
            Unavailable: it still is not.
        """
        try:
            async with asyncio.timeout(60.0):
                await self._ready.wait()
        except TimeoutError as error:
            raise Unavailable(f"the ledger is not ready: {self.state.problem}") from error

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Connection]:
        async with AsyncExitStack() as stack:
            yield await self._persist(lambda: stack.enter_async_context(self._connect()))

    async def _start(self, connection: Connection, tasks: TaskSupervisor) -> Outbox:
        """Find the contracts, open the outbox, let the hub sign; tried again until it works."""
        await asyncio.get_running_loop().run_in_executor(None, self.keys.prepare)
        operator = self.keys.key(self.keys.operator())
        log.info("the hub's account %s pays the gas of settlement on %s", operator.address, connection.place)
        deployment = await self._persist(
            lambda: find_deployment(connection, self._file, self._network, operator)
        )
        outbox = await connection.open_outbox(self._directory / "outbox.db", deployment, self.keys.find)
        self.deployment = deployment
        ledger = EthereumLedger(connection.rpc, deployment)
        desk = self._desk = ChainDesk(ledger, deployment, outbox, self._settings.policy)
        carrier = Carrier(desk, self.keys, tasks, self._settings.patience_s)
        self._rounds = Rounds(connection, desk, carrier, self.keys, self._settings, self.state, self._clock)
        self._grants = Grants(connection, desk, self.keys)
        self.apply_signing(self._hub())
        self.state.problem = ""
        return outbox

    async def _persist(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the chain, again and again until it works."""
        while True:
            try:
                return await work()
            except FarlaneError as error:
                self._trouble(error)
            await asyncio.sleep(RETRY_S)

    def _signing(self, deployment: Deployment) -> Signing:
        domain = Domain(deployment.chain_id, deployment.ledger, deployment.network)
        key = self.keys.key(self.keys.signer())
        starting = (
            units_floor(self._settings.starting_nano, deployment.units_per_credit) if self.gas_is_free else 0
        )
        return Signing(
            domain,
            deployment.units_per_credit,
            key,
            self.keys.session_key,
            starting,
            embedded=self.gas_is_free,
        )

    async def _settle_on(self) -> None:
        while True:
            try:
                self.apply_signing(self._hub())
                async with self._round:
                    await self.rounds.settle(self._hub(), self._settings.least_claim_nano)
                self.state.problem = ""
            except FarlaneError as error:
                self._trouble(error)
            await asyncio.sleep(self._settings.period_s)

    async def _look(self, hub: Hub, books: Sequence[HubBook]) -> None:
        self.apply_signing(hub)
        await self.rounds.figures(hub, books)

    def _trouble(self, error: FarlaneError) -> None:
        if self.state.problem != error.message:
            log.warning("settlement waits: %s", error.message)
        self.state.problem = error.message
