"""Packing as a setting to train on: tasks that are placed at once and stay; what counts is the share of GPUs in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from farlane.lab.training.rollout import NODE, Seen
from farlane.lab.training.shown import padded, shown
from farlane.lab.training.steps import see_nodes
from farlane.scheduler.learned.features import GLOBAL_FEATURES
from farlane.scheduler.learned.network import unflatten
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.fragments import Usual, usual_tasks
from farlane.scheduler.sim.fragments_known import forget_node, learn_fragments, nothing_known
from farlane.scheduler.sim.learned_packing import fleet_of, run_learned_packing
from farlane.scheduler.sim.packing import Packing, run_packing
from farlane.scheduler.sim.placing import TIGHTEST, fitting_nodes, place, unqueue
from farlane.scheduler.sim.scores import gpu_allocation
from farlane.scheduler.sim.state import GONE, QUEUED, new_state
from farlane.scheduler.sim.world import WHOLE_GPU, Floats, Ints, Tasks, World

RIVALS = (int(Packing.BEST_FIT), int(Packing.FGD), int(Packing.FGD_EXACT))
_STEPS = 100.0
"""FGD's scores are whole numbers up to this."""
_TIES = 61
_IN_ORDER = frozenset({int(Packing.FGD), int(Packing.FGD_EXACT)})
"""Rules whose published figures are of ties that go to the first node."""


@dataclass(frozen=True)
class PackingSetting:
    """Tasks that are placed as they come, or given up; ties of weights are broken by chance.

    name; source: by a seed, worlds and what FGD takes for the usual tasks; lead: share of the arrivals that may be
    placed once for several weights, 0 for none; weight; rules: the rivals.
    """

    name: str
    source: Callable[[int], tuple[World, Tasks]]
    lead: float = 0.0
    weight: float = 1.0
    rules: tuple[int, ...] = RIVALS
    kind: str = "packing"

    def rule_name(self, rule: int) -> str:
        """Return what a rule is called."""
        return Packing(rule).name

    def draw(self, seed: int) -> World:
        """Return an episode."""
        return self.source(seed)[0]

    def game(self, world: World, seed: int, rule: int, width: int) -> PackingGame:
        """Return an episode that stops at each choice; FGD teaches, whatever the rule."""
        return PackingGame(world, usual_tasks(self.source(seed)[1]), width, seed)

    def rule_cost(self, world: World, seed: int, rule: int) -> float:
        """Return the share of GPUs that is left over under a rule."""
        state, usual = new_state(world), usual_tasks(self.source(seed)[1])
        t = len(world.tasks.arrival)
        noise = np.zeros((1, 1)) if rule in _IN_ORDER else _noise(world, seed, 0, t)
        run_packing(world, state, usual, rule, noise)
        return 1.0 - gpu_allocation(world, state)

    def contexts(self, seed: int, vector: Floats) -> Floats:
        """Return none: tasks come one by one, and nobody chooses between them."""
        return np.zeros((0, len(GLOBAL_FEATURES)))

    def policy_cost(self, seed: int, vector: Floats, lead: Floats | None = None) -> float:
        """Return the share of GPUs that is left over under weights; others may have placed the first tasks."""
        rest = self._begun(seed, lead)
        state = new_state(rest.world)
        state.free[:], state.gpu_free[:] = rest.free, rest.gpu_free
        run_learned_packing(rest.world, state, rest.usual, unflatten(vector), rest.noise)
        return 1.0 - gpu_allocation(rest.world, state)

    def _begun(self, seed: int, lead: Floats | None) -> _Begun:
        """Return an episode whose first tasks are placed by the leading weights, or none; the last ones are kept."""
        key = self.name, seed, b"" if lead is None else lead.tobytes()
        if key not in _kept:
            while len(_kept) >= _KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = self._begin(seed, lead)
        return _kept[key]

    def _begin(self, seed: int, lead: Floats | None) -> _Begun:
        world, tasks = self.source(seed)
        usual, t = usual_tasks(tasks), len(world.tasks.arrival)
        first = 0 if lead is None else int(self.lead * t)
        state = new_state(world)
        if lead is not None and first:
            head = _stretch(world, 0, first)
            state = new_state(head)
            run_learned_packing(head, state, usual, unflatten(lead), _noise(world, seed, 0, first))
        return _Begun(
            _stretch(world, first, t), usual, state.free, state.gpu_free, _noise(world, seed, first, t)
        )


