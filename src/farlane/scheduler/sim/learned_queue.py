"""Whole runs of a queue under the learned policy, on one pool: the network's task head says who goes next."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned.features import TaskColumns
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.expecting import EXPECTED, WAITING, count_run, elapsed_s, expect
from farlane.scheduler.sim.expecting import RUNNING as RUNNING_NOW
from farlane.scheduler.sim.learned_forward import (
    encode,
    global_features,
    score_tasks,
    surroundings,
    task_features,
)
from farlane.scheduler.sim.queueing import start_at
from farlane.scheduler.sim.rules import expected_s
from farlane.scheduler.sim.state import QUEUED, RUNNING, State
from farlane.scheduler.sim.world import CPU, Floats, World


@compiled
def run_learned_queue(world: World, state: State, weights: Weights, backfill: bool) -> int:
    """Run a pool of processors to its end: `queueing.run_queue` with the network in the place of a rule.

    Args:
        world: one node, on which every task fits when it is empty.
        state: before its first event; changed.
        weights: of the network, float64; the highest score goes next, of equals the one that is first in the queue.
        backfill: whether short tasks may pass the chosen one while it does not fit.

    Returns:
        How many decisions were made.
    """
    decisions = 0
    while True:
        if state.marks[QUEUED] == 0:
            if not advance(world, state):
                return decisions
            continue
        at = 0
        if state.marks[QUEUED] > 1:
            at = int(np.argmax(queue_scores(world, state, weights, backfill)))
        decisions += 1
        start_at(world, state, at, backfill)


@compiled
def queue_scores(world: World, state: State, weights: Weights, backfill: bool) -> Floats:
    """Return the score of each task in the queue of a pool, in the queue's order: (q,)."""
    columns = pool_columns(world, state)
    x = task_features(columns)
    g = global_features(columns, x, 1.0, 1.0 if backfill else 0.0, 1, 0.0)
    if not np.any(weights.value != 0.0):  # the hidden layer says nothing, and costs most of the time
        return score_tasks(weights, x, g, x[:0], weights.bias)
    embedded = encode(weights, x)
    return score_tasks(weights, x, g, embedded, surroundings(weights, embedded, g))


@compiled
def pool_columns(world: World, state: State) -> TaskColumns:
    """Return the columns of the tasks in the queue of a pool, in the queue's order."""
    tasks, q = world.tasks, state.marks[QUEUED]
    queue, now = state.queue[:q], state.clock[0]
    total, free = float(world.nodes.capacity[0, CPU]), float(state.free[0, CPU])
    ends, released = releases(world, state)
    expected, opening, known, rank = np.empty(q), np.empty(q), np.empty(q), np.empty(q)
    for at in range(q):
        task = queue[at]
        expected[at] = expected_s(world, state, task)
        known[at] = 0.0 if np.isnan(state.recent[tasks.user[task], 0]) else 1.0
        lacking = tasks.demand[task, CPU] - free
        opening[at] = 0.0 if lacking <= 0 else ends[np.searchsorted(released, lacking)] - now
        rank[at] = at / q
    demand = tasks.demand[:, CPU][queue].astype(np.float64)
    made, owners = np.empty((EXPECTED, q)), _owners(world, state)
    crowd, beside, elapsed = np.empty(q), np.empty(q), np.empty(q)
    for at in range(q):
        task = queue[at]
        owner = tasks.user[task]
        expect(state, task, tasks.estimate_s[task], made, at)
        crowd[at], beside[at] = owners[WAITING, owner], owners[RUNNING_NOW, owner]
        elapsed[at] = elapsed_s(owners, owner)
    ones, zeros = np.ones(q), np.zeros(q)
    return TaskColumns(
        request_s=tasks.estimate_s[queue], expected_s=expected, wait_s=now - tasks.arrival[queue],
        share=demand / total, free=ones * (free / total), opening_s=opening, fits=(demand <= free).astype(np.float64),
        rank=rank, known=known, priority=zeros, slack_s=ones * np.inf, load_s=zeros, gang=ones, dependents=zeros,
        options=ones, spare_budget=ones * np.inf, gpus=zeros, gpu_share=zeros,
        usual=made[0], quick=made[1], owner_usual=made[2], owner_quick=made[3], asked_usual=made[4],
        asked_quick=made[5], runs=made[6], crowd=crowd, running=beside, elapsed_s=elapsed,
    )  # fmt: skip


@compiled
def _owners(world: World, state: State) -> Floats:
    """Return what each user has, (3, u), in the rows of `expecting`."""
    owners, now = np.zeros((3, len(state.served))), state.clock[0]
    for at in range(state.marks[QUEUED]):
        owners[WAITING, world.tasks.user[state.queue[at]]] += 1.0
    for at in range(state.marks[RUNNING]):
        task = state.heap_task[at]
        count_run(owners, world.tasks.user[task], now - state.started[task])
    return owners


@compiled
def releases(world: World, state: State) -> tuple[Floats, Floats]:
    """Return when running tasks are expected to end, rising, and what will have been released by then: (r,) each.

    By the history of their users, or by the run time that was asked for once that has passed.
    """
    tasks, r, now = world.tasks, state.marks[RUNNING], state.clock[0]
    ends, freed = np.empty(r), np.empty(r)
    for at in range(r):
        task = state.heap_task[at]
        end = state.started[task] + expected_s(world, state, task)
        if end <= now:
            end = max(now + 1.0, state.started[task] + tasks.estimate_s[task])
        ends[at], freed[at] = end, tasks.demand[task, CPU]
    order = np.argsort(ends)
    return ends[order], np.cumsum(freed[order])
