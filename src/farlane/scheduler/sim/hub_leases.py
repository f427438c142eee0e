"""Leases of the simulated hub: granted, started on their node in order, ended, lost; mirrors `hub.reactor.leasing`."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_queues import enqueue_again, put_back
from farlane.scheduler.sim.hub_world import (
    ENDED,
    FREE,
    HEAP,
    LEASED,
    LEASES,
    MAX_LEFT_NODES,
    NONE,
    PAIRS,
    QUEUED,
    SEQUENCE,
    HubState,
    HubWorld,
)

MAX_FREE_ATTEMPTS = 10
"""As `farlane.domain.failures` has it."""


@compiled
def grant(world: HubWorld, state: HubState, job: int, task: int, node: int, option: int) -> None:
    """Lease a task that waits, and start it there if it fits behind those that wait there."""
    demand = world.demand[world.cls[job], option]
    state.status[task], state.node[task], state.option[task] = LEASED, node, option
    state.attempt[task] += 1
    state.queued[job] -= 1
    state.granted[task], state.started[task] = state.clock[0], np.nan
    state.marks[LEASES] += 1
    for column in range(len(demand)):
        state.free[node, column] -= demand[column]
    _count(state, job, node, option)
    last = state.lease_last[node]
    state.lease_prev[task], state.lease_next[task] = last, NONE
    if last == NONE:
        state.lease_first[node] = task
    else:
        state.lease_next[last] = task
    state.lease_last[node] = task
    waiting = state.wait_last[node]
    state.wait_next[task] = NONE
    if waiting == NONE:
        state.wait_first[node] = task
    else:
        state.wait_next[waiting] = task
    state.wait_last[node] = task


@compiled
def start_ready(world: HubWorld, state: HubState, node: int) -> None:
    """Start what waits on a node, in order, as far as it fits."""
    while state.wait_first[node] != NONE:
        task = state.wait_first[node]
        job = job_of(world, task)
        demand = world.demand[world.cls[job], state.option[task]]
        for column in range(len(demand)):
            if demand[column] > state.spare[node, column]:
                return
        state.wait_first[node] = state.wait_next[task]
        if state.wait_first[node] == NONE:
            state.wait_last[node] = NONE
        for column in range(len(demand)):
            state.spare[node, column] -= demand[column]
        state.started[task], state.running[task] = state.clock[0], True
        lasts = world.run_s[task]
        if _fails(world, state, task):
            lasts = world.mishap_s[world.first_mishap[task] + state.mishaps[task]]
        if lasts < np.inf:
            push_end(state, state.clock[0] + lasts, task)


@compiled
def end_attempt(world: HubWorld, state: HubState, task: int) -> None:
    """Let a node report the end of an attempt that runs."""
    node, job = state.node[task], job_of(world, task)
    fails = _fails(world, state, task)
    release(world, state, job, task)
    if fails:
        state.mishaps[task] += 1
        if state.counted[task] < world.retries[job]:
            state.counted[task] += 1
            run_again(world, state, job, task, node)
            enqueue_again(world, state, job)
        else:
            finish_task(world, state, job, task, 0)
    else:
        learn(world, state, job, task)
        finish_task(world, state, job, task, 1)
    start_ready(world, state, node)


@compiled
def lose_all(world: HubWorld, state: HubState, node: int) -> None:
    """Take all leases of a node that goes: their tasks run again elsewhere, job by job in the order of their leases."""
    while state.lease_first[node] != NONE:
        job = job_of(world, state.lease_first[node])
        task, again = state.lease_first[node], False
        while task != NONE:
            following = state.lease_next[task]
            if job_of(world, task) == job:
                release(world, state, job, task)
                if state.freed[task] < MAX_FREE_ATTEMPTS:
                    state.freed[task] += 1
                    run_again(world, state, job, task, node)
                    again = True
                else:
                    finish_task(world, state, job, task, 0)
            task = following
        if again:
            enqueue_again(world, state, job)
    state.wait_first[node] = state.wait_last[node] = NONE


@compiled
def release(world: HubWorld, state: HubState, job: int, task: int) -> None:
    """Give back what a lease holds, whether it runs or waits on its node."""
    node, option = state.node[task], state.option[task]
    demand = world.demand[world.cls[job], option]
    for column in range(len(demand)):
        state.free[node, column] += demand[column]
        if state.running[task]:
            state.spare[node, column] += demand[column]
    state.running[task] = False
    before, after = state.lease_prev[task], state.lease_next[task]
    if before == NONE:
        state.lease_first[node] = after
    else:
        state.lease_next[before] = after
    if after == NONE:
        state.lease_last[node] = before
    else:
        state.lease_prev[after] = before
    _uncount(state, job, node, option)


@compiled
def run_again(world: HubWorld, state: HubState, job: int, task: int, node: int) -> None:
    """Queue a task whose attempt failed, and remember where."""
    state.status[task] = QUEUED
    state.queued[job] += 1
    put_back(state, job, task)
    avoid = state.avoid[task]
    at = 0
    while at < MAX_LEFT_NODES and avoid[at] != NONE and avoid[at] < node:
        at += 1
    if at == MAX_LEFT_NODES or avoid[at] == node:
        return
    for place in range(MAX_LEFT_NODES - 1, at, -1):
        avoid[place] = avoid[place - 1]
    avoid[at] = node


@compiled
def finish_task(world: HubWorld, state: HubState, job: int, task: int, done: int) -> None:
    """Write down a task's end; its job is over with its last."""
    state.status[task], state.ended[task], state.done[task] = ENDED, state.clock[0], done
    state.over[job] += 1
    if state.over[job] == state.total[job] and state.came[job] == world.batches[job]:
        state.open_[job] = False


