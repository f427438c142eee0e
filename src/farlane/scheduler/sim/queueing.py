"""Whole runs of a queue under a rule: the chosen task holds all others up until it fits, or lets short ones pass."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.placing import TIGHTEST, fits, place, possible, unqueue
from farlane.scheduler.sim.rules import lasting, score
from farlane.scheduler.sim.state import DROPPED, GONE, QUEUED, RUNNING, State
from farlane.scheduler.sim.world import NEVER, Floats, World

NO_NODE = -1


@compiled
def run_queue(world: World, state: State, rule: int, backfill: bool) -> int:
    """Run a world to its end.

    The task that a rule puts first starts on the first node where it fits. Where there is none it holds up all others
    until there is; with `backfill`, tasks that are expected to end before it could start may pass, oldest first, by the
    run times that are asked for (EASY: Mu'alem and Feitelson 2001, in the form of the tables of RLScheduler).

    Args:
        world: what is simulated.
        state: before its first event; changed.
        rule: see `Rule`.
        backfill: whether short tasks may pass.

    Returns:
        How many decisions were made.
    """
    decisions, known = 0, np.zeros(0)
    if lasting(rule):
        known = np.array([score(world, state, rule, task) for task in range(len(world.tasks.arrival))])
    while True:
        if state.marks[QUEUED] == 0:
            if not advance(world, state):
                return decisions
            continue
        first = _first(world, state, rule, known)
        decisions += 1
        start_at(world, state, first, backfill)


@compiled
def start_at(world: World, state: State, at: int, backfill: bool) -> None:
    """Start the task at a place in the queue as soon as it fits; give it up where it never will.

    Args:
        world: what is simulated.
        state: with that task queued; changed.
        at: the place.
        backfill: whether short tasks may pass meanwhile.
    """
    task = state.queue[at]
    node = first_fit(world, state, task)
    if node == NO_NODE:
        node = wait_for_room(world, state, task, backfill)
        at = place_in_queue(state, task)
    unqueue(state, at)
    if node == NO_NODE:
        state.status[task] = GONE
        state.marks[DROPPED] += 1
    else:
        place(world, state, task, node, TIGHTEST)


@compiled
def first_fit(world: World, state: State, task: int) -> int:
    """Return the first node on which a task can start now, NO_NODE for none."""
    for node in range(len(world.nodes.gpus)):
        if fits(world, state, task, node):
            return node
    return NO_NODE


@compiled
def _first(world: World, state: State, rule: int, known: Floats) -> int:
    """Return the place in the queue of the task that a rule puts first; of equals the one that arrived first."""
    best, lowest, oldest = 0, np.inf, len(state.queue)
    for at in range(state.marks[QUEUED]):
        task = state.queue[at]
        value = known[task] if len(known) else score(world, state, rule, task)
        if value < lowest or (value == lowest and task < oldest):
            best, lowest, oldest = at, value, task
    return best


@compiled
def wait_for_room(world: World, state: State, task: int, backfill: bool) -> int:
    """Let events happen until a task fits; returns where, NO_NODE where it never will."""
    starts_at = expected_start(world, state, task) if backfill else -NEVER
    while True:
        if backfill:
            _pass(world, state, task, starts_at)
        if not advance(world, state):
            return NO_NODE
        node = first_fit(world, state, task)
        if node != NO_NODE:
            return node


@compiled
def _pass(world: World, state: State, held: int, starts_at: float) -> None:
    """Start tasks, oldest first, that are expected to end before the one that is held up could start."""
    at = 0
    while at < state.marks[QUEUED]:
        task = state.queue[at]
        if task != held and state.clock[0] + world.tasks.estimate_s[task] < starts_at:
            node = first_fit(world, state, task)
            if node != NO_NODE:
                unqueue(state, at)
                place(world, state, task, node, TIGHTEST)
                continue
        at += 1


@compiled
def expected_start(world: World, state: State, task: int) -> float:
    """Return when a task will fit by the run times that are asked for, on the node where that is first, in seconds."""
    best = NEVER
    for node in range(len(world.nodes.gpus)):
        if state.online[node] and possible(world, task, node):
            best = min(best, _expected_start_on(world, state, task, node))
    return best


@compiled
def _expected_start_on(world: World, state: State, task: int, node: int) -> float:
    tasks = world.tasks
    size = state.marks[RUNNING]
    ends, rows, count = np.empty(size), np.empty(size, np.int64), 0
    for at in range(size):
        other = state.heap_task[at]
        if state.node[other] == node:
            ends[count], rows[count] = state.started[other] + tasks.estimate_s[other], other
            count += 1
    free = state.free[node].copy()
    start = state.clock[0]
    for at in np.argsort(ends[:count], kind="mergesort"):
        other = rows[at]
        start = ends[at]
        enough = True
        for column in range(3):
            free[column] += tasks.demand[other, column]
            enough &= free[column] >= tasks.demand[task, column]
        if enough and tasks.gpus[task] == 0:
            return float(start)
    return float(start)


@compiled
def place_in_queue(state: State, task: int) -> int:
    """Return where in the queue a task is, -1 where it is not there."""
    for at in range(state.marks[QUEUED]):
        if state.queue[at] == task:
            return at
    return -1
