"""What happens by itself: tasks arrive, tasks end, nodes come and go. Exact, one event at a time."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.expecting import fold
from farlane.scheduler.sim.fetching import stop_fetching
from farlane.scheduler.sim.placing import release, touch
from farlane.scheduler.sim.running import pop, push, remove_node
from farlane.scheduler.sim.state import (
    BLOCKED,
    DONE,
    FINISHED,
    NEXT_ARRIVAL,
    NEXT_CHANGE,
    QUEUED,
    QUEUED_AT,
    READY,
    READY_AT,
    RESTARTED,
    RESTARTS,
    RUNNING,
    WASTED_S,
    State,
)
from farlane.scheduler.sim.world import NEVER, World

__all__ = ["advance", "enqueue", "next_at", "push"]


@lean
def next_at(world: World, state: State) -> float:
    """Return when the next event is, in seconds; inf where nothing will ever happen."""
    at = NEVER
    if state.marks[NEXT_ARRIVAL] < len(world.tasks.arrival):
        at = world.tasks.arrival[state.marks[NEXT_ARRIVAL]]
    if state.marks[RUNNING] and state.heap_at[0] < at:
        at = state.heap_at[0]
    if state.marks[NEXT_CHANGE] < len(world.changes.at) and world.changes.at[state.marks[NEXT_CHANGE]] < at:
        at = world.changes.at[state.marks[NEXT_CHANGE]]
    return at


@lean
def advance(world: World, state: State) -> bool:
    """Let the next event happen; False where there is none. Of several at one time arrivals go first, then ends."""
    at = next_at(world, state)
    if at == NEVER:
        return False
    state.clock[0] = max(state.clock[0], at)
    arriving = state.marks[NEXT_ARRIVAL]
    if arriving < len(world.tasks.arrival) and world.tasks.arrival[arriving] <= at:
        state.marks[NEXT_ARRIVAL] += 1
        if state.parents[arriving]:
            state.status[arriving] = BLOCKED
        else:
            enqueue(state, arriving)
    elif state.marks[RUNNING] and state.heap_at[0] <= at:
        _end(world, state, pop(state))
    else:
        _change(world, state)
    return True


@lean
def enqueue(state: State, task: int) -> None:
    """Put a task behind all others that are ready."""
    now = state.clock[0]
    state.status[task], state.times[task, QUEUED_AT] = READY, now
    if np.isnan(state.times[task, READY_AT]):
        state.times[task, READY_AT] = now
    state.queue[state.marks[QUEUED]] = task
    state.marks[QUEUED] += 1


@lean
def _end(world: World, state: State, task: int) -> None:
    tasks = world.tasks
    release(world, state, task)
    state.status[task] = DONE
    state.marks[FINISHED] += 1
    user = tasks.user[task]
    state.recent[user, 1] = state.recent[user, 0]
    state.recent[user, 0] = state.ends[task] - state.started[task]
    for each in range(3):
        fold(state.habits, state.habit_of[task, each], state.recent[user, 0])
    for at in range(tasks.first_child[task], tasks.first_child[task + 1]):
        child = tasks.children[at]
        state.parents[child] -= 1
        if state.parents[child] == 0 and state.status[child] == BLOCKED:
            enqueue(state, child)


@compiled
def _change(world: World, state: State) -> None:
    """Let a node come or go; what ran on one that goes starts over, gangs as a whole, at the end of the queue."""
    at = state.marks[NEXT_CHANGE]
    state.marks[NEXT_CHANGE] += 1
    node = world.changes.node[at]
    state.online[node] = world.changes.online[at]
    if state.online[node]:
        touch(state, node)
        return
    for task in remove_node(world, state, node):
        release(world, state, task)
        state.marks[RESTARTS] += 1
        state.counts[task, RESTARTED] += 1
        state.times[task, WASTED_S] += state.clock[0] - state.started[task]
        enqueue(state, task)
    stop_fetching(world, state, node)
