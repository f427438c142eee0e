"""The tasks that run, as a heap by their end: the one that ends first is on top."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.state import RUNNING, State
from farlane.scheduler.sim.world import Ints


@compiled
def push(state: State, task: int) -> None:
    """Take in a task whose end is known."""
    at, place = state.ends[task], state.marks[RUNNING]
    state.marks[RUNNING] += 1
    while place:
        parent = (place - 1) >> 1
        if state.heap_at[parent] <= at:
            break
        state.heap_at[place], state.heap_task[place] = state.heap_at[parent], state.heap_task[parent]
        place = parent
    state.heap_at[place], state.heap_task[place] = at, task


@compiled
def pop(state: State) -> int:
    """Take out the task that ends first."""
    first = state.heap_task[0]
    state.marks[RUNNING] -= 1
    size = state.marks[RUNNING]
    at, task, place = state.heap_at[size], state.heap_task[size], 0
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
    return int(first)


@compiled
def remove_node(state: State, node: int) -> Ints:
    """Take out everything that runs on a node, and return it, in the order in which it would have ended."""
    size = state.marks[RUNNING]
    kept, gone, lost = 0, 0, np.empty(size, np.int64)
    order = np.argsort(state.heap_at[:size], kind="mergesort")
    ats, tasks = state.heap_at[:size][order], state.heap_task[:size][order]
    for at, task in zip(ats, tasks):  # noqa: B905  # compiled loops know no `strict`
        if state.node[task] == node:
            lost[gone] = task
            gone += 1
        else:  # in rising order, which is a heap
            state.heap_at[kept], state.heap_task[kept] = at, task
            kept += 1
    state.marks[RUNNING] = kept
    return lost[:gone]
