"""Rounds: what the hub does on the chain each time it settles, from reading its channels to the last claim."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from farlane.hub.books.books import HubBook
from farlane.hub.books.payers import PayerState
from farlane.hub.hub import Hub
from farlane.hub.settlement.carrier import Carrier
from farlane.hub.settlement.chain import ChainDesk, Connection
from farlane.hub.settlement.dues import payer_states
from farlane.hub.settlement.figures import Figures
from farlane.hub.settlement.grants import Grants
from farlane.hub.settlement.held import held_notices, without_coin
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.plan import BookFigures, Plan, plan
from farlane.hub.settlement.standing import lack_of, tell_standing
from farlane.kit.clock import Clock
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import CLOSED, TransactionReceipt
from farlane.ledger.vouchers import units_floor

log = logging.getLogger(__name__)


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
    """What the last round came to, for people; begun: organisations that have got what they begin with."""

    problem: str = "the chain is being opened"
    rounds: int = 0
    refused: int = 0
    short: dict[str, int] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)


class Rounds:
    """The rounds of one opening of the chain.

    Args:
        connection: the chain.
        desk: the way to the contracts.
        carrier: takes plans there.
        keys: the hub's.
        settings: how often and how much.
        state: told what a round came to; it outlives this opening.
        clock: the machine's.
    """

    def __init__(
        self,
        connection: Connection,
        desk: ChainDesk,
        carrier: Carrier,
        keys: HubKeys,
        settings: SettlementSettings,
        state: SettlementState,
        clock: Clock,
    ) -> None:
        self.carrier = carrier
        self._connection, self._desk, self._keys = connection, desk, keys
        self._settings, self._state, self._clock = settings, state, clock
        self._figures = Figures(desk.ledger, keys)
        self._grants = Grants(connection, desk, keys)
        self._held_notices: dict[str, tuple[str, ...]] = {}

    async def settle(self, hub: Hub, least_nano: int) -> list[TransactionReceipt]:
        """Do one round; returns the transactions that were confirmed meanwhile.

        Args:
            hub: the hub in force.
            least_nano: vouchers with less that is new wait.

        Raises:
            ChainUnavailable: the chain is away.
        """
        desk, carrier = self._desk, self.carrier
        books = [found for found in hub.books.all.values() if found.payable and found.book.owed_nano]
        await self._give_starting_credits(books)
        figures, todo = await self._plan(hub, books, least_nano)
        for number in todo.replaced:
            log.info("the channel of book %d is being closed: what comes next goes into another", number)
            hub.books.supersede(number)
        funded = {funding.book for funding in todo.fundings}
        await self._leave_out_dry(hub, books, todo)
        done = await carrier.carry(todo, figures)
        if funded:
            # What these deposits cover now, or what they cover although they did not grow, is claimed at once.
            again = [found for found in books if found.opened.book in funded]
            figures = await self._figures.of(hub, again)
            await tell_standing(desk.ledger, hub, figures, self._has_begun)
            more = plan(figures, {}, 0, self._units(least_nano), refused=carrier.refused(figures))
            done += await carrier.claim(more.claims, figures)
        self._state.rounds += 1
        self._state.refused = carrier.refused_vouchers
        self._tell_short(hub, todo.short)
        return done

    async def _plan(
        self, hub: Hub, books: Sequence[HubBook], least_nano: int
    ) -> tuple[list[BookFigures], Plan]:
        desk, carrier = self._desk, self.carrier
        figures = await self.figures(hub, books)
        payers = {one.channel.payer for one in figures if one.held and one.state.close_at != CLOSED}
        balances = {payer: await desk.ledger.balance(payer) for payer in payers}
        ending = any(one.held and 0 < one.state.close_at < CLOSED for one in figures)
        # A chain with nothing to do has no new blocks, and one whose clock was set forward is ahead of ours.
        now = max(self._clock.now(), await desk.ledger.now()) if ending else 0.0
        least = self._units(least_nano)
        refused = carrier.refused(figures)
        deposit, waiting = self.deposit_units, hub.books.waiting
        return figures, plan(figures, balances, deposit, least, now=now, refused=refused, waiting=waiting)

    def _units(self, nano: int) -> int:
        return units_floor(nano, self._desk.ledger.units_per_credit)

    async def _leave_out_dry(self, hub: Hub, books: Sequence[HubBook], todo: Plan) -> None:
        """Take out of a plan what accounts without coin for gas would have to send, and tell of them."""
        if self._connection.embedded:
            return
        held = {one.opened.organisation for one in books if self._keys.holds_payer(one.opened.organisation)}
        accounts = {organisation: self._keys.payer(organisation) for organisation in held}
        senders = {each.channel.payer for each in todo.fundings} | {each.payer for each in todo.starts}
        dry = await without_coin(self._desk.ledger.rpc, senders.union(accounts.values()))
        told = held_notices(accounts, dry)
        for organisation in told.keys() - self._held_notices.keys():
            log.warning("%s", "; ".join(told[organisation]))
        self._held_notices = told
        hub.payers = {**hub.payers, **{name: PayerState(notices=told.get(name, ())) for name in held}}
        todo.fundings = [one for one in todo.fundings if one.channel.payer not in dry]
        todo.starts = [channel for channel in todo.starts if channel.payer not in dry]

    async def figures(self, hub: Hub, books: Sequence[HubBook]) -> list[BookFigures]:
        """Return books beside what the chain says of their channels; the hub hears what payers must do themselves.

        Raises:
            ChainUnavailable: the chain is away.
        """
        found = await self._figures.of(hub, books)
        names = {one.opened.book: hub.node_name(one.opened.node) for one in books}
        paid = [one for one, book in zip(found, books, strict=True) if book.payable]
        seen = payer_states(paid, names, self.deposit_units, self._desk.ledger.units_per_credit)
        # Books of one organisation are always asked for together, so that what is said of it here is all of it.
        hub.payers = {
            **hub.payers,
            **{
                one.organisation: PayerState(notices=self._held_notices.get(one.organisation, ()))
                for one in found
            },
            **seen,
        }
        await tell_standing(self._desk.ledger, hub, found, self._has_begun)
        return found

    def _has_begun(self, organisation: str) -> bool:
        return (
            not (self._connection.embedded and self._settings.starting_nano)
            or organisation in self._state.begun
        )

    def _tell_short(self, hub: Hub, short: dict[str, int]) -> None:
        for organisation in sorted(short.keys() - self._state.short.keys()):
            log.warning("vouchers wait: %s", lack_of(hub.books, organisation))
        self._state.short = short

    @property
    def deposit_units(self) -> int:
        """What a channel shall hold beyond what is owed, in units."""
        return self._units(self._settings.deposit_nano)

    async def _give_starting_credits(self, books: Sequence[HubBook]) -> None:
        """Let every organisation of an embedded chain begin with some credits and the coin for its gas."""
        if not self._connection.embedded:
            return
        begun = []
        for organisation in {found.opened.organisation for found in books} - self._state.begun:
            if self._keys.holds_payer(organisation):
                name = f"give {organisation} its starting credits"
                begun += self.carrier.begin(name, partial(self._begin, organisation))
        await self.carrier.wait(begun)

    async def _begin(self, organisation: str) -> list[TransactionReceipt]:
        done = await self._grants.begin(organisation, self._settings.starting_nano)
        self._state.begun.add(organisation)
        return done
