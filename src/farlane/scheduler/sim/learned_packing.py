"""Whole runs of packing under the learned policy: each task is placed at once where the network's node head says.

One placement changes one node, and few classes make up most tasks, so that nearly all scores are the same as for the
last task of the class: they are kept by class and node until the node or the context changes, which counts in steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.learned.features import NodeColumns, PairColumns, TaskColumns
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.fragments import Usual
from farlane.scheduler.sim.fragments_known import (
    Known,
    forget_all,
    forget_node,
    learn_fragments,
    nothing_known,
)
from farlane.scheduler.sim.learned_forward import (
    encode,
    global_features,
    node_features,
    pair_features,
    score_nodes,
    task_features,
)
from farlane.scheduler.sim.placing import TIGHTEST, fitting_nodes, place, unqueue
from farlane.scheduler.sim.state import DROPPED, FINISHED, GONE, NEXT_CHANGE, QUEUED, State
from farlane.scheduler.sim.world import CPU, MEMORY, WHOLE_GPU, Floats, Ints, World

STEPS = 32
"""Steps in which the free share of all GPUs counts as context."""


class Fleet(NamedTuple):
    """What never changes of a fleet.

    wanted: (n,) share of the usual tasks' GPUs that could be of the node's model; cpu, memory, gpus: totals;
    largest_cpu, largest_gpus: of any node.
    """

    wanted: Floats
    cpu: float
    memory: float
    gpus: float
    largest_cpu: float
    largest_gpus: float


def fleet_of(world: World, usual: Usual) -> Fleet:
    """Return what never changes of a world's nodes."""
    nodes = world.nodes
    amount = usual.share * usual.gpus * usual.gpu_milli
    can = (usual.gpu_models[:, None] >> np.maximum(nodes.gpu_model, 0)[None, :]) & 1
    wanted = (amount[:, None] * can).sum(axis=0) / max(float(amount.sum()), 1e-9)
    return Fleet(
        np.where(nodes.gpu_model >= 0, wanted, 0.0).astype(np.float64),
        float(max(1, nodes.capacity[:, CPU].sum())),
        float(max(1, nodes.capacity[:, MEMORY].sum())),
        float(max(1, nodes.gpus.sum())),
        float(max(1, nodes.capacity[:, CPU].max())),
        float(max(1, nodes.gpus.max())),
    )


def run_learned_packing(world: World, state: State, usual: Usual, weights: Weights, noise: Floats) -> int:
    """Run a world whose tasks are placed as they come.

    Args:
        world: what is simulated.
        state: before its first event; changed.
        usual: which tasks to expect.
        weights: of the network, float64.
        noise: (t, n) numbers by which ties are broken, the highest first; (1, 1) of anything: by the node's row.

    Returns:
        How many tasks were placed.
    """
    known = nothing_known(world)
    scores = np.full_like(known.added, np.nan)
    return int(_run(world, state, usual, fleet_of(world, usual), known, scores, weights, noise))


@compiled
def _run(
    world: World,
    state: State,
    usual: Usual,
    fleet: Fleet,
    known: Known,
    scores: Floats,
    weights: Weights,
    noise: Floats,
) -> int:
    """Run a world whose tasks are placed as they come; scores: (c, n) known ones, nan where they are not."""
    rows = np.empty(len(world.nodes.gpus), np.int64)
    placed, undone, step = 0, 0, -1
    while advance(world, state):
        if undone != state.marks[FINISHED] + state.marks[NEXT_CHANGE]:
            undone = state.marks[FINISHED] + state.marks[NEXT_CHANGE]
            forget_all(known)
            scores[:, :] = np.nan
        while state.marks[QUEUED]:
            task = unqueue(state, 0)
            now = int(np.ceil(STEPS * state.gpu_free.sum() / (fleet.gpus * WHOLE_GPU)))
            if now != step:
                step = now
                scores[:, :] = np.nan
            count = fitting_nodes(world, state, task, rows)
            row = learn_fragments(world, state, usual, known, task, rows, count)
            new = rows[:count][np.isnan(scores[row][rows[:count]])]
            if len(new):
                found = packing_scores(
                    world, state, fleet, weights, task, new, known.added[row][new], step / STEPS
                )
                for at in range(len(new)):
                    scores[row, new[at]] = found[at]
            best = _highest(rows[:count], scores[row], noise[task] if noise.shape[0] > 1 else noise[0])
            if best < 0:
                state.status[task] = GONE
                state.marks[DROPPED] += 1
                continue
            gpu = known.gpu[row, best]
            place(world, state, task, best, gpu if gpu >= 0 else TIGHTEST)
            forget_node(known, best)
            scores[:, best] = np.nan
            placed += 1
    return placed


@compiled
def packing_scores(
    world: World,
    state: State,
    fleet: Fleet,
    weights: Weights,
    task: int,
    rows: Ints,
    added: Floats,
    free_gpu: float,
) -> Floats:
    """Return the node head's score of a task that has to be placed on each of some nodes: (n,).

    Args:
        world: what is simulated.
        state: now.
        fleet: what never changes of it.
        weights: of the network.
        task: its row.
        rows: (n,) nodes on which it fits.
        added: (n,) fragments that it adds there, in thousandths of GPUs.
        free_gpu: free share of all GPUs.
    """
    columns = forced_columns(world, fleet, task, free_gpu)
    x = task_features(columns)
    g = global_features(columns, x, free_gpu, 0.0, len(world.nodes.gpus), 0.0)
    p = pair_features(pair_columns(world, state, fleet, task, rows, added))
    y = node_features(node_columns(world, state, fleet, rows))
    return score_nodes(weights, p, y, encode(weights, x)[0], g)


