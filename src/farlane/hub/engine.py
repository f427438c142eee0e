"""The engine: runs the reactor on the event loop and lets every output wait for the records before it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from farlane.domain.records import Record
from farlane.errors import FarlaneError, Unavailable
from farlane.hub.deciding.desk import Desk
from farlane.hub.reactor.commands import Append, Command, Output
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.store.port import Store
from farlane.kit.clock import Clock
from farlane.scheduler.policy import Policy

T = TypeVar("T")
Effect = Callable[[], None]
BookKeeping = Callable[[Append], tuple[Sequence[Record], Effect | None]]
"""Returns the records that go into one commit with a record of work, and what may happen once they are durable."""
log = logging.getLogger(__name__)

ROUND_SHARE = 4
"""Scheduling may take a fifth of the loop: after a round of t seconds the next waits 4 t, at most MAX_WAIT_S."""
MAX_WAIT_S = 0.01
TICK_S = 0.25


class Engine:
    """Owns the reactor; every event goes through `run`, every effect through `after`.

    All events of one turn of the loop share one append, one scheduling round and so one commit.

    Args:
        policy: where ready tasks go, or the desk that finds out.
        perform: carries out an output of the reactor.
        keep_books: turns ended attempts into leaves.
        on_failure: called once when the store cannot write any more; nothing leaves the hub after that.
    """

    def __init__(
        self,
        reactor: Reactor,
        store: Store,
        policy: Policy | Desk,
        clock: Clock,
        perform: Callable[[Output], None],
        on_failure: Callable[[Exception], None],
        keep_books: BookKeeping = lambda _: ((), None),
    ) -> None:
        self.reactor = reactor
        self.policy = policy
        self.rounds = 0
        self.events = 0
        self.failure: Exception | None = None
        self._store, self._clock, self._perform, self._on_failure = store, clock, perform, on_failure
        self._keep_books = keep_books
        self._loop = asyncio.get_running_loop()
        self._records: list[Record] = []
        self._effects: list[tuple[Effect, bool]] = []
        self._waiting: deque[tuple[int, list[Effect]]] = deque()
        self._promises: set[asyncio.Future[None]] = set()
        self._appended = self._durable = 0
        self._turn_due = False
        self._next_round = 0.0
        self._later: asyncio.TimerHandle | None = None
        if isinstance(policy, Desk):
            policy.attach(self._ask_for_turn)

    @property
    def explaining(self) -> Policy:
        """The policy that can say why a task waits: the one that decides now."""
        return self.policy.explaining if isinstance(self.policy, Desk) else self.policy

    def now(self) -> float:
        """Return the time of events, unix seconds."""
        return self._clock.now()

    def run(self, event: Callable[[Reactor, float], T]) -> T:
        """Apply one event now; its effects follow when they may.

        Raises:
            Unavailable: the store cannot write; nothing was changed.
        """
        self.check()
        self.events += 1
        try:
            return event(self.reactor, self._clock.now())
        finally:
            self._collect(self.reactor.take_commands())
            self._ask_for_turn()

    def append(self, record: Record, effect: Effect) -> None:
        """Keep a record that is not the reactor's; `effect` follows once it is durable.

        Raises:
            Unavailable: the store cannot write; nothing was changed.
        """
        self.check()
        self._records.append(record)
        self.after(effect)

    def after(self, effect: Effect, *, relaxed: bool = False) -> None:
        """Do something once everything before it is durable, or at the end of this turn when relaxed."""
        self._effects.append((effect, relaxed))
        self._ask_for_turn()

    async def durable(self) -> None:
        """Wait until everything done so far is on disk.

        Raises:
            Unavailable: the store cannot write; what was done is lost (DiskFull: for want of room).
        """
        self.check()
        promise: asyncio.Future[None] = self._loop.create_future()
        self._promises.add(promise)
        self.after(lambda: _keep(promise))
        try:
            await promise
        finally:
            self._promises.discard(promise)
        self.check()

    def check(self) -> None:
        """Refuse new events when the store cannot write.

        Raises:
            Unavailable: with the store's own error as its cause.
        """
        if self.failure is not None:
            if isinstance(self.failure, FarlaneError):
                raise type(self.failure)(self.failure.message, **self.failure.facts) from self.failure
            raise Unavailable("the hub's store cannot write; see the hub's log") from self.failure

    async def tick_once(self) -> None:
        """Wait a moment, then let time pass for the reactor."""
        await asyncio.sleep(TICK_S)
        if isinstance(self.policy, Desk):
            self.policy.tick()
        if self.failure is None:
            self.run(lambda reactor, now: reactor.tick(now))

    def _collect(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Append):
                self._records.append(command.record)
                booked, effect = self._keep_books(command)
                self._records += booked
                if effect is not None:
                    self._effects.append((effect, False))
            else:
                self._effects.append((self._effect(command), getattr(command, "relaxed", False)))

    def _effect(self, output: Output) -> Effect:
        return lambda: self._perform(output)

    def _ask_for_turn(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """End of a turn: schedule if it is time, append all records at once, release what may leave."""
        self._turn_due = False
        if self.failure is not None:
            return
        self._schedule()
        records, self._records = self._records, []
        effects, self._effects = self._effects, []
        if records:
            self._appended += 1
            try:
                self._store.append(records, self._durable_callback(self._appended))
            except FarlaneError as error:
                self._fail(error)
                return
        held = []
        for effect, relaxed in effects:
            if relaxed or self._appended == self._durable:
                _perform_safely(effect)
            else:
                held.append(effect)
        if held:
            self._waiting.append((self._appended, held))

    def _schedule(self) -> None:
        due = isinstance(self.policy, Desk) and self.policy.due
        if not self.reactor.state.waiting and not due:
            return
        started = self._loop.time()
        if started < self._next_round and not due:
            if self._later is None:
                self._later = self._loop.call_at(self._next_round, self._late_turn)
            return
        try:
            decided = self._decide()
        except Exception:
            # A policy that fails must not hold up results and acknowledgements; nothing was granted.
            log.exception("policy %s failed; its next round follows shortly", self.policy.name)
            decided = True
        self._collect(self.reactor.take_commands())
        self.rounds += decided
        took = self._loop.time() - started
        self._next_round = started + took + min(MAX_WAIT_S, ROUND_SHARE * took)

    def _decide(self) -> bool:
        """Decide a round, or ask for a decision; returns whether one was applied."""
        if isinstance(self.policy, Desk):
            return self.policy.round(self.reactor, self._clock.now(), self.events)
        self.reactor.schedule(self._clock.now(), self.policy)
        return True

    def _late_turn(self) -> None:
        self._later = None
        self._ask_for_turn()

    def _durable_callback(self, number: int) -> Callable[[Exception | None], None]:
        def done(error: Exception | None) -> None:
            self._loop.call_soon_threadsafe(self._reached, number, error)

        return done

    def _reached(self, number: int, error: Exception | None) -> None:
        if error is not None:
            self._fail(error)
        if self.failure is not None:
            return
        self._durable = max(self._durable, number)
        while self._waiting and self._waiting[0][0] <= self._durable:
            for effect in self._waiting.popleft()[1]:
                _perform_safely(effect)

    def _fail(self, error: Exception) -> None:
        if self.failure is None:
            log.error("the store cannot write; nothing is acknowledged until it can: %s", error)
            self.failure = error
            self._waiting.clear()
            self._effects.clear()
            self._records.clear()
            for promise in self._promises:
                _keep(promise)
            self._on_failure(error)


def _keep(promise: asyncio.Future[None]) -> None:
    """Wake who waits; whether it went well is for it to check."""
    if not promise.done():
        promise.set_result(None)


def _perform_safely(effect: Effect) -> None:
    """Carry out an effect; what fails in one must not hold up the others."""
    try:
        effect()
    except Exception:
        log.exception("an effect of the hub failed")
