"""One deployment's route: which of its replicas gets the next request, who waits while none can, and how it goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from farlane.domain.ids import JobId
from farlane.errors import DeadlineExceeded, Exhausted, FarlaneError, Unavailable
from farlane.hub.deployments.replica_session import ReplicaSession

MAX_WAITING = 1000
"""Requests of one deployment that wait for a replica; the next one is refused."""
MAX_IN_FLIGHT = 64
"""Requests one replica has at once; more wait here, where another replica may take them."""
RECENT = 256
"""Answers of which the latency is remembered, and for how many seconds: what `p95_s` is of."""
RECENT_S = 60.0


@dataclass(slots=True)
class Counts:
    """What a deployment was asked since the hub began."""

    requests: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Route:
    """The replicas of one deployment that answer.

    Args:
        name: for messages.
        random: draws who gets a request; seeded in tests.
        trouble: tells why nothing answers, "" when nothing is known to be wrong.
    """

    def __init__(self, name: str, random: Random, trouble: Callable[[], str] = lambda: "") -> None:
        self.name = name
        self.sessions: dict[JobId, ReplicaSession] = {}
        self.canary, self.percent = "", 0
        self.waiting = 0
        self.last_request_at = 0.0
        self.counts = Counts()
        self._random, self._trouble = random, trouble
        self._changed: set[asyncio.Future[None]] = set()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=RECENT)

    @property
    def in_flight(self) -> int:
        """Requests at replicas."""
        return sum(session.in_flight for session in self.sessions.values())

    def p95_s(self, now: float) -> float:
        """Return the latency that 95 of 100 recent answers did not pass, in seconds; 0 when there were none."""
        recent = sorted(took for at, took in self._latencies if at > now - RECENT_S)
        return recent[min(len(recent) - 1, len(recent) * 95 // 100)] if recent else 0.0

    def note_latency(self, now: float, took_s: float) -> None:
        """Remember how long an answer took."""
        self._latencies.append((now, took_s))

    def add(self, session: ReplicaSession) -> None:
        """Take in a replica that answers."""
        self.sessions[session.job] = session
        self.changed()

    def remove(self, session: ReplicaSession) -> None:
        """Forget a replica whose stream has ended."""
        if self.sessions.get(session.job) is session:
            del self.sessions[session.job]
            self.changed()

    def changed(self) -> None:
        """Wake who waits: a replica came, went or has room again."""
        for waiter in self._changed:
            if not waiter.done():
                waiter.set_result(None)

    def untried(self, tried: Collection[ReplicaSession]) -> list[ReplicaSession]:
        """Return the replicas that answer, but for those that have failed a request already."""
        return [each for each in self.sessions.values() if each.open and each not in tried]

    def versions(self) -> list[str]:
        """Return which versions answer."""
        return sorted({session.version for session in self.sessions.values() if session.open})

    async def acquire(
        self, version: str | None, tried: Collection[ReplicaSession], deadline: float, cold_start_s: float
    ) -> ReplicaSession:
        """Return the replica that gets the next request, waiting for one if need be.

        Args:
            version: that must answer; None for the one in force, or the canary's, as they share the requests.
            tried: streams of replicas that have failed this request already; one that came back is another.
            deadline: time of the event loop.
            cold_start_s: how long to wait while no replica answers at all.

        Raises:
            Exhausted: too many wait already.
            Unavailable: none came up in time.
            DeadlineExceeded: those that there are had no room in time.
        """
        found = self._pick(version, tried)
        if found is not None:
            return found
        if self.waiting >= MAX_WAITING:
            raise Exhausted(
                f"{self.waiting} requests wait for {self.name} already: try again later, or raise its max_replicas",
                retry_after_s=1,
            )
        until = min(deadline, asyncio.get_running_loop().time() + cold_start_s)
        self.waiting += 1
        try:
            while (found := self._pick(version, tried)) is None:
                busy = bool(self.untried(tried))
                await self._wait(deadline if busy else until)
            return found
        finally:
            self.waiting -= 1

    async def _wait(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._changed.add(waiter)
        try:
            async with asyncio.timeout_at(until):
                await waiter
        except TimeoutError as error:
            raise self._late() from error
        finally:
            self._changed.discard(waiter)

    def _late(self) -> FarlaneError:
        if any(session.open for session in self.sessions.values()):
            return DeadlineExceeded(
                f"every replica of {self.name} was busy until the request's time was over"
            )
        trouble = self._trouble()
        return Unavailable(
            f"no replica of {self.name} answers{f': {trouble}' if trouble else ' yet'}; ask again later",
            retry_after_s=5,
        )

    def _pick(self, version: str | None, tried: Collection[ReplicaSession]) -> ReplicaSession | None:
        there = [
            session
            for session in self.untried(tried)
            if session.in_flight < MAX_IN_FLIGHT and version in (None, session.version)
        ]
        if version is None and self.canary and there:
            wants_canary = self._random.random() * 100 < self.percent
            share = [each for each in there if (each.version == self.canary) == wants_canary]
            there = share or there
        if not there:
            return None
        now = asyncio.get_running_loop().time()
        there = [each for each in there if each.doubted_until <= now] or there
        # The better of two drawn at random is nearly as good as the best, and does not send all to the newest.
        drawn = there if len(there) <= 2 else self._random.sample(there, 2)
        return min(drawn, key=lambda each: each.in_flight)
