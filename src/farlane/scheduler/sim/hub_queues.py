"""Who waits, in which order: queues of jobs, and each job's tasks that run again; mirrors `hub.reactor.queues`."""

from __future__ import annotations

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_world import NONE, QUEUES_FIRST, QUEUES_LAST, HubState, HubWorld


@compiled
def enqueue(world: HubWorld, state: HubState, job: int) -> None:
    """Make sure a job with ready tasks waits, at the end of its queue unless it does already."""
    if state.in_queue[job] or state.queued[job] == 0 or not state.open_[job]:
        return
    queue = world.queue[job]
    last = state.queue_last[queue]
    if last == NONE:
        _add_queue(state, queue)
        state.queue_first[queue] = job
    else:
        state.job_next[last] = job
    state.job_prev[job], state.job_next[job] = last, NONE
    state.queue_last[queue] = job
    state.in_queue[job] = True


@compiled
def enqueue_again(world: HubWorld, state: HubState, job: int) -> None:
    """Put a job whose tasks came back before all others of its queue."""
    enqueue(world, state, job)
    queue = world.queue[job]
    if not state.in_queue[job] or state.queue_first[queue] == job:
        return
    before, after = state.job_prev[job], state.job_next[job]
    state.job_next[before] = after
    if after == NONE:
        state.queue_last[queue] = before
    else:
        state.job_prev[after] = before
    first = state.queue_first[queue]
    state.job_prev[first], state.job_next[job], state.job_prev[job] = job, first, NONE
    state.queue_first[queue] = job


@compiled
def leave(world: HubWorld, state: HubState, job: int) -> None:
    """Take a job out of its queue, if it is there."""
    if not state.in_queue[job]:
        return
    state.in_queue[job] = False
    queue = world.queue[job]
    before, after = state.job_prev[job], state.job_next[job]
    if before == NONE:
        state.queue_first[queue] = after
    else:
        state.job_next[before] = after
    if after == NONE:
        state.queue_last[queue] = before
    else:
        state.job_prev[after] = before
    if state.queue_first[queue] == NONE:
        _drop_queue(state, queue)


@compiled
def put_back(state: HubState, job: int, task: int) -> None:
    """Queue a task to run again, behind others of its job."""
    last = state.back_last[job]
    state.back_prev[task], state.back_next[task] = last, NONE
    if last == NONE:
        state.back_first[job] = task
    else:
        state.back_next[last] = task
    state.back_last[job] = task


@compiled
def take_back(state: HubState, job: int, task: int) -> None:
    """Take a task out of those that run again."""
    before, after = state.back_prev[task], state.back_next[task]
    if before == NONE:
        state.back_first[job] = after
    else:
        state.back_next[before] = after
    if after == NONE:
        state.back_last[job] = before
    else:
        state.back_prev[after] = before


@compiled
def _add_queue(state: HubState, queue: int) -> None:
    last = state.marks[QUEUES_LAST]
    state.queue_prev[queue], state.queue_next[queue] = last, NONE
    if last == NONE:
        state.marks[QUEUES_FIRST] = queue
    else:
        state.queue_next[last] = queue
    state.marks[QUEUES_LAST] = queue


@compiled
def _drop_queue(state: HubState, queue: int) -> None:
    before, after = state.queue_prev[queue], state.queue_next[queue]
    if before == NONE:
        state.marks[QUEUES_FIRST] = after
    else:
        state.queue_next[before] = after
    if after == NONE:
        state.marks[QUEUES_LAST] = before
    else:
        state.queue_prev[after] = before