@compiled
def forced_columns(world: World, fleet: Fleet, task: int, free_gpu: float) -> TaskColumns:
    """Return the columns of one task of unknown run time that has to be placed now."""
    tasks, one = world.tasks, np.ones(1)
    milli = tasks.gpu_milli[task]
    gpus = tasks.gpus[task] * milli / (WHOLE_GPU * fleet.gpus)
    each = milli / WHOLE_GPU if tasks.gpus[task] else 0.0
    asked = tasks.gpus[task] / fleet.largest_gpus
    share = max(tasks.demand[task, CPU] / fleet.cpu, tasks.demand[task, MEMORY] / fleet.memory, gpus)
    return TaskColumns(
        request_s=one, expected_s=one, wait_s=0.0 * one, share=share * one, free=free_gpu * one, opening_s=0.0 * one,
        fits=one, rank=0.0 * one, known=0.0 * one, priority=0.0 * one, slack_s=np.inf * one, load_s=0.0 * one,
        gang=one, dependents=0.0 * one, options=one, spare_budget=np.inf * one,
        gpus=one * asked, gpu_share=one * each, usual=one, quick=one, owner_usual=one, owner_quick=one,
        asked_usual=one, asked_quick=one, runs=0.0 * one, crowd=one, running=0.0 * one, elapsed_s=0.0 * one,
    )  # fmt: skip


@compiled
def pair_columns(
    world: World, state: State, fleet: Fleet, task: int, rows: Ints, added: Floats
) -> PairColumns:
    """Return the columns of a task on each of some nodes, for a share of a GPU on the one where it adds least."""
    n = len(rows)
    made, zeros = np.zeros((8, n)), np.zeros(n)
    _fill_pairs(world, state, fleet, task, rows, made)
    return PairColumns(
        fragments=added / WHOLE_GPU, left_cpu=made[0], left_memory=made[1], left_gpu=made[2], largest_cpu=made[7],
        largest_gpus=made[3], hole=made[4], whole=made[5], needless=made[6], load_s=zeros, run_s=zeros + np.inf,
        cost=zeros, hazard=zeros, slack_s=zeros + np.inf, alike=zeros,
    )  # fmt: skip


@lean
def _fill_pairs(world: World, state: State, fleet: Fleet, task: int, rows: Ints, made: Floats) -> None:
    """Write left_cpu, left_memory, left_gpu, largest_gpus, hole, whole, needless, largest_cpu: (8, n)."""
    nodes, tasks = world.nodes, world.tasks
    cpu, memory, milli = tasks.demand[task, CPU], tasks.demand[task, MEMORY], tasks.gpu_milli[task]
    for at in range(len(rows)):
        node = rows[at]
        gpus = nodes.gpus[node]
        left = state.free[node, CPU] - cpu
        made[0, at] = left / max(1, nodes.capacity[node, CPU])
        made[7, at] = left / fleet.largest_cpu
        made[1, at] = (state.free[node, MEMORY] - memory) / max(1, nodes.capacity[node, MEMORY])
        free, whole, tightest = 0, 0, 2 * WHOLE_GPU
        for gpu in range(gpus):
            room = state.gpu_free[node, gpu]
            free += room
            whole += room == WHOLE_GPU
            if milli <= room < tightest:
                tightest = room
        free -= tasks.gpus[task] * milli
        if gpus:
            made[2, at] = free / (gpus * WHOLE_GPU)
            used = tasks.gpus[task] if tasks.gpus[task] != 1 or tightest == WHOLE_GPU else 0
            made[5, at] = (whole - used) / gpus
        if tasks.gpus[task] == 1 and milli < WHOLE_GPU:
            made[4, at] = (tightest - milli) / WHOLE_GPU
        made[3, at] = free / (fleet.largest_gpus * WHOLE_GPU)
        made[6, at] = 1.0 if gpus and not tasks.gpus[task] else 0.0


@compiled
def node_columns(world: World, state: State, fleet: Fleet, rows: Ints) -> NodeColumns:
    """Return the columns of some nodes, now."""
    n = len(rows)
    made, zeros = np.zeros((6, n)), np.zeros(n)
    _fill_nodes(world, state, fleet, rows, made)
    return NodeColumns(
        cpu=made[0], memory=made[1], gpu=made[2], gpus=made[3], idle=made[4], wanted=made[5], price=zeros, hazard=zeros,
        rtt_s=zeros, reputation=zeros + 1.0, cached=zeros,
    )  # fmt: skip


@lean
def _fill_nodes(world: World, state: State, fleet: Fleet, rows: Ints, made: Floats) -> None:
    """Write cpu, memory, gpu, gpus, idle and wanted of some nodes: (6, n)."""
    nodes = world.nodes
    for at in range(len(rows)):
        node = rows[at]
        gpus, free = nodes.gpus[node], 0
        for gpu in range(gpus):
            free += state.gpu_free[node, gpu]
        made[0, at] = state.free[node, CPU] / max(1, nodes.capacity[node, CPU])
        made[1, at] = state.free[node, MEMORY] / max(1, nodes.capacity[node, MEMORY])
        made[2, at] = free / (gpus * WHOLE_GPU) if gpus else 0.0
        made[3, at] = gpus / fleet.largest_gpus
        made[4, at] = 1.0 if made[0, at] == 1.0 and free == gpus * WHOLE_GPU else 0.0
        made[5, at] = fleet.wanted[node]


@compiled
def _highest(rows: Ints, values: Floats, noise: Floats) -> int:
    """Return the node of the highest value, -1 where there is none; of equals the one with the highest noise."""
    best, highest, tie = -1, -np.inf, -np.inf
    for node in rows:
        chance = noise[node] if len(noise) == len(values) else -float(node)
        if values[node] > highest or (values[node] == highest and chance > tie):
            best, highest, tie = node, values[node], chance
    return best
