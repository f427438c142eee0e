"""Whole runs of packing: each task is placed at once where a rule likes it best, or given up."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.fragments import Usual, added_fragments
from farlane.scheduler.sim.placing import TIGHTEST, fits, place, unqueue
from farlane.scheduler.sim.state import DROPPED, GONE, QUEUED, State
from farlane.scheduler.sim.world import CPU, MAX_GPUS, WHOLE_GPU, Floats, World


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


@compiled
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
    room = np.empty(MAX_GPUS, np.int64)
    largest_cpu, largest_gpus = world.nodes.capacity[:, CPU].max(), max(1, world.nodes.gpus.max())
    placed = 0
    while advance(world, state):
        while state.marks[QUEUED]:
            task = unqueue(state, 0)
            best, highest, tie, on_gpu = -1, -np.inf, 0.0, TIGHTEST
            for node in range(len(world.nodes.gpus)):
                if not fits(world, state, task, node):
                    continue
                value, gpu = 0.0, TIGHTEST
                if rule == FIRST_FIT:
                    value = -float(node)
                elif rule == BEST_FIT:
                    free = 0
                    for each in range(world.nodes.gpus[node]):
                        free += state.gpu_free[node, each]
                    cpu = (state.free[node, CPU] - world.tasks.demand[task, CPU]) / largest_cpu
                    gpus = (free - world.tasks.gpus[task] * world.tasks.gpu_milli[task]) / (
                        largest_gpus * WHOLE_GPU
                    )
                    value = np.floor((1.0 - (cpu + gpus) / 2.0) * _STEPS)
                elif rule >= FGD:
                    added, gpu = added_fragments(world, state, usual, task, node, room)
                    value = -added
                    if rule == FGD:
                        value = np.floor(_STEPS / (1.0 + np.exp(added / WHOLE_GPU)))
                chance = noise[task, node] if noise.shape[0] > 1 else -float(node)
                if value > highest or (value == highest and chance > tie):
                    best, highest, tie, on_gpu = node, value, chance, gpu
            if best < 0:
                state.status[task] = GONE
                state.marks[DROPPED] += 1
            else:
                place(world, state, task, best, on_gpu)
                placed += 1
    return placed
