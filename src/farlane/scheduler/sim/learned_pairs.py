"""What the network sees of one task of a fleet on each of some nodes: what is left, load, pace, price, hazard."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned.features import NodeColumns, PairColumns
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim import learned_packing
from farlane.scheduler.sim.choices import GIB
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.fragments import Usual, added_fragments
from farlane.scheduler.sim.learned_forward import node_features, pair_features, score_nodes
from farlane.scheduler.sim.learned_groups import REQUEST, Groups, expected_of
from farlane.scheduler.sim.learned_packing import Fleet
from farlane.scheduler.sim.placing import TIGHTEST
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import CPU, MEMORY, NEVER, WHOLE_GPU, Floats, Ints, World

HOUR_S = 3600.0


@compiled
def pair_scores(
    world: World,
    state: State,
    usual: Usual,
    fleet: Fleet,
    groups: Groups,
    weights: Weights,
    g: Floats,
    task: int,
    rows: Ints,
    room: Ints,
) -> tuple[Floats, Ints]:
    """Return the node head's score of a task on each of some nodes, and which GPU a share would get there: (n,) each.

    Args:
        world: what is simulated.
        state: now.
        usual: which tasks to expect; of none, fragments count as 0.
        fleet: what never changes of the nodes.
        groups: of units that wait.
        weights: of the network.
        g: features of the whole.
        task: its row.
        rows: (n,) where it fits.
        room: (MAX_GPUS,) scratch.
    """
    added, gpus = np.zeros(len(rows)), np.full(len(rows), TIGHTEST)
    if len(usual.share):
        for at in range(len(rows)):
            added[at], gpus[at] = added_fragments(world, state, usual, task, rows[at], room)
    p = pair_features(pair_columns(world, state, fleet, groups, task, rows, added))
    y = node_features(node_columns(world, state, fleet, groups, rows))
    # Prices are told relative to the dearest node of all, in production too.
    dearest = groups.price.max()
    for at in range(len(rows)):
        y[at, 6] = groups.price[rows[at]] / max(dearest * HOUR_S, 1e-6) * HOUR_S
    return score_nodes(weights, p, y, groups.inner[groups.of[world.tasks.gang[task]]], g), gpus


@compiled
def pair_columns(
    world: World, state: State, fleet: Fleet, groups: Groups, task: int, rows: Ints, added: Floats
) -> PairColumns:
    """Return the columns of a task on each of some nodes."""
    packed = learned_packing.pair_columns(world, state, fleet, task, rows, added)
    made = np.zeros((4, len(rows)))
    _fill_pairs(world, state, groups, task, rows, made)
    return PairColumns(
        fragments=packed.fragments, left_cpu=packed.left_cpu, left_memory=packed.left_memory, left_gpu=packed.left_gpu,
        largest_cpu=packed.largest_cpu, largest_gpus=packed.largest_gpus, hole=packed.hole, whole=packed.whole,
        needless=packed.needless, load_s=made[0], run_s=made[1], cost=made[2], hazard=made[3],
        slack_s=np.full(len(rows), world.tasks.deadline[task] - state.clock[0]), alike=packed.alike,
    )  # fmt: skip


@lean
def _fill_pairs(world: World, state: State, groups: Groups, task: int, rows: Ints, made: Floats) -> None:
    """Write load_s, run_s, cost and hazard of a task on each of some nodes: (4, n)."""
    tasks, nodes, now = world.tasks, world.nodes, state.clock[0]
    group, model = groups.of[tasks.gang[task]], tasks.model[task]
    request = groups.numbers[group, REQUEST]
    asked = tasks.estimate_s[task]
    expected = asked * expected_of(groups, group) / request if request > 0.0 else asked
    gpus = tasks.gpus[task] * tasks.gpu_milli[task] / WHOLE_GPU
    cores, gib = tasks.demand[task, CPU] / 1000.0, tasks.demand[task, MEMORY] / GIB
    for at in range(len(rows)):
        node = rows[at]
        load = 0.0
        if model >= 0 and state.used_at[node, model] > -NEVER:
            load = max(0.0, state.here_at[node, model] - now)
        elif model >= 0:
            link = max(0.0, state.link_free[node] - now)
            load = link + world.model_bytes[model] / nodes.bandwidth[node]
        run = nodes.rtt_s[node] + expected / world.speed[tasks.kind[task], nodes.gpu_model[node]]
        price = nodes.price[node]
        made[0, at], made[1, at] = load, run
        made[2, at] = (price[0] * cores + price[1] * gib + price[2] * gpus) * (run + load)
        made[3, at] = nodes.hazard[node]


@compiled
def node_columns(world: World, state: State, fleet: Fleet, groups: Groups, rows: Ints) -> NodeColumns:
    """Return the columns of some nodes, now."""
    packed = learned_packing.node_columns(world, state, fleet, rows)
    made = np.zeros((5, len(rows)))
    _fill_nodes(world, state, groups, rows, made)
    return NodeColumns(
        cpu=packed.cpu, memory=packed.memory, gpu=packed.gpu, gpus=packed.gpus, idle=packed.idle, wanted=packed.wanted,
        price=made[0], hazard=made[1], rtt_s=made[2], reputation=made[3], cached=made[4],
    )  # fmt: skip


@lean
def _fill_nodes(world: World, state: State, groups: Groups, rows: Ints, made: Floats) -> None:
    """Write price, hazard, rtt_s, reputation and cached of some nodes: (5, n)."""
    nodes = world.nodes
    for at in range(len(rows)):
        node = rows[at]
        made[0, at] = groups.price[node] * HOUR_S
        made[1, at] = nodes.hazard[node] * HOUR_S
        made[2, at], made[3, at] = nodes.rtt_s[node], nodes.reputation[node]
        made[4, at] = min(1.0, state.cached[node] / max(1, nodes.cache_bytes[node]))
