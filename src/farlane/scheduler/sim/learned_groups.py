"""Groups of like units of a fleet, as a hub groups tasks: what never changes of them, who waits, how long they took.

Units of one shape, user, model, priority, deadline, budget and time asked for that arrive together are one group: the
network scores it once, with the wait of its oldest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.learned.features import GLOBAL_FEATURES
from farlane.scheduler.learned.network import HIDDEN
from farlane.scheduler.sim.choices import rate
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.placing import possible
from farlane.scheduler.sim.state import ACTIVE, DONE, State
from farlane.scheduler.sim.waiting import QUICK_S, SHAPE, SIZE, Waiting
from farlane.scheduler.sim.world import NEVER, WHOLE_GPU, Bools, Floats, Ints, World

HEAD, SIZED, DEPENDENTS, COUNT, STREAM = range(5)
"""Columns of `Groups.counts`: one unit of the group; tasks of a unit; tasks that wait for it; units that wait now; row
of its history."""
REQUEST, SPARE_BUDGET, SINCE, SCORE, TOO_LONG = range(5)
"""Columns of `Groups.numbers`: seconds that are asked for where it runs fastest; budget over the least cost, less 1;
when the oldest that waits was ready; score, nan before the first; 1 where it has waited so long that no score
counts."""
RUNS, TURN, ROUNDS = range(3)
"""Places in `Groups.marks`: runs that are watched; whose turn it is to be scored; rounds in which some were."""
CONTEXTS = 4096
"""Rounds of which the context is kept: the last ones."""


class Groups(NamedTuple):
    """Arrays of g groups; t tasks, s shapes, n nodes, h histories. Columns are the constants above.

    of: (t,) group of each unit, -1 for later members of gangs; counts: (g, 5); numbers: (g, 5); asked: (g, 4) demand of
    all tasks of a unit, the columns of `State.held`; held: (g,) whether it waits by the network's choice; inner: (g, H)
    embeddings; possible: (s, n) which nodes could ever run a shape; options: (s,) their share; price: (n,) credits a
    second of each whole node; recent: (h, 2) seconds of the last two runs, the newest first, as if they had run where
    such work runs fastest, nan before; runs: (t,) tasks that run, in no order; listed: (g,) scratch; contexts:
    (CONTEXTS, G) of the last rounds, in a ring; marks: (3,).
    """

    of: Ints
    counts: Ints
    numbers: Floats
    asked: Floats
    held: Bools
    inner: Floats
    possible: Bools
    options: Floats
    price: Floats
    recent: Floats
    runs: Ints
    listed: Ints
    contexts: Floats
    marks: Ints


def groups_of(world: World, waiting: Waiting) -> Groups:
    """Return the groups of a world's units, none of which waits yet.

    Args:
        world: what is simulated.
        waiting: as `orders.fix_numbers` leaves it.
    """
    tasks = world.tasks
    t = len(tasks.arrival)
    heads = np.flatnonzero(waiting.units[:, SIZE] > 0)
    dependents = np.diff(tasks.first_child)
    if len(heads):
        dependents = np.add.reduceat(dependents, heads)
    columns = (tasks.deadline, tasks.arrival, waiting.units[:, SHAPE], tasks.user, tasks.model, tasks.priority,
               tasks.estimate_s, tasks.budget)  # fmt: skip
    alike = np.column_stack([*(column[heads].astype(np.float64) for column in columns), dependents])
    _, sample, each = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    each, head = each.ravel(), heads[sample]
    g = len(head)
    of = np.full(t, -1, np.int64)
    of[heads] = each
    streams = np.unique(
        np.column_stack([tasks.user, tasks.kind, tasks.model])[head], axis=0, return_inverse=True
    )
    counts = np.zeros((g, 5), np.int64)
    counts[:, HEAD], counts[:, SIZED] = head, waiting.units[head, SIZE]
    counts[:, DEPENDENTS], counts[:, STREAM] = dependents[sample], streams[1].ravel()
    numbers = np.zeros((g, 5))
    numbers[:, REQUEST], numbers[:, SCORE] = waiting.numbers[head, QUICK_S], np.nan
    able = np.zeros((len(waiting.shapes), len(world.nodes.gpus)), np.bool_)
    _fill_possible(world, head, waiting.units[head, SHAPE], able)
    numbers[:, SPARE_BUDGET] = _spare_budgets(world, head, waiting.units[head, SHAPE], able)
    return Groups(
        of=of, counts=counts, numbers=numbers, asked=_asked(world, heads)[sample], held=np.zeros(g, np.bool_),
        inner=np.zeros((g, HIDDEN)), possible=able, options=able.mean(axis=1) if able.size else np.zeros(len(able)),
        price=_prices(world), recent=np.full((len(streams[0]) + 1, 2), np.nan), runs=np.zeros(t, np.int64),
        listed=np.zeros(g, np.int64), contexts=np.zeros((CONTEXTS, len(GLOBAL_FEATURES))), marks=np.zeros(3, np.int64),
    )  # fmt: skip


def _asked(world: World, heads: Ints) -> Floats:
    """Return what all tasks of each unit ask for together: (units, 4)."""
    tasks = world.tasks
    amounts = np.column_stack([tasks.demand, tasks.gpus * tasks.gpu_milli]).astype(np.float64)
    summed: Floats = np.add.reduceat(amounts, heads, axis=0) if len(heads) else amounts
    return summed


def _prices(world: World) -> Floats:
    """Return what a second of each whole node costs, in credits: (n,)."""
    nodes = world.nodes
    amounts = np.column_stack([nodes.capacity[:, 0] / 1000.0, nodes.capacity[:, 1] / 2.0**30, nodes.gpus])
    cost: Floats = (nodes.price * amounts).sum(axis=1)
    return cost


@compiled
def _fill_possible(world: World, heads: Ints, shapes: Ints, able: Bools) -> None:
    """Write which nodes could ever run units of each shape."""
    seen = np.zeros(len(able), np.bool_)
    for at in range(len(heads)):
        if not seen[shapes[at]]:
            seen[shapes[at]] = True
            for node in range(able.shape[1]):
                able[shapes[at], node] = possible(world, heads[at], node)


@compiled
def _spare_budgets(world: World, heads: Ints, shapes: Ints, able: Bools) -> Floats:
    """Return each group's budget over the least that a task of it should cost anywhere, less 1: (g,)."""
    spare = np.full(len(heads), NEVER)
    for at in range(len(heads)):
        task, least = heads[at], NEVER
        if world.tasks.budget[task] == NEVER:
            continue
        for node in range(able.shape[1]):
            if able[shapes[at], node]:
                speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[node]]
                seconds = world.nodes.rtt_s[node] + world.tasks.estimate_s[task] / speed
                least = min(least, rate(world, task, node) * seconds)
        spare[at] = world.tasks.budget[task] / max(least, 1e-12) - 1.0
    return spare


