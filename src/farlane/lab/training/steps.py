"""Queues one decision at a time, what waiting costs meanwhile, and what each decision sees; compiled."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.learned_forward import global_features, node_features, pair_features, task_features
from farlane.scheduler.sim.learned_packing import Fleet, forced_columns, node_columns, pair_columns
from farlane.scheduler.sim.learned_queue import pool_columns
from farlane.scheduler.sim.rules import score
from farlane.scheduler.sim.scores import SHORT_S
from farlane.scheduler.sim.state import NEXT_ARRIVAL, QUEUED, State
from farlane.scheduler.sim.world import WHOLE_GPU, Floats, Ints, World


@compiled
def until_choice(world: World, state: State) -> bool:
    """Let events happen until a task is queued; False where the run is over."""
    while state.marks[QUEUED] == 0:
        if not advance(world, state):
            return False
    return True


@compiled
def waited(world: World, state: State, since: float) -> float:
    """Return what tasks waited from a moment until now, each second divided by max(run time, SHORT_S).

    Over all intervals of a run this sums to the unclipped bounded slowdowns less what running itself gives: with w the
    wait and r the run time of each task, sum w / max(r, SHORT_S). It is the cost per interval whose negative is the
    reward (the sum over queued tasks of dt / max(r, SHORT_S); after Mao et al., HotNets 2016, section 3, who take
    sum 1 / r for the mean slowdown). No node may come or go: a task that starts over has lost its first wait.

    Args:
        world: what is simulated.
        state: now.
        since: seconds.
    """
    now, cost = state.clock[0], 0.0
    for task in range(state.marks[NEXT_ARRIVAL]):
        start = state.started[task]
        until = now if np.isnan(start) else min(start, now)
        begin = max(world.tasks.arrival[task], since)
        if until > begin:
            cost += (until - begin) / max(world.tasks.run_s[task], SHORT_S)
    return cost


@compiled
def see_queue(world: World, state: State, backfill: bool) -> tuple[Floats, Floats]:
    """Return the features of the tasks in a pool's queue, (q, T), in its order, and of the whole, (G,)."""
    columns = pool_columns(world, state)
    x = task_features(columns)
    return x, global_features(columns, x, 1.0, 1.0 if backfill else 0.0, 1, 0.0)


@compiled
def put_first(world: World, state: State, rule: int) -> int:
    """Return the place in the queue of the task that a rule puts first; of equals the one that arrived first."""
    best, lowest, oldest = 0, np.inf, len(state.queue)
    for at in range(state.marks[QUEUED]):
        task = state.queue[at]
        value = score(world, state, rule, task)
        if value < lowest or (value == lowest and task < oldest):
            best, lowest, oldest = at, value, task
    return best


@compiled
def see_nodes(
    world: World, state: State, fleet: Fleet, task: int, rows: Ints, added: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return features of a task that has to be placed, (T,), of the whole, (G,), of it on nodes, (n, P), and of those.

    Args:
        world: what is simulated.
        state: now.
        fleet: what never changes of the nodes.
        task: its row, in the queue no more.
        rows: (n,) nodes on which it fits.
        added: (n,) fragments that it adds there, in thousandths of GPUs.
    """
    free_gpu = state.gpu_free.sum() / (fleet.gpus * WHOLE_GPU)
    columns = forced_columns(world, fleet, task, free_gpu)
    x = task_features(columns)
    g = global_features(columns, x, free_gpu, 0.0, len(world.nodes.gpus), 0.0)
    p = pair_features(pair_columns(world, state, fleet, task, rows, added))
    return x[0], g, p, node_features(node_columns(world, state, fleet, rows))