class _Begun(NamedTuple):
    """What is left of an episode: world; usual tasks; what is free; by what ties are broken."""

    world: World
    usual: Usual
    free: Ints
    gpu_free: Ints
    noise: Floats


_KEPT = 6
_kept: dict[tuple[str, int, bytes], _Begun] = {}
"""The last episodes that were begun in this process, which several weights go on with."""


def _stretch(world: World, first: int, last: int) -> World:
    """Return a world of some of the tasks, none of which waits for another or starts with one."""
    t = len(world.tasks.arrival)
    columns = {name: column[first:last] for name, column in world.tasks._asdict().items() if len(column) == t}
    alone = np.arange(last - first)
    tasks = world.tasks._replace(**columns)._replace(
        first_child=np.zeros(len(alone) + 1, np.int64), gang=alone
    )
    return world._replace(tasks=tasks)


class PackingGame:
    """One episode: which node each task gets; one that fits on a single node, or on none, is not asked about."""

    def __init__(self, world: World, usual: Usual, width: int, seed: int) -> None:
        self._world, self.usual, self._width = world, usual, width
        self._random = np.random.default_rng(seed)
        self.state = new_state(world)
        self.known, self._fleet = nothing_known(world), fleet_of(world, usual)
        self.rows = np.empty(len(world.nodes.gpus), np.int64)
        self._total = max(1, int(world.nodes.gpus.sum())) * WHOLE_GPU
        self.nodes: Ints = self.rows[:0]
        self._best, self.task = 0, -1
        self._go_on()

    def see(self) -> Seen | None:
        """Return the nodes on which the task fits; of more than the width, a random choice with FGD's among it."""
        if self.task < 0:
            return None
        count = len(self._fitting)
        places = shown(count, self._width, self._best, self._random)
        self.nodes = self._fitting[places]
        added = self.known.added[self.row][self.nodes]
        x, g, p, y = see_nodes(self._world, self.state, self._fleet, self.task, self.nodes, added)
        mask = np.zeros(self._width + 1, np.bool_)
        mask[: len(places)] = True
        rows = padded(np.concatenate([p, y], axis=1), self._width)
        return Seen(NODE, rows, mask, g.astype(np.float32), x.astype(np.float32))

    def taught(self) -> int:
        """Return which of those FGD takes: where the least fragments are added, in its steps; of equals the first."""
        return int(np.flatnonzero(self.nodes == self._fitting[self._best])[0])

    def choose(self, at: int) -> float:
        """Place the task, and go on to the next choice; returns the share of all GPUs that was placed on the way."""
        before = int(self.state.gpu_free.sum())
        self._place(int(self.nodes[at]))
        self._go_on()
        return (before - int(self.state.gpu_free.sum())) / self._total

    def cost(self) -> float:
        """Return the share of GPUs that is left over."""
        return 1.0 - gpu_allocation(self._world, self.state)

    def _go_on(self) -> None:
        """Let tasks arrive until one can be placed on several nodes."""
        self.task = -1
        while self.state.marks[QUEUED] or advance(self._world, self.state):
            if not self.state.marks[QUEUED]:
                continue
            task = unqueue(self.state, 0)
            count = fitting_nodes(self._world, self.state, task, self.rows)
            if count == 0:
                self.state.status[task] = GONE
                continue
            self._fitting = self.rows[:count].copy()
            self.row = learn_fragments(
                self._world, self.state, self.usual, self.known, task, self.rows, count
            )
            self.task = task
            if count > 1:
                added = self.known.added[self.row][self._fitting]
                self._best = int(np.argmax(np.floor(_STEPS / (1.0 + np.exp(added / WHOLE_GPU)))))
                return
            self._place(int(self._fitting[0]))
            self.task = -1

    def _place(self, node: int) -> None:
        gpu = int(self.known.gpu[self.row, node])
        place(self._world, self.state, self.task, node, gpu if gpu >= 0 else TIGHTEST)
        forget_node(self.known, node)


def _noise(world: World, seed: int, first: int, last: int) -> Floats:
    """Return by what ties of some tasks are broken: (last - first, n); few rows, again and again, are chance enough."""
    table = np.random.default_rng(seed).random((_TIES, len(world.nodes.gpus)))
    return np.asarray(table[np.arange(first, last) % _TIES])
