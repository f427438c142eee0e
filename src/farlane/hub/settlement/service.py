"""The settlement service: keeps channels funded and vouchers claimed for as long as the hub runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from farlane.errors import FarlaneError, Unavailable
from farlane.hub.books.books import HubBook, Signing
from farlane.hub.books.payers import PayerState
from farlane.hub.hub import Hub
from farlane.hub.settlement.carrier import Carrier
from farlane.hub.settlement.chain import ChainDesk, Connection, Outbox, find_deployment
from farlane.hub.settlement.dues import payer_states
from farlane.hub.settlement.figures import Figures
from farlane.hub.settlement.grants import Grants
from farlane.hub.settlement.held import held_notices, without_coin
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures, Plan, plan
from farlane.hub.settlement.standing import lack_of, tell_standing, watch_heads
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.deploy import Deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import CLOSED, TransactionReceipt
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import units_floor

log = logging.getLogger(__name__)
RETRY_S = 5.0
T = TypeVar("T")
Connect = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class SettlementSettings:
    """How often and how much, in nano-credits.

    deposit: locked in a channel beyond what is owed; starting: what an organisation of an embedded chain begins with;
    policy: what gas may cost, the urgent cap for claims of channels that are being closed alone; patience_s: how long
    a round waits for what it has begun.
    """

    period_s: float
    deposit_nano: int
    least_claim_nano: int
    starting_nano: int
    policy: GasPolicy = field(default_factory=GasPolicy)
    patience_s: float = 30.0


@dataclass(slots=True)
class SettlementState:
    """What the last round came to, for people."""

    problem: str = "the chain is being opened"
    rounds: int = 0
    refused: int = 0
    short: dict[str, int] = field(default_factory=dict)


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
        self._carrier: Carrier | None = None
        self._figures: Figures | None = None
        self._grants: Grants | None = None
        self._ready = asyncio.Event()
        self._round = asyncio.Lock()
        self._funded: set[str] = set()
        self._held_notices: dict[str, tuple[str, ...]] = {}

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
                    await self._rounds()
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
    def problem(self) -> str:
        """Why settlement waits, empty if it does not: the last round's trouble, or what holds up a transaction."""
        if self.state.problem or self._desk is None:
            return self.state.problem
        status = self._desk.outbox.status()
        refused = "" if self._carrier is None else self._carrier.trouble
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
            if self._carrier is not None:
                self._carrier.insist()
            return await self._settle_round(0 if self.gas_is_free else self._settings.least_claim_nano)

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
        self._carrier = Carrier(desk, self.keys, tasks, self._settings.patience_s)
        self._figures = Figures(ledger, self.keys)
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

    async def _rounds(self) -> None:
        while True:
            try:
                self.apply_signing(self._hub())
                async with self._round:
                    await self._settle_round(self._settings.least_claim_nano)
                self.state.problem = ""
            except FarlaneError as error:
                self._trouble(error)
            await asyncio.sleep(self._settings.period_s)

    async def _settle_round(self, least_nano: int) -> list[TransactionReceipt]:
        desk, carrier, hub = self.desk, self._carrier, self._hub()
        assert carrier is not None  # the desk and these two are made together
        assert self._figures is not None
        books = [found for found in hub.books.all.values() if found.payable and found.book.owed_nano]
        await self._give_starting_credits(carrier, books)
        figures, todo = await self._plan(desk, carrier, books, least_nano)
        for number in todo.replaced:
            log.info("the channel of book %d is being closed: what comes next goes into another", number)
            hub.books.supersede(number)
        funded = {funding.book for funding in todo.fundings}
        await self._leave_out_dry(desk, hub, books, todo)
        done = await carrier.carry(todo, figures)
        if funded:
            # What these deposits cover now, or what they cover although they did not grow, is claimed at once.
            again = [found for found in books if found.opened.book in funded]
            figures = await self._figures.of(hub, again)
            await tell_standing(desk.ledger, hub, figures, self._has_begun)
            more = plan(figures, {}, 0, self._least(desk, least_nano), refused=carrier.refused(figures))
            done += await carrier.claim(more.claims, figures)
        self.state.rounds += 1
        self.state.refused = carrier.refused_vouchers
        self._tell_short(todo.short)
        return done

    async def _plan(
        self, desk: ChainDesk, carrier: Carrier, books: Sequence[HubBook], least_nano: int
    ) -> tuple[list[BookFigures], Plan]:
        figures = await self.figures(desk, self._hub(), books)
        payers = {one.channel.payer for one in figures if one.held and one.state.close_at != CLOSED}
        balances = {payer: await desk.ledger.balance(payer) for payer in payers}
        ending = any(one.held and 0 < one.state.close_at < CLOSED for one in figures)
        # A chain with nothing to do has no new blocks, and one whose clock was set forward is ahead of ours.
        now = max(self._clock.now(), await desk.ledger.now()) if ending else 0.0
        least = self._least(desk, least_nano)
        refused = carrier.refused(figures)
        waiting = self._hub().books.waiting
        return figures, plan(
            figures, balances, self.deposit_units(desk), least, now=now, refused=refused, waiting=waiting
        )

    @staticmethod
    def _least(desk: ChainDesk, nano: int) -> int:
        return units_floor(nano, desk.ledger.units_per_credit)

    async def _leave_out_dry(self, desk: ChainDesk, hub: Hub, books: Sequence[HubBook], todo: Plan) -> None:
        """Take out of a plan what accounts without coin for gas would have to send, and tell of them."""
        if self.gas_is_free:
            return
        held = {one.opened.organisation for one in books if self.keys.holds_payer(one.opened.organisation)}
        accounts = {organisation: self.keys.payer(organisation) for organisation in held}
        senders = {each.channel.payer for each in todo.fundings} | {each.payer for each in todo.starts}
        dry = await without_coin(desk.ledger.rpc, senders.union(accounts.values()))
        told = held_notices(accounts, dry)
        for organisation in told.keys() - self._held_notices.keys():
            log.warning("%s", "; ".join(told[organisation]))
        self._held_notices = told
        hub.payers = {**hub.payers, **{name: PayerState(notices=told.get(name, ())) for name in held}}
        todo.fundings = [one for one in todo.fundings if one.channel.payer not in dry]
        todo.starts = [channel for channel in todo.starts if channel.payer not in dry]

    async def figures(self, desk: ChainDesk, hub: Hub, books: Sequence[HubBook]) -> list[BookFigures]:
        """Return books beside what the chain says of their channels; the hub hears what payers must do themselves.

        Raises:
            ChainUnavailable: the chain is away.
        """
        assert self._figures is not None  # the desk and it are made together
        found = await self._figures.of(hub, books)
        names = {one.opened.book: hub.node_name(one.opened.node) for one in books}
        paid = [one for one, book in zip(found, books, strict=True) if book.payable]
        seen = payer_states(paid, names, self.deposit_units(desk), desk.ledger.units_per_credit)
        # Books of one organisation are always asked for together, so that what is said of it here is all of it.
        hub.payers = {
            **hub.payers,
            **{
                one.organisation: PayerState(notices=self._held_notices.get(one.organisation, ()))
                for one in found
            },
            **seen,
        }
        await tell_standing(desk.ledger, hub, found, self._has_begun)
        return found

    def _has_begun(self, organisation: str) -> bool:
        return not (self.gas_is_free and self._settings.starting_nano) or organisation in self._funded

    async def _look(self, hub: Hub, books: Sequence[HubBook]) -> None:
        self.apply_signing(hub)
        await self.figures(self.desk, hub, books)

    def _tell_short(self, short: dict[str, int]) -> None:
        for organisation in sorted(short.keys() - self.state.short.keys()):
            log.warning("vouchers wait: %s", lack_of(self.hub.books, organisation))
        self.state.short = short

    def deposit_units(self, desk: ChainDesk) -> int:
        """Return what a channel shall hold beyond what is owed, in units."""
        return units_floor(self._settings.deposit_nano, desk.ledger.units_per_credit)

    async def _give_starting_credits(self, carrier: Carrier, books: Sequence[HubBook]) -> None:
        """Let every organisation of an embedded chain begin with some credits and the coin for its gas."""
        connection, grants = self.connection, self._grants
        if connection is None or not connection.embedded or grants is None:
            return
        begun = []
        for organisation in {found.opened.organisation for found in books} - self._funded:
            if self.keys.holds_payer(organisation):
                name = f"give {organisation} its starting credits"
                begun += carrier.begin(name, partial(self._begin, grants, organisation))
        await carrier.wait(begun)

    async def _begin(self, grants: Grants, organisation: str) -> list[TransactionReceipt]:
        done = await grants.begin(organisation, self._settings.starting_nano)
        self._funded.add(organisation)
        return done

    def _trouble(self, error: FarlaneError) -> None:
        if self.state.problem != error.message:
            log.warning("settlement waits: %s", error.message)
        self.state.problem = error.message
