"""A swarm in virtual time: the real session and the real swarm, with peers that send, stall, crawl and lie between."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from farlane.models.transfer.bitmap import flags_of
from farlane.models.transfer.commands import Ask, Ban, Cancel, Command, Done, Lacking
from farlane.models.transfer.session import Session
from farlane.models.transfer.sources import Fault
from farlane.models.transfer.swarm import Swarm

BLOCK_BYTES = 1 << 20
ORIGIN = "origin"
LATENCY_S = 0.02
TICK_S = 0.2
REPORT_S = 0.05
"""How long a node collects what it has got before it says so."""
MOST_EVENTS = 2_000_000


class Manners(Enum):
    """How a peer behaves."""

    HONEST = "sends what it has"
    LIAR = "sends other bytes"
    STALLER = "sends nothing once it has everything but the last block"
    CLAIMANT = "says that it has everything, and has nothing"


@dataclass(slots=True)
class Peer:
    """One node of the world.

    uplink: bytes a second it can send; joined_s: when it starts.
    """

    session: Session
    uplink: float
    joined_s: float = 0.0
    manners: Manners = Manners.HONEST
    hidden: bool = False
    queue: deque[tuple[str, int]] = field(default_factory=deque)
    busy: bool = False
    sent: int = 0
    unsaid: list[int] = field(default_factory=list)
    done_s: float | None = None
    bans: list[str] = field(default_factory=list)
    received: dict[int, int] = field(default_factory=dict)


class SwarmWorld:
    """Some nodes, one origin, one version of equal blocks.

    Args:
        blocks: how many there are.
        origin_uplink: bytes a second of the origin.
    """

    def __init__(self, blocks: int, origin_uplink: float) -> None:
        self.blocks = blocks
        self.swarm = Swarm(blocks)
        self.peers: dict[str, Peer] = {}
        self.now = 0.0
        everything = Session([BLOCK_BYTES] * blocks, np.ones(blocks, np.bool_))
        self.origin = Peer(everything, origin_uplink)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def add(
        self,
        name: str,
        *,
        uplink: float = 100e6,
        joined_s: float = 0.0,
        have: Sequence[int] = (),
        manners: Manners = Manners.HONEST,
        hidden: bool = False,
    ) -> Peer:
        """Add a node that joins at a time with some blocks."""
        session = Session(
            [BLOCK_BYTES] * self.blocks,
            flags_of(self.blocks, have),
            start=(len(self.peers) * 7919) % self.blocks,
        )
        peer = Peer(session, uplink, joined_s, manners, hidden)
        self.peers[name] = peer
        self._at(joined_s, lambda: self._join(name))
        return peer

    def leave(self, name: str, at_s: float) -> None:
        """Let a node vanish at a time: it answers nothing any more."""
        self._at(at_s, lambda: self._vanish(name))

    def run(self, until_s: float = 3600.0) -> float:
        """Run until every honest node that is still there has everything; returns when that was.

        Raises:
            AssertionError: not until then.
        """
        for _ in range(MOST_EVENTS):
            waiting = [name for name, peer in self.peers.items() if _counts(peer) and peer.done_s is None]
            if not waiting:
                return self.now
            assert self._events, f"nothing happens any more, and {waiting} wait"
            self.now, _, happen = heapq.heappop(self._events)
            assert self.now <= until_s, f"{waiting} still wait after {until_s} s"
            happen()
        raise AssertionError("the world does not come to rest")

    def _at(self, at_s: float, happen: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_s, self._number, happen))

    def _join(self, name: str) -> None:
        peer = self.peers[name]
        shown = peer.session.have
        if peer.manners is Manners.CLAIMANT:
            shown = np.ones(self.blocks, np.bool_)
        self.swarm.join(self.now, name, "" if peer.hidden else name, shown)
        if peer.manners is Manners.CLAIMANT:
            return
        nothing = np.zeros(self.blocks, np.bool_)
        self._do(name, peer.session.source_joined(self.now, ORIGIN, nothing, origin=True))
        self._do(name, peer.session.begin(self.now))
        self._tick(name)
        self._spread()

    def _vanish(self, name: str) -> None:
        del self.peers[name]
        self.swarm.leave(self.now, name)
        self._spread()

    def _tick(self, name: str) -> None:
        peer = self.peers.get(name)
        if peer is None or peer.done_s is not None:
            return
        self.swarm.tick(self.now)
        self._do(name, peer.session.tick(self.now))
        self._spread()
        self._at(self.now + TICK_S, lambda: self._tick(name))

    def _spread(self) -> None:
        for name, peer in list(self.peers.items()):
            news = self.swarm.take_news(name)
            session = peer.session
            for source, _, have in news.joined:
                self._do(name, session.source_joined(self.now, source, have))
            for source, indices in news.has.items():
                self._do(name, session.source_has(self.now, source, indices))
            for source in news.left:
                self._do(name, session.source_left(self.now, source))
            if news.granted:
                self._do(name, session.source_has(self.now, ORIGIN, news.granted))

    def _do(self, name: str, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Ask):
                self._ask(name, command)
            elif isinstance(command, Cancel):
                queue = (
                    self._server(command.source).queue if command.source in (*self.peers, ORIGIN) else deque()
                )
                if (name, command.index) in queue:
                    queue.remove((name, command.index))
            elif isinstance(command, Ban):
                self.peers[name].bans.append(command.source)
            elif isinstance(command, Lacking):
                self.swarm.lacks(self.now, name, list(command.indices))
            elif isinstance(command, Done):
                self.peers[name].done_s = self.now

    def _server(self, name: str) -> Peer:
        return self.origin if name == ORIGIN else self.peers[name]

    def _ask(self, name: str, command: Ask) -> None:
        if command.source != ORIGIN and command.source not in self.peers:
            return  # it has vanished: no answer comes
        server = self._server(command.source)
        if (
            server.manners is Manners.STALLER
            and server.session.missing <= 1
            and server.sent >= self.blocks - 1
        ):
            return
        server.queue.append((name, command.index))
        self._serve(command.source, server)

    def _serve(self, name: str, server: Peer) -> None:
        if server.busy or not server.queue:
            return
        asker, index = server.queue.popleft()
        server.busy = True
        missing = server.manners is Manners.CLAIMANT
        takes_s = 0.001 if missing else BLOCK_BYTES / server.uplink
        self._at(self.now + takes_s, lambda: self._sent(name, server, asker, index))

    def _sent(self, name: str, server: Peer, asker: str, index: int) -> None:
        server.busy = False
        server.sent += server.manners is not Manners.CLAIMANT
        self._at(self.now + LATENCY_S, lambda: self._arrive(asker, name, server.manners, index))
        if name == ORIGIN or name in self.peers:
            self._serve(name, server)

    def _arrive(self, asker: str, source: str, manners: Manners, index: int) -> None:
        peer = self.peers.get(asker)
        if peer is None:
            return
        if manners is Manners.LIAR:
            self._do(asker, peer.session.failed(self.now, source, index, Fault.LIED))
        elif manners is Manners.CLAIMANT:
            self._do(asker, peer.session.failed(self.now, source, index, Fault.MISSING))
        else:
            peer.received[index] = peer.received.get(index, 0) + 1
            if not peer.unsaid:
                self._at(self.now + REPORT_S, lambda: self._report(asker))
            peer.unsaid.append(index)
            self._do(asker, peer.session.arrived(self.now, source, index))

    def _report(self, name: str) -> None:
        peer = self.peers.get(name)
        if peer is not None:
            self.swarm.has(self.now, name, peer.unsaid)
            peer.unsaid = []
            self._spread()


def _counts(peer: Peer) -> bool:
    return peer.manners is not Manners.CLAIMANT
