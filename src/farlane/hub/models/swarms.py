"""The swarms of a hub: one for each version, or delta, that somebody fetches, forgotten when its last member leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from farlane.errors import Exhausted, InvalidInput
from farlane.kit.clock import Clock
from farlane.models.cid import Cid
from farlane.models.transfer.bitmap import Flags
from farlane.models.transfer.swarm import News, Swarm

MAX_SEATS_OF_A_NODE: Final = 256
"""Swarms that one node may be in at once."""
MAX_BLOCKS_OF_A_NODE: Final = 16_000_000
"""Of all these swarms together: 16 TB in blocks of 1 MiB. Each block costs the hub about 20 bytes."""


@dataclass(slots=True)
class _Gathering:
    """One swarm and who sits in it."""

    swarm: Swarm
    seats: dict[str, Seat] = field(default_factory=dict)


class Seat:
    """One node's place in a swarm. When a later stream of the node takes it, this one hears and says nothing more.

    Args:
        swarms: whose it is.
        root: CID of the version's manifest, or of the delta.
        node: who sits there.
        wake: called when there may be news.
        end: called when somebody else takes the seat.
    """

    def __init__(
        self, swarms: Swarms, root: Cid, node: str, wake: Callable[[], None], end: Callable[[], None]
    ) -> None:
        self._swarms, self.root, self.node = swarms, root, node
        self.wake, self.end = wake, end

    def has(self, indices: Sequence[int]) -> None:
        """Hear that the node has got blocks.

        Raises:
            InvalidInput: there are no such blocks.
        """
        self._swarms.hear(self, indices, Swarm.has)

    def lacks(self, indices: Sequence[int]) -> None:
        """Hear that the node finds no source of blocks.

        Raises:
            InvalidInput: there are no such blocks.
        """
        self._swarms.hear(self, indices, Swarm.lacks)

    def take_news(self) -> News:
        """Return what the node has to hear since it was last asked."""
        return self._swarms.news_of(self)

    def leave(self) -> None:
        """Give the seat up."""
        self._swarms.leave(self)


class Swarms:
    """All swarms, used on the hub's event loop.

    Args:
        clock: tells when grants run out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._gatherings: dict[Cid, _Gathering] = {}

    def __len__(self) -> int:
        """Swarms at present."""
        return len(self._gatherings)

    def blocks_of(self, root: Cid) -> int | None:
        """Return how many blocks a version or delta has whose swarm there is."""
        found = self._gatherings.get(root)
        return found.swarm.blocks if found is not None else None

    def granted(self, root: Cid) -> int:
        """Return how many blocks of it the origin was to send since its swarm began."""
        found = self._gatherings.get(root)
        return found.swarm.granted if found is not None else 0

    def members(self, root: Cid) -> frozenset[str]:
        """Return the nodes of a swarm."""
        found = self._gatherings.get(root)
        return frozenset(found.seats) if found is not None else frozenset()

    def whole(self, root: Cid) -> frozenset[str]:
        """Return the nodes of a swarm that have said they have all of it."""
        found = self._gatherings.get(root)
        members = found.swarm.members.items() if found is not None else ()
        return frozenset(node for node, member in members if member.complete)

    def take_seat(
        self,
        root: Cid,
        node: str,
        address: str,
        have: Flags,
        wake: Callable[[], None],
        end: Callable[[], None],
    ) -> Seat:
        """Take a node into a swarm, which begins with the first; its earlier seat is ended.

        Args:
            root: CID of the version's manifest, or of the delta.
            node: who comes.
            address: of its block server, empty for none.
            have: (blocks,) what it has.
            wake: called when there may be news.
            end: called when a later stream of the node takes the seat.

        Raises:
            Exhausted: the node is in too many swarms.
        """
        self._require_few(node, root, len(have))
        gathering = self._gatherings.get(root)
        if gathering is None:
            gathering = self._gatherings[root] = _Gathering(Swarm(len(have)))
        earlier = gathering.seats.get(node)
        seat = gathering.seats[node] = Seat(self, root, node, wake, end)
        if earlier is not None:
            earlier.end()
        gathering.swarm.join(self._now(), node, address, have)
        _wake(gathering)
        return seat

    def _require_few(self, node: str, root: Cid, blocks: int) -> None:
        others = [one.swarm for known, one in self._gatherings.items() if known != root and node in one.seats]
        if len(others) >= MAX_SEATS_OF_A_NODE:
            raise Exhausted(
                f"a node may be in at most {MAX_SEATS_OF_A_NODE} swarms at once: let it leave some"
            )
        if others and sum(one.blocks for one in others) + blocks > MAX_BLOCKS_OF_A_NODE:
            raise Exhausted(
                f"the swarms of a node may have at most {MAX_BLOCKS_OF_A_NODE} blocks: let it leave some"
            )

    def leave(self, seat: Seat) -> None:
        """Let a node go, unless a later stream of it sits there."""
        gathering = self._gathering(seat)
        if gathering is None:
            return
        del gathering.seats[seat.node]
        if not gathering.seats:
            del self._gatherings[seat.root]
            return
        gathering.swarm.leave(self._now(), seat.node)
        _wake(gathering)

    def tick(self) -> None:
        """Look at the clock, about every second: grants that were not used in time go to others."""
        for gathering in self._gatherings.values():
            gathering.swarm.tick(self._now())
            _wake(gathering)

    def close(self) -> None:
        """End every seat: the hub stops, and its nodes go on among themselves."""
        for gathering in list(self._gatherings.values()):
            for seat in list(gathering.seats.values()):
                seat.end()

    def hear(
        self, seat: Seat, indices: Sequence[int], what: Callable[[Swarm, float, str, list[int]], None]
    ) -> None:
        """Pass on what a node says of blocks; raises as `Seat.has`."""
        gathering = self._gathering(seat)
        if gathering is None:
            return
        if indices and max(indices) >= gathering.swarm.blocks:
            raise InvalidInput(
                f"block {max(indices)} of a version or delta that has {gathering.swarm.blocks}: upgrade farlane on "
                "the node"
            )
        what(gathering.swarm, self._now(), seat.node, list(indices))
        _wake(gathering)

    def news_of(self, seat: Seat) -> News:
        """Return what a node has to hear."""
        gathering = self._gathering(seat)
        return gathering.swarm.take_news(seat.node) if gathering is not None else News()

    def _gathering(self, seat: Seat) -> _Gathering | None:
        gathering = self._gatherings.get(seat.root)
        return gathering if gathering is not None and gathering.seats.get(seat.node) is seat else None

    def _now(self) -> float:
        return self._clock.monotonic()


def _wake(gathering: _Gathering) -> None:
    for seat in list(gathering.seats.values()):
        seat.wake()