@compiled
def learn(world: HubWorld, state: HubState, job: int, task: int) -> None:
    """Fold a run time into its profile; mirrors `hub.reactor.completion`."""
    profile = world.profile[job]
    if profile == NONE:
        return
    seen = max(1, int((state.clock[0] - state.granted[task]) * 1000) + 1)
    lease_ms = max(0, min(max(1, world.lease_ms[task]), seen))
    run_ms = float(lease_ms)
    if lease_ms <= 1:
        run_ms = min(1.0, max(0.1, world.cpu_us[task] / 1000))
    if state.learnt_count[profile] == 0:
        state.learnt[profile] = run_ms
    else:
        state.learnt[profile] += (run_ms - state.learnt[profile]) * (1 - (1 - 0.2) ** 1)
    state.learnt_count[profile] += 1


@compiled
def run_time_s(world: HubWorld, state: HubState, job: int) -> float:
    """Return a job's run time as it is expected: learnt, else declared, else nan."""
    profile = world.profile[job]
    if profile != NONE and state.learnt_count[profile]:
        return float(max(state.learnt[profile], 0.05) / 1000)
    return float(world.estimate_s[job])


@compiled
def job_of(world: HubWorld, task: int) -> int:
    """Return the job of a task."""
    low, high = 0, len(world.first_task) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if world.first_task[middle] <= task:
            low = middle
        else:
            high = middle
    return low


@compiled
def push_end(state: HubState, at: float, task: int) -> None:
    """Put an end into the heap: by time, then in the order of starting."""
    order = state.marks[SEQUENCE]
    state.marks[SEQUENCE] += 1
    place = state.marks[HEAP]
    state.marks[HEAP] += 1
    while place:
        parent = (place - 1) >> 1
        if state.heap_at[parent] <= at:
            break
        _move(state, parent, place)
        place = parent
    state.heap_at[place], state.heap_order[place] = at, order
    state.heap_task[place], state.heap_attempt[place] = task, state.attempt[task]


@compiled
def pop_end(state: HubState) -> tuple[int, int]:
    """Take the first end out of the heap; returns its task and attempt."""
    first, attempt = state.heap_task[0], state.heap_attempt[0]
    state.marks[HEAP] -= 1
    size = state.marks[HEAP]
    at, order = state.heap_at[size], state.heap_order[size]
    task, own = state.heap_task[size], state.heap_attempt[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _before(state, child + 1, child):
            child += 1
        if at < state.heap_at[child] or (at == state.heap_at[child] and order < state.heap_order[child]):
            break
        _move(state, child, place)
        place = child
    state.heap_at[place], state.heap_order[place] = at, order
    state.heap_task[place], state.heap_attempt[place] = task, own
    return first, attempt


@compiled
def _before(state: HubState, one: int, other: int) -> bool:
    if state.heap_at[one] == state.heap_at[other]:
        return bool(state.heap_order[one] < state.heap_order[other])
    return bool(state.heap_at[one] < state.heap_at[other])


@compiled
def _move(state: HubState, source: int, target: int) -> None:
    state.heap_at[target], state.heap_order[target] = state.heap_at[source], state.heap_order[source]
    state.heap_task[target], state.heap_attempt[target] = state.heap_task[source], state.heap_attempt[source]


@compiled
def _fails(world: HubWorld, state: HubState, task: int) -> bool:
    return bool(state.mishaps[task] < world.first_mishap[task + 1] - world.first_mishap[task])


@compiled
def _count(state: HubState, job: int, node: int, option: int) -> None:
    """Count a lease of a job on a node."""
    last, slot = NONE, state.pair_first[job]
    while slot != NONE and state.pair_node[slot] != node:
        last, slot = slot, state.pair_next[slot]
    if slot == NONE:
        slot = state.marks[FREE]
        state.marks[FREE] = state.pair_next[slot]
        state.marks[PAIRS] = max(state.marks[PAIRS], slot + 1)
        state.pair_job[slot], state.pair_node[slot], state.pair_next[slot] = job, node, NONE
        state.pair_count[slot, :] = 0
        if last == NONE:
            state.pair_first[job] = slot
        else:
            state.pair_next[last] = slot
    state.pair_count[slot, option] += 1
    state.pair_last[slot] = state.clock[0]


@compiled
def _uncount(state: HubState, job: int, node: int, option: int) -> None:
    last, slot = NONE, state.pair_first[job]
    while state.pair_node[slot] != node:
        last, slot = slot, state.pair_next[slot]
    state.pair_count[slot, option] -= 1
    if state.pair_count[slot].sum() == 0:
        if last == NONE:
            state.pair_first[job] = state.pair_next[slot]
        else:
            state.pair_next[last] = state.pair_next[slot]
        state.pair_job[slot], state.pair_next[slot] = NONE, state.marks[FREE]
        state.marks[FREE] = slot
