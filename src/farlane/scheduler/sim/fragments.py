"""Fragmentation: how much of a node's free GPUs the usual tasks could not use (FGD: Weng et al., USENIX ATC 2023)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import CPU, Floats, Ints, Tasks, World

POPULAR = 0.95
"""Classes of tasks that make up this share of all, the most frequent first, count as usual."""


class Usual(NamedTuple):
    """The usual tasks, c classes: share (c,) of all, summing to 1; the other columns, (c,), as tasks have them."""

    share: Floats
    cpu: Ints
    gpus: Ints
    gpu_milli: Ints
    gpu_models: Ints


def usual_tasks(tasks: Tasks, popular: float = POPULAR) -> Usual:
    """Return the classes of tasks by their CPU, GPUs, share of a GPU and models, the most frequent first."""
    columns = np.stack([tasks.demand[:, CPU], tasks.gpus, tasks.gpu_milli, tasks.gpu_models], axis=1)
    classes, counts = np.unique(columns, axis=0, return_counts=True)
    order = np.lexsort((*classes.T[::-1], counts))[::-1]
    classes, counts = classes[order], counts[order]
    kept = int(np.searchsorted(np.cumsum(counts), popular * counts.sum())) + 1
    share = counts[:kept] / counts[:kept].sum()
    cpu, gpus, gpu_milli, gpu_models = (np.ascontiguousarray(column) for column in classes[:kept].T)
    return Usual(share, cpu, gpus, gpu_milli, gpu_models)


@compiled
def fragments(usual: Usual, cpu: int, gpu_free: Ints, gpus: int, model: int) -> float:
    """Return the expected free thousandths of a node's GPUs that a usual task could not use.

    All that is free where the task cannot run there, else what is on GPUs with less than it needs of one.

    Args:
        usual: which tasks to expect.
        cpu: free milli-cores.
        gpu_free: (MAX_GPUS,) free thousandths.
        gpus: how many GPUs there are.
        model: of them, -1 where there are none.
    """
    free = 0
    for gpu in range(gpus):
        free += gpu_free[gpu]
    total = 0.0
    if free == 0:
        return total
    for row in range(len(usual.share)):
        wanted, milli = usual.gpus[row], usual.gpu_milli[row]
        small, enough = 0, 0
        for gpu in range(gpus):
            if gpu_free[gpu] >= milli:
                enough += 1
            else:
                small += gpu_free[gpu]
        runs = (
            wanted > 0 and enough >= wanted and cpu >= usual.cpu[row] and (usual.gpu_models[row] >> model) & 1
        )
        total += usual.share[row] * (small if runs else free)
    return total


@compiled
def added_fragments(
    world: World, state: State, usual: Usual, task: int, node: int, room: Ints
) -> tuple[float, int]:
    """Return by how much a task's start would change a node's fragments, and on which GPU it is least.

    Args:
        world: what is simulated.
        state: now.
        usual: which tasks to expect.
        task: one that fits.
        node: where.
        room: (MAX_GPUS,) scratch.

    Returns:
        Thousandths of GPUs, and the GPU of a share; -1 for tasks that take whole ones or none.
    """
    tasks, nodes = world.tasks, world.nodes
    gpus, model = nodes.gpus[node], nodes.gpu_model[node]
    room[:] = state.gpu_free[node]
    before = fragments(usual, state.free[node, CPU], room, gpus, model)
    cpu = state.free[node, CPU] - tasks.demand[task, CPU]
    milli = tasks.gpu_milli[task]
    if tasks.gpus[task] != 1:
        left = tasks.gpus[task]
        for gpu in range(gpus):
            if left and room[gpu] >= milli:
                room[gpu] -= milli
                left -= 1
        return fragments(usual, cpu, room, gpus, model) - before, -1
    best, least = -1, np.inf
    for gpu in range(gpus):
        if room[gpu] >= milli:
            room[gpu] -= milli
            after = fragments(usual, cpu, room, gpus, model) - before
            room[gpu] += milli
            if after < least:
                best, least = gpu, after
    return least, best
