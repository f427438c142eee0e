"""Whole runs of packing: each task is placed at once where a rule likes it best, or given up."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.fragments import Usual
from farlane.scheduler.sim.fragments_known import (
    Known,
    forget_all,
    forget_node,
    learn_fragments,
    nothing_known,
)
from farlane.scheduler.sim.placing import TIGHTEST, fitting_nodes, place, unqueue
from farlane.scheduler.sim.state import DROPPED, FINISHED, GONE, NEXT_CHANGE, QUEUED, State
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, Floats, Ints, World


class Packing(IntEnum):
    """Rules for the node of a task.

    RANDOM. FIRST_FIT. BEST_FIT: least left over, half CPU and half GPUs, each as a share of the largest node's. FGD:
    least added fragments, squeezed into a whole number of 0 to 100 (Weng et al. 2023); FGD_EXACT: as they are.
    """

    RANDOM = 0
    FIRST_FIT = 1
    BEST_FIT = 2
    FGD = 3
    FGD_EXACT = 4


RANDOM, FIRST_FIT, BEST_FIT = int(Packing.RANDOM), int(Packing.FIRST_FIT), int(Packing.BEST_FIT)
FGD, FGD_EXACT = int(Packing.FGD), int(Packing.FGD_EXACT)
_STEPS = 100.0


def run_packing(world: World, state: State, usual: Usual, rule: int, noise: Floats) -> int:
    """Run a world whose tasks are placed as they come.

    Args:
        world: what is simulated.
        state: before its first event; changed.
        usual: which tasks FGD expects.
        rule: see `Packing`.
        noise: (t, n) numbers by which ties are broken, the highest first; (1, 1) of anything: by the node's row.

    Returns:
        How many tasks were placed.
    """
    return int(_run(world, state, usual, nothing_known(world), rule, noise))


@compiled
def _run(world: World, state: State, usual: Usual, known: Known, rule: int, noise: Floats) -> int:
    """Run a world whose tasks are placed as they come; arguments as of `run_packing`."""
    n = len(world.nodes.gpus)
    rows, values, gpus = np.empty(n, np.int64), np.zeros(n), np.full(n, TIGHTEST)
    largest_cpu, largest_gpus = float(world.nodes.capacity[:, CPU].max()), max(1, world.nodes.gpus.max())
    placed, undone = 0, 0
    while advance(world, state):
        if undone != state.marks[FINISHED] + state.marks[NEXT_CHANGE]:
            undone = state.marks[FINISHED] + state.marks[NEXT_CHANGE]
            forget_all(known)
        while state.marks[QUEUED]:
            task = unqueue(state, 0)
            count = fitting_nodes(world, state, task, rows)
            if rule == BEST_FIT:
                _fullest(world, state, task, rows[:count], values, largest_cpu, largest_gpus)
            elif rule >= FGD:
                row = learn_fragments(world, state, usual, known, task, rows, count)
                gpus = known.gpu[row]
                _least_added(known.added[row], rule, rows[:count], values)
            best = _highest(rows[:count], values, rule, noise[task] if noise.shape[0] > 1 else noise[0])
            if best < 0:
                state.status[task] = GONE
                state.marks[DROPPED] += 1
            else:
                place(world, state, task, best, gpus[best])
                forget_node(known, best)
                placed += 1
    return placed


@compiled
def _fullest(
    world: World, state: State, task: int, rows: Ints, values: Floats, largest_cpu: float, largest_gpus: int
) -> None:
    """Write into `values`, (n,), how little would be left over on nodes: 0 to 100, in whole numbers."""
    free, gpu_free, gpus = state.free, state.gpu_free, world.nodes.gpus
    cpu, wanted = world.tasks.demand[task, CPU], world.tasks.gpus[task] * world.tasks.gpu_milli[task]
    for node in rows:
        room = 0
        for each in range(gpus[node]):
            room += gpu_free[node, each]
        left = (free[node, CPU] - cpu) / largest_cpu + (room - wanted) / (largest_gpus * WHOLE_GPU)
        values[node] = np.floor((1.0 - left / 2.0) * _STEPS)


@compiled
def _least_added(added: Floats, rule: int, rows: Ints, values: Floats) -> None:
    """Write into `values`, (n,), what FGD makes of the fragments that a task would add on nodes."""
    for node in rows:
        values[node] = -added[node]
        if rule == FGD:
            values[node] = np.floor(_STEPS / (1.0 + np.exp(added[node] / WHOLE_GPU)))


@compiled
def _highest(rows: Ints, values: Floats, rule: int, noise: Floats) -> int:
    """Return the node of the highest value, -1 where there is none; of equals the one with the highest noise.

    Args:
        rows: nodes to choose from.
        values: (n,).
        rule: FIRST_FIT takes the first.
        noise: (n,), or anything shorter: equals go to the first.
    """
    best, highest, tie = -1, -np.inf, -np.inf
    for node in rows:
        chance = noise[node] if len(noise) == len(values) and rule != FIRST_FIT else -float(node)
        if values[node] > highest or (values[node] == highest and chance > tie):
            best, highest, tie = node, values[node], chance
    return best
