"""A node's presence in swarms: which it is in, what its door gives for them, and when it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import Cid
from farlane.node.models.block_door import BlockDoor
from farlane.node.models.swarm_member import SwarmMember
from farlane.node.replicas.port import HubChannel
from farlane.node.replicas.stream import NodeProof


@dataclass(frozen=True, slots=True)
class Way:
    """The way to the hub, and who the node is there."""

    hub: HubChannel
    proof: NodeProof


class Presence:
    """The swarms a node is in, while it is up.

    Args:
        way: to the hub.
        tasks: owns its memberships.
        door: of its block server.
        address: of that server, empty where nobody can call it: then it stays in no swarm once it has everything.
        clock: tells when it was last asked for something.
        idle_s: how long it stays where nobody asks for anything.
        in_use: tells whether a replica here uses a version.
    """

    def __init__(
        self, way: Way, tasks: TaskSupervisor, door: BlockDoor, address: str, clock: Clock, idle_s: float,
        in_use: Callable[[Cid], bool],
    ) -> None:  # fmt: skip
        self._way, self._tasks, self._door, self.address = way, tasks, door, address
        self._clock, self._idle_s, self._in_use = clock, idle_s, in_use
        self._members: dict[Cid, tuple[Cid, asyncio.Task[None]]] = {}

    def __contains__(self, root: object) -> bool:
        return root in self._members

    def __len__(self) -> int:
        """Swarms at present."""
        return len(self._members)

    def member(self, version: Cid, blocks: int, delta: Cid | None = None) -> SwarmMember:
        """Return a member of the swarm of a version, or of a delta that makes it; it is not in it yet."""
        way = self._way
        return SwarmMember(way.hub, way.proof, (version, delta), self.address, blocks, self._door.learn)

    def enter(self, member: SwarmMember, digests: frozenset[bytes]) -> None:
        """Be in a swarm, and give its blocks by their SHA-256, until this node leaves it."""
        self.leave(member.root)
        self._door.open(member.version, digests, member.root)
        task = self._tasks.start(self._stay(member), f"swarm of {member.root}", optional=True)
        self._members[member.root] = member.version, task

    def leave(self, root: Cid) -> None:
        """Leave a swarm, of a version or a delta, if this node is in it."""
        if root in self._members:
            version, task = self._members.pop(root)
            self._door.shut(version, root)
            task.cancel()

    async def _stay(self, member: SwarmMember) -> None:
        async with TaskSupervisor("swarm") as tasks:
            running = tasks.start(member.run(), "swarm member")
            while not running.done() and not self._idle(member):
                await asyncio.wait([running], timeout=self._idle_s / 4)
        if self._members.get(member.root, (None, None))[1] is asyncio.current_task():
            self.leave(member.root)

    def _idle(self, member: SwarmMember) -> bool:
        used = member.root == member.version and self._in_use(member.version)
        return not used and self._clock.monotonic() - self._door.used_s(member.version) > self._idle_s
