"""The tasks that run: as a heap by their end, the one that ends first on top, and as a list on each node."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.state import ACTIVE, FIRST_ON, NEXT_ON, NOBODY, PREVIOUS_ON, READY, RUNNING, State
from farlane.scheduler.sim.world import Ints, World


@lean
def push(state: State, task: int) -> None:
    """Take in a task whose end is known."""
    place = state.marks[RUNNING]
    state.marks[RUNNING] += 1
    _rise(state, place, state.ends[task], task)
    node = state.node[task]
    after = state.at_node[node, FIRST_ON]
    state.at_node[node, FIRST_ON], state.counts[task, NEXT_ON], state.counts[task, PREVIOUS_ON] = (
        task,
        after,
        NOBODY,
    )
    if after != NOBODY:
        state.counts[after, PREVIOUS_ON] = task


@lean
def pop(state: State) -> int:
    """Take out the task that ends first."""
    first = state.heap_task[0]
    state.marks[RUNNING] -= 1
    size = state.marks[RUNNING]
    _sink(state, 0, size, state.heap_at[size], state.heap_task[size])
    _unlink(state, first)
    return int(first)


@compiled
def remove_node(world: World, state: State, node: int) -> Ints:
    """Take out all that runs on a node, gangs with their members elsewhere, in the order in which it would have ended.

    Their status is READY afterwards; what they hold is still theirs.
    """
    gone, lost = 0, np.empty(state.marks[RUNNING], np.int64)
    task = state.at_node[node, FIRST_ON]
    while task != NOBODY:
        after = state.counts[task, NEXT_ON]
        gang = world.tasks.gang[task]
        member = gang
        while member < len(world.tasks.gang) and world.tasks.gang[member] == gang:
            if state.status[member] == ACTIVE:
                state.status[member] = READY
                lost[gone] = member
                gone += 1
            member += 1
        task = after
    if gone == 0:
        return lost[:0]
    for at in range(gone):
        _unlink(state, lost[at])
    _drop_inactive(state)
    lost = lost[:gone]
    return lost[np.argsort(state.ends[lost], kind="mergesort")]


@lean
def _drop_inactive(state: State) -> None:
    """Keep of the heap what is ACTIVE, and make it a heap again."""
    kept = 0
    for at in range(state.marks[RUNNING]):
        task = state.heap_task[at]
        if state.status[task] == ACTIVE:
            state.heap_at[kept], state.heap_task[kept] = state.heap_at[at], task
            kept += 1
    state.marks[RUNNING] = kept
    for place in range(kept // 2 - 1, -1, -1):
        _sink(state, place, kept, state.heap_at[place], state.heap_task[place])


@lean
def _rise(state: State, place: int, at: float, task: int) -> None:
    while place:
        parent = (place - 1) >> 1
        if state.heap_at[parent] <= at:
            break
        state.heap_at[place], state.heap_task[place] = state.heap_at[parent], state.heap_task[parent]
        place = parent
    state.heap_at[place], state.heap_task[place] = at, task


@lean
def _sink(state: State, place: int, size: int, at: float, task: int) -> None:
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and state.heap_at[child + 1] < state.heap_at[child]:
            child += 1
        if at <= state.heap_at[child]:
            break
        state.heap_at[place], state.heap_task[place] = state.heap_at[child], state.heap_task[child]
        place = child
    state.heap_at[place], state.heap_task[place] = at, task


@lean
def _unlink(state: State, task: int) -> None:
    """Take a task off the list of its node."""
    after, before = state.counts[task, NEXT_ON], state.counts[task, PREVIOUS_ON]
    if before == NOBODY:
        state.at_node[state.node[task], FIRST_ON] = after
    else:
        state.counts[before, NEXT_ON] = after
    if after != NOBODY:
        state.counts[after, PREVIOUS_ON] = before
