"""Exact optima of toy instances, by branch and bound: how far from the best possible policies are.

A queue of at most 8 jobs on one pool, run times known, no preemption: for costs that never fall when a job ends later,
some list of the jobs is optimal in which each starts as soon as it may, at its arrival or later, beside those already
placed (the serial schedule generation of Kolisch 1996; it reaches every active schedule, and an optimal one is among
those). Packing of few tasks: every choice of node and GPU for each task that is taken, and every choice of those that
are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.scores import SHORT_S
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, Floats, Ints, World

MOST_JOBS = 8
MOST_TASKS = 10
Gpus = tuple[tuple[int, ...], ...]
"""Free thousandths of the GPUs of each node, rising."""


class Cost(StrEnum):
    """Costs of a schedule, means over jobs: seconds from arrival to end; max(1, that / max(run, SHORT_S))."""

    COMPLETION = "completion"
    SLOWDOWN = "slowdown"


@dataclass(frozen=True, slots=True)
class Best:
    """An optimal schedule: its cost, when each job starts, (t,) seconds, and how many partial ones were looked at."""

    cost: float
    starts: Floats
    looked_at: int


def best_schedule(world: World, cost: Cost) -> Best:
    """Return an optimal schedule of a queue on one pool.

    Raises:
        InvalidInput: too many jobs, more than one node, or a job that the pool cannot run.
    """
    tasks, pool = world.tasks, int(world.nodes.capacity[0, CPU])
    t = len(tasks.arrival)
    if not 0 < t <= MOST_JOBS or len(world.nodes.gpus) != 1:
        raise InvalidInput(f"{t} jobs on {len(world.nodes.gpus)} nodes; expected 1 to {MOST_JOBS} on one")
    if int(tasks.demand[:, CPU].max()) > pool or not np.isfinite(tasks.run_s).all():
        raise InvalidInput("a job that the pool cannot run to its end has no optimal schedule")
    search = _Search(world, cost, pool)
    search.extend([], search.order)
    return Best(search.best / t, search.starts.copy(), search.looked_at)


class _Search:
    """Depth first over lists of jobs; a list is left where even starting all others on arrival would cost more."""

    def __init__(self, world: World, cost: Cost, pool: int) -> None:
        tasks = world.tasks
        self.arrival: list[float] = tasks.arrival.tolist()
        self.run: list[float] = tasks.run_s.tolist()
        self.width: list[int] = tasks.demand[:, CPU].tolist()
        self.pool = pool
        self.scale = [1.0 if cost is Cost.COMPLETION else max(run, SHORT_S) for run in self.run]
        self.floor = 0.0 if cost is Cost.COMPLETION else 1.0
        self.least = [self.value(task, self.arrival[task]) for task in range(len(self.run))]
        self.order = sorted(range(len(self.run)), key=lambda task: self.run[task] * self.width[task])
        self.best, self.looked_at = np.inf, 0
        self.starts: Floats = np.zeros(len(self.run))

    def value(self, task: int, start: float) -> float:
        """Return what a job costs that starts then."""
        return max(self.floor, (start + self.run[task] - self.arrival[task]) / self.scale[task])

    def extend(self, placed: list[tuple[int, float]], left: list[int], spent: float = 0.0) -> None:
        """Try each job that is left as the next of the list."""
        self.looked_at += 1
        if not left:
            self.best = spent
            for task, start in placed:
                self.starts[task] = start
            return
        for task in left:
            start = self.earliest(placed, task)
            now = spent + self.value(task, start)
            others = [other for other in left if other != task]
            if now + sum(self.least[other] for other in others) < self.best - 1e-12:
                self.extend([*placed, (task, start)], others, now)

    def earliest(self, placed: list[tuple[int, float]], task: int) -> float:
        """Return when a job can start at the earliest beside those that are placed."""
        moments = sorted({self.arrival[task], *(start + self.run[other] for other, start in placed)})
        for start in moments:
            if start >= self.arrival[task] and self.fits(placed, task, start):
                return start
        raise InvalidInput("a job that is wider than the pool has no place")  # best_schedule refused it

    def fits(self, placed: list[tuple[int, float]], task: int, start: float) -> bool:
        """Tell whether a job has room from its start to its end; use rises only where others start."""
        end = start + self.run[task]
        moments = [start, *(begin for _, begin in placed if start < begin < end)]
        for moment in moments:
            used = sum(
                self.width[other] for other, begin in placed if begin <= moment < begin + self.run[other]
            )
            if used + self.width[task] > self.pool:
                return False
        return True


def best_packing(world: World) -> int:
    """Return the most thousandths of GPUs that can be given away at once, whatever the order: no rule packs more.

    Raises:
        InvalidInput: too many tasks.
    """
    if len(world.tasks.gpus) > MOST_TASKS:
        raise InvalidInput(f"{len(world.tasks.gpus)} tasks; expected at most {MOST_TASKS}")
    search = _Packing(world)
    search.extend(0, 0, tuple((WHOLE_GPU,) * int(count) for count in world.nodes.gpus), world.nodes.capacity)
    return search.best


class _Packing:
    """Depth first, the largest tasks first; what is left over alike after the same tasks is looked at once."""

    def __init__(self, world: World) -> None:
        self.world, self.best = world, 0
        amount = world.tasks.gpus * world.tasks.gpu_milli
        self.order: list[int] = np.argsort(-amount, kind="stable").tolist()
        self.behind = [*np.cumsum(amount[self.order][::-1])[::-1].tolist(), 0]
        self.most = int(world.nodes.gpus.sum()) * WHOLE_GPU
        self.seen: set[tuple[int, Gpus, bytes]] = set()

    def extend(self, at: int, given: int, gpus: Gpus, free: Ints) -> None:
        """Try every place for the next task, and to leave it out."""
        self.best = max(self.best, given)
        if self.best == self.most or given + self.behind[at] <= self.best:
            return
        state = (at, gpus, free.tobytes())
        if state in self.seen:
            return
        self.seen.add(state)
        tasks, task = self.world.tasks, self.order[at]
        wanted, milli = int(tasks.gpus[task]), int(tasks.gpu_milli[task])
        for node in range(len(gpus)):
            if not _may(self.world, task, node) or (tasks.demand[task] > free[node]).any():
                continue
            rest = free.copy()
            rest[node] -= tasks.demand[task]
            for left in _takes(gpus[node], wanted, milli):
                self.extend(at + 1, given + wanted * milli, (*gpus[:node], left, *gpus[node + 1 :]), rest)
        self.extend(at + 1, given, gpus, free)


def _may(world: World, task: int, node: int) -> bool:
    model = int(world.nodes.gpu_model[node])
    return int(world.tasks.gpus[task]) == 0 or (
        model >= 0 and bool((int(world.tasks.gpu_models[task]) >> model) & 1)
    )


def _takes(gpus: tuple[int, ...], wanted: int, milli: int) -> list[tuple[int, ...]]:
    """Return what may be left of a node's GPUs, fullest first, once a task has its own."""
    if wanted == 0:
        return [gpus]
    if wanted > 1:
        whole = [at for at, free in enumerate(gpus) if free >= milli][:wanted]
        if len(whole) < wanted:
            return []
        return [tuple(sorted(free - milli * (at in whole) for at, free in enumerate(gpus)))]
    ways = {
        tuple(sorted((*gpus[:at], free - milli, *gpus[at + 1 :])))
        for at, free in enumerate(gpus)
        if free >= milli
    }
    return sorted(ways)