@lean
def watch(groups: Groups, task: int) -> None:
    """Remember that a task runs."""
    groups.runs[groups.marks[RUNS]] = task
    groups.marks[RUNS] += 1


@lean
def learn_ends(world: World, state: State, groups: Groups) -> None:
    """Look which runs are over, and remember how long those took that ended well."""
    kept = 0
    for at in range(groups.marks[RUNS]):
        task = groups.runs[at]
        if state.status[task] == ACTIVE:
            groups.runs[kept] = task
            kept += 1
        elif state.status[task] == DONE:
            _learn(world, state, groups, task)
    groups.marks[RUNS] = kept


@lean
def _learn(world: World, state: State, groups: Groups, task: int) -> None:
    """Take in how long a run took."""
    group = groups.of[world.tasks.gang[task]]
    last = groups.recent[groups.counts[group, STREAM]]
    # A gang ends as a whole, and its members are asked for alike: its first stands for all.
    if groups.of[task] < 0:
        return
    estimate = world.tasks.estimate_s[task]
    speed = world.speed[world.tasks.kind[task], world.nodes.gpu_model[state.node[task]]]
    took = (state.ends[task] - state.started[task]) * speed
    last[1] = last[0]
    last[0] = took * groups.numbers[group, REQUEST] / estimate if estimate > 0.0 else took


@lean
def expected_of(groups: Groups, group: int) -> float:
    """Return what a group's history lets expect, at most what is asked for, in seconds where it runs fastest."""
    request, last = groups.numbers[group, REQUEST], groups.recent[groups.counts[group, STREAM]]
    if np.isnan(last[0]):
        return float(request)
    mean = last[0] if np.isnan(last[1]) else (last[0] + last[1]) / 2.0
    return float(min(mean, request))


@lean
def gpu_share(world: World, task: int) -> float:
    """Return which share of each GPU a task asks for: 0 without GPU to 1."""
    return float(world.tasks.gpu_milli[task] / WHOLE_GPU) if world.tasks.gpus[task] else 0.0
