"""The board: a view with the placements made so far taken off, and how much room each group has on each node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, repeat

import numpy as np

from farlane.scheduler.ordering import duration_bound
from farlane.scheduler.queue_ahead import LONG_HOLD, ahead, long_running, window_s
from farlane.scheduler.view import CPU, Bools, Decision, Floats, Group, Ints, Placement, Reservation, View


@dataclass(slots=True)
class Hold:
    """What a reservation keeps others from on its node.

    starts_at: unix seconds; spare: per resource, what is left over at that moment once the waiting task has what
    it needs: all that tasks ending later may take.
    """

    starts_at: float
    spare: list[int]


@dataclass(slots=True)
class Room:
    """How many tasks of a group each node takes with one demand alternative: (n,) int64 each.

    now: what fits in free resources; more: what may queue behind that, at most `queue`; None: no queue-ahead.
    """

    now: Ints
    more: Ints | None = None
    queue: Ints | None = None

    def total(self) -> Ints:
        """Return how many tasks each node takes in all."""
        return self.now if self.more is None else self.now + self.more


@dataclass(slots=True)
class Taken:
    """Tasks of one group placed in this round: parallel columns of distinct nodes and counts."""

    group: Group
    option: int
    nodes: Ints
    counts: Ints


def fits(amounts: Ints, demand: list[int]) -> Ints:
    """Return how many tasks go into each column of `amounts`.

    Args:
        amounts: (3 + g, n) int64, resources by node.
        demand: one task's demand, (3 + g); its CPU is at least 1, as `Resources` promises.

    Returns:
        (n,) int64, negative where a node is leased beyond what it has.
    """
    count: Ints = amounts[CPU] // demand[CPU]
    for column in range(CPU + 1, len(demand)):
        if demand[column]:
            np.minimum(count, amounts[column] // demand[column], out=count)
    return count


def blocks(placements: Iterable[Placement]) -> Iterator[tuple[int, int, Ints, Ints]]:
    """Yield runs of placements of one group and demand alternative as columns, in order.

    Yields:
        group key, alternative, (p,) distinct node rows, (p,) counts; a node named twice in a run gets the sum.
    """
    for (key, option), run in groupby(placements, key=_group_and_demand):
        counts: dict[int, int] = {}
        for placement in run:
            counts[placement.node] = counts.get(placement.node, 0) + placement.count
        yield key, option, np.array(list(counts), np.int64), np.array(list(counts.values()), np.int64)


class Board:
    """Working state of one round; `take` is the only thing that changes what is free.

    Resource matrices stand on their side, (3 + g, n), so that one resource of all nodes is contiguous.
    """

    __slots__ = (
        "_ceiling", "_usable", "_widest", "_window", "capacity", "contended", "free", "holds", "left",
        "reservations", "taken", "view",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        self.view = view
        self.capacity: Ints = view.nodes.capacity.T
        self.free: Ints = view.nodes.free.T.copy()
        self.left: list[int] = list(view.limits)
        self.taken: list[Taken] = []
        self.contended: Bools | None = None
        self.holds: dict[int, Hold] = {}
        self.reservations: list[Reservation] = []
        self._ceiling: list[int] | None = None
        self._usable: Ints | None = None
        self._window: Floats = window_s(view.nodes)
        self._widest = float(self._window.max(initial=0.0))

    def wanted(self, group: Group, placed: int = 0) -> int:
        """Return how many more tasks of a group may be placed when `placed` of them are, whatever is free."""
        most = min(group.count, group.affordable) - placed
        for limit, amount in group.uses:
            most = min(most, self.left[limit] // amount)
        return max(0, most)

    def candidates(self, group: Group) -> Bools | None:
        """Return the nodes a group may use now, (n,) bool; None when there is none.

        Nodes to avoid count only where no other is eligible and online.
        """
        mask = group.eligible & self.view.nodes.online
        if group.avoid is not None:
            preferred = mask & ~group.avoid
            if preferred.any():
                return preferred
        return mask if mask.any() else None

    def room(self, group: Group, option: int, candidates: Bools) -> Room | None:
        """Return how many tasks each candidate takes with one demand alternative, reservations respected.

        None where it is plain without looking at each node that none takes any.
        """
        demand: list[int] = group.demands[option].tolist()
        allowed = candidates if group.allowed is None else candidates & group.allowed[option]
        queue = self._queue(group, demand, allowed)
        if queue is None and not self._may_fit(demand):
            return None
        real = fits(self.free, demand)
        now = np.maximum(real, 0)
        now *= allowed
        if self.holds:
            self._respect_holds(group, demand, now)
        if queue is None:
            return Room(now)
        more = np.maximum(real + queue, 0)
        more -= now
        more *= queue > 0
        return Room(now, more, queue)

    def slots(self, demand: list[int]) -> Ints:
        """Return how many tasks each node would hold if it were empty: (n,) int64."""
        return fits(self.capacity, demand)

    def take(self, group: Group, option: int, nodes: Ints, counts: Ints) -> None:
        """Place `counts` tasks of a group on distinct `nodes`."""
        taken = Taken(group, option, nodes, counts)
        self.taken.append(taken)
        self._ceiling = None
        _subtract(self.free, taken)
        for limit, amount in group.uses:
            self.left[limit] -= amount * int(counts.sum())
        if self._usable is not None:
            self._subtract_long(self._usable, taken)
        if self.holds:
            self._use_spare(taken)

    def contend(self, candidates: Bools) -> None:
        """Note that a group waits for these nodes: those after it may not queue ahead there."""
        self.contended = candidates if self.contended is None else self.contended | candidates

    def decision(self) -> Decision:
        """Return everything taken and reserved so far."""
        placements: list[Placement] = []
        for taken in self.taken:
            rows = zip(
                repeat(taken.group.key),
                taken.nodes.tolist(),
                taken.counts.tolist(),
                repeat(taken.option),
                strict=False,
            )
            placements += map(Placement._make, rows)
        return Decision(tuple(placements), tuple(self.reservations))

    def ends_at(self, group: Group) -> float:
        """Return when a task placed now is taken to end, in unix seconds."""
        return self.view.now + duration_bound(group)

    def _queue(self, group: Group, demand: list[int], allowed: Bools) -> Ints | None:
        """Return how many tasks may queue ahead on each node, (n,) int64; None when nowhere any."""
        if group.run_time_s is None or group.run_time_s >= self._widest:
            return None
        depth = ahead(group.run_time_s, self._window)
        depth *= allowed
        if self.contended is not None:
            depth *= ~self.contended
        if not depth.any():
            return None
        queue: Ints = (np.maximum(fits(self._usable_now(), demand), 0) * depth).astype(np.int64)
        return queue

    def _may_fit(self, demand: list[int]) -> bool:
        """Tell, cheaply, whether a task could fit on any node: false means it cannot."""
        if self._ceiling is None:
            self._ceiling = self.free.max(axis=1, initial=0).tolist()
        return all(wanted <= most for wanted, most in zip(demand, self._ceiling, strict=True))

    def _usable_now(self) -> Ints:
        """Return capacity without what is held for long: what short tasks may count on, (3 + g, n) int64."""
        if self._usable is None:
            running = self.view.running
            self._usable = self.capacity.copy()
            rows = np.flatnonzero(long_running(running, self.view.now, self._window))
            if len(rows):
                np.subtract.at(self._usable.T, running.node[rows], running.demand[rows])
            for taken in self.taken:
                self._subtract_long(self._usable, taken)
        return self._usable

    def _subtract_long(self, amounts: Ints, taken: Taken) -> None:
        long = duration_bound(taken.group) > LONG_HOLD * self._window[taken.nodes]
        if long.any():
            _subtract(amounts, Taken(taken.group, taken.option, taken.nodes, taken.counts * long))

    def _respect_holds(self, group: Group, demand: list[int], now: Ints) -> None:
        """Lower `now` on reserved nodes to what does not delay the task that waits there."""
        ends_at = self.ends_at(group)
        for node, hold in self.holds.items():
            if now[node] and ends_at > hold.starts_at:
                now[node] = min(int(now[node]), _most(hold.spare, demand))

    def _use_spare(self, taken: Taken) -> None:
        ends_at = self.ends_at(taken.group)
        demand: list[int] = taken.group.demands[taken.option].tolist()
        for node, hold in self.holds.items():
            count = int(taken.counts[taken.nodes == node].sum())
            if count and ends_at > hold.starts_at:
                hold.spare = [have - count * wanted for have, wanted in zip(hold.spare, demand, strict=True)]


def _group_and_demand(placement: Placement) -> tuple[int, int]:
    return placement.group, placement.demand


def _subtract(amounts: Ints, taken: Taken) -> None:
    for column, wanted in enumerate(taken.group.demands[taken.option].tolist()):
        if wanted:
            amounts[column, taken.nodes] -= wanted * taken.counts


def _most(amounts: list[int], demand: list[int]) -> int:
    """Return how many tasks fit into one node's amounts, at least 0."""
    return max(0, min(have // wanted for have, wanted in zip(amounts, demand, strict=True) if wanted))
