"""The settlement service: keeps channels funded and vouchers claimed for as long as the hub runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from farlane.errors import FarlaneError, InvalidInput, Unavailable
from farlane.hub.books.books import HubBook, Signing
from farlane.hub.books.payers import PayerState
from farlane.hub.hub import Hub
from farlane.hub.settlement.chain import GAS_WEI, ChainDesk, Connection, Outbox, find_deployment
from farlane.hub.settlement.dues import payer_states
from farlane.hub.settlement.figures import figures_of
from farlane.hub.settlement.held import held_notices, without_coin
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures, Funding, Plan, plan
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.deploy import Deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import SignedClaim, TransactionReceipt
from farlane.ledger.settlement import Settler, plan_settlements
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import units_floor

log = logging.getLogger(__name__)
RETRY_S = 5.0
T = TypeVar("T")
Connect = Callable[[], AbstractAsyncContextManager[Connection]]
MAX_UINT = 2**256 - 1


@dataclass(frozen=True, slots=True)
class SettlementSettings:
    """How often and how much, in nano-credits.

    deposit: locked in a channel beyond what is owed; starting: what an organisation of an embedded chain begins with;
    policy: what gas may cost.
    """

    period_s: float
    deposit_nano: int
    least_claim_nano: int
    starting_nano: int
    policy: GasPolicy = field(default_factory=GasPolicy)


@dataclass(slots=True)
class SettlementState:
    """What the last round came to, for people."""

    problem: str = "the chain is being opened"
    rounds: int = 0
    refused: int = 0
    short: dict[str, int] = field(default_factory=dict)
    transactions: list[TransactionReceipt] = field(default_factory=list)


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
    ) -> None:
        self.state = SettlementState()
        self.keys = keys
        self.connection: Connection | None = None
        self.deployment: Deployment | None = None
        self._directory, self._file, self._network, self._settings = directory, file, network, settings
        self._hub, self._connect = hub, connect
        self._desk: ChainDesk | None = None
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
                outbox = await self._start(connection)
                tasks.start(outbox.run(), "settlement outbox")
                try:
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
        return status.trouble or next(iter(status.waiting.values()), "")

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
        """Settle at once what is due: everything where gas costs nothing, else as in every round; returns transactions.

        Raises:
            Unavailable: the chain is not open yet.
            FarlaneError: the chain refuses.
        """
        await self.wait_ready()
        async with self._round:
            return await self._settle_round(0 if self.gas_is_free else self._settings.least_claim_nano)

    async def grant(self, key: str, organisation: str, nano: int) -> TransactionReceipt:
        """Make credits for an organisation and pay them into its account; only on an embedded chain.

        Args:
            key: makes the grant idempotent.
            organisation: whose account.
            nano: nano-credits.

        Raises:
            InvalidInput: this chain's credits are not ours to make.
        """
        await self.wait_ready()
        desk, operator = self.desk, self.keys.operator()
        if self.connection is None or not self.connection.embedded:
            raise InvalidInput(
                "credits of this network are a token on a real chain; `farlane ledger deposit --rpc URL` pays them in"
            )
        units = units_floor(nano, desk.ledger.units_per_credit)
        await desk.call_token("approve", operator, "approve", desk.deployment.ledger, MAX_UINT)
        await desk.call_token(f"mint/{key}", operator, "mint", operator, units)
        return await desk.call(f"deposit/{key}", operator, "deposit", self.keys.payer(organisation), units)

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

    async def _start(self, connection: Connection) -> Outbox:
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
        self._desk = ChainDesk(ledger, deployment, outbox, self._settings.policy)
        self.apply_signing(self._hub())
        self.state.problem = ""
        self._ready.set()
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
        return Signing(domain, deployment.units_per_credit, key, self.keys.session_key)

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
        desk, hub = self.desk, self._hub()
        books = [found for found in hub.books.all.values() if found.payable and found.book.owed_nano]
        await self._give_starting_credits(books)
        todo = await self._plan(desk, hub, books, least_nano)
        done = [await self._fund(desk, funding) for funding in await self._payable(desk, hub, books, todo)]
        for number in todo.closed:
            hub.books.supersede(number)
        done += await self._claim(desk, todo.claims)
        self.state.rounds += 1
        self.state.short = todo.short
        self.state.transactions = [*self.state.transactions, *done][-100:]
        return done

    async def _plan(self, desk: ChainDesk, hub: Hub, books: Sequence[HubBook], least_nano: int) -> Plan:
        figures = await self.figures(desk, hub, books)
        payers = {one.channel.payer for one in figures if one.held and one.current}
        balances = {payer: await desk.ledger.balance(payer) for payer in payers}
        least = units_floor(least_nano, desk.ledger.units_per_credit)
        return plan(figures, balances, self.deposit_units(desk), least)

    async def _payable(
        self, desk: ChainDesk, hub: Hub, books: Sequence[HubBook], todo: Plan
    ) -> list[Funding]:
        """Return the fundings whose accounts can pay their gas: one that cannot must hold up no claims of others."""
        if self.gas_is_free:
            return todo.fundings
        held = {one.opened.organisation for one in books if self.keys.holds_payer(one.opened.organisation)}
        accounts = {organisation: self.keys.payer(organisation) for organisation in held}
        dry = await without_coin(desk.ledger.rpc, accounts.values())
        told = held_notices(accounts, dry, todo.short, desk.ledger.units_per_credit)
        for organisation in told.keys() - self._held_notices.keys():
            log.warning("%s", "; ".join(told[organisation]))
        self._held_notices = told
        hub.payers = {**hub.payers, **{name: PayerState(notices=told.get(name, ())) for name in held}}
        return [one for one in todo.fundings if one.channel.payer not in dry]

    async def figures(self, desk: ChainDesk, hub: Hub, books: Sequence[HubBook]) -> list[BookFigures]:
        """Return books beside what the chain says of their channels; the hub hears what payers must do themselves.

        Raises:
            ChainUnavailable: the chain is away.
        """
        found = await figures_of(desk, hub, self.keys, books)
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
        return found

    def deposit_units(self, desk: ChainDesk) -> int:
        """Return what a channel shall hold beyond what is owed, in units."""
        return units_floor(self._settings.deposit_nano, desk.ledger.units_per_credit)

    async def _give_starting_credits(self, books: Sequence[HubBook]) -> None:
        """Let every organisation of an embedded chain begin with some credits and the coin for its gas."""
        connection = self.connection
        if connection is None or not connection.embedded or connection.faucet is None:
            return
        for organisation in {found.opened.organisation for found in books} - self._funded:
            if self.keys.holds_payer(organisation):
                payer = self.keys.payer(organisation)
                await connection.faucet(payer, GAS_WEI)
                if self._settings.starting_nano:
                    await self.grant(f"start/{payer}", organisation, self._settings.starting_nano)
            self._funded.add(organisation)

    async def _fund(self, desk: ChainDesk, funding: Funding) -> TransactionReceipt:
        channel = funding.channel
        terms = channel.provider, channel.signer, channel.salt, funding.amount
        if not funding.deposit:
            return await desk.call(f"open/{channel.id.hex()}", channel.payer, "open", *terms)
        key = f"top-up/{channel.id.hex()}/{funding.deposit}"
        return await desk.call(key, channel.payer, "topUp", *terms)

    async def _claim(self, desk: ChainDesk, claims: Sequence[SignedClaim]) -> list[TransactionReceipt]:
        """Settle vouchers in batches that fit; one the contract refuses is told and holds up no other."""
        states = {claim.channel.id: await desk.ledger.channel(claim.channel.id) for claim in claims}
        settler = Settler(desk.outbox, desk.deployment.ledger, self.keys.operator())
        done: dict[bytes, TransactionReceipt] = {}
        refused = []
        for batch in plan_settlements(claims, states):
            report = await settler.settle(batch, desk.policy)
            done |= {receipt.hash: receipt for _, receipt in report.paid}
            refused += report.refused
        for claim, error in refused:
            log.error("the voucher of channel 0x%s is refused: %s", claim.channel.id.hex(), error)
        self.state.refused = len(refused)
        for receipt in done.values():
            log.info("settled in 0x%s, %d gas", receipt.hash.hex(), receipt.gas_used)
        return list(done.values())

    def _trouble(self, error: FarlaneError) -> None:
        if self.state.problem != error.message:
            log.warning("settlement waits: %s", error.message)
        self.state.problem = error.message
