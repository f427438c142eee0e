"""The hub's own rules on paper: the same queues, groups, backfill, ageing and queue-ahead, compiled.

What `farlane.hub.reactor` and `farlane.scheduler.heuristics` do, event by event, so that a history
runs compiled; `farlane.lab.agreement` compares both. Gangs, models, budgets and quotas are not mirrored.
"""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_backfill import MAX_RESERVATIONS, no_releases, releases, reserve
from farlane.scheduler.sim.hub_board import HELD, TAKEN, Board, candidates_of, new_board, room_of, take
from farlane.scheduler.sim.hub_groups import Groups, groups_of, ordered
from farlane.scheduler.sim.hub_leases import (
    end_attempt,
    finish_task,
    grant,
    job_of,
    lose_all,
    pop_end,
    release,
    start_ready,
)
from farlane.scheduler.sim.hub_queues import enqueue, leave, take_back
from farlane.scheduler.sim.hub_sharing import shared_ahead, shared_now
from farlane.scheduler.sim.hub_world import (
    HEAP,
    NONE,
    QUEUED,
    QUEUES_FIRST,
    ROUNDS,
    HubState,
    HubWorld,
)
from farlane.scheduler.sim.world import Bools, Ints

BATCHES, ENDINGS, CHANGES = range(3)
"""Places in `HubState.at`."""
BATCH, STOP, DEADLINE, END, CHANGE, ROUND, NOTHING = range(7)
"""Kinds of events, in the order in which those of one moment happen."""


@compiled
def run_hub(world: HubWorld, state: HubState, order: int, choice: int, round_s: float) -> None:
    """Run a history to its end.

    Args:
        world: what happened.
        state: before its first event; changed.
        order: see `HubOrder`.
        choice: see `HubChoice`.
        round_s: seconds until another round while work waits and nothing happens; inf: none.
    """
    of = np.full(len(world.run_s), NONE, np.int64)
    while True:
        kind, now = _next(world, state)
        if kind == NOTHING:
            return
        state.clock[0] = now
        while True:
            _happen(world, state, kind)
            kind, at = _next(world, state)
            if kind == NOTHING or at != now:
                break
        if state.marks[QUEUES_FIRST] != NONE:
            state.marks[ROUNDS] += 1
            _decide(world, state, order, choice, of)
        if (
            state.marks[QUEUES_FIRST] != NONE
            and _next(world, state)[0] != NOTHING
            and state.clock[1] == np.inf
        ):
            state.clock[1] = state.clock[0] + round_s


@compiled
def _next(world: HubWorld, state: HubState) -> tuple[int, float]:
    """Return the kind and time of the next event."""
    kind, at = NOTHING, np.inf
    if state.at[BATCHES] < len(world.batch_at):
        kind, at = BATCH, world.batch_at[state.at[BATCHES]]
    if state.at[ENDINGS] < len(world.end_at):
        ending = STOP if world.end_kind[state.at[ENDINGS]] == 0 else DEADLINE
        if world.end_at[state.at[ENDINGS]] < at:
            kind, at = ending, world.end_at[state.at[ENDINGS]]
    if state.marks[HEAP] and state.heap_at[0] < at:
        kind, at = END, state.heap_at[0]
    if state.at[CHANGES] < len(world.change_at) and world.change_at[state.at[CHANGES]] < at:
        kind, at = CHANGE, world.change_at[state.at[CHANGES]]
    if state.clock[1] < at:
        kind, at = ROUND, state.clock[1]
    return kind, at


@compiled
def _happen(world: HubWorld, state: HubState, kind: int) -> None:
    if kind == BATCH:
        state.at[BATCHES] += 1
        _add(world, state, state.at[BATCHES] - 1)
    elif kind in (STOP, DEADLINE):
        job = world.end_job[state.at[ENDINGS]]
        state.at[ENDINGS] += 1
        if state.open_[job]:
            _end_early(world, state, job)
            if kind == STOP:
                state.open_[job] = False
    elif kind == END:
        task, attempt = pop_end(state)
        if state.running[task] and state.attempt[task] == attempt:
            end_attempt(world, state, task)
    elif kind == CHANGE:
        state.at[CHANGES] += 1
        _change(world, state, state.at[CHANGES] - 1)
    else:
        state.clock[1] = np.inf


@compiled
def _add(world: HubWorld, state: HubState, batch: int) -> None:
    """Add a batch of tasks to a job, and open it with its first."""
    job = world.batch_job[batch]
    if state.came[job] == 0:
        state.open_[job] = True
        state.since[job] = state.clock[0]
    elif not state.open_[job]:
        return
    if state.queued[job] == 0:
        state.since[job] = state.clock[0]
    state.came[job] += 1
    state.total[job] += world.batch_count[batch]
    state.queued[job] += world.batch_count[batch]
    enqueue(world, state, job)


@compiled
def _change(world: HubWorld, state: HubState, change: int) -> None:
    node = world.change_node[change]
    if world.change_online[change]:
        if not state.known[node]:
            state.known[node] = True
            state.free[node, :] = world.capacity[node]
        state.spare[node, :] = world.capacity[node]
        state.online[node] = True
    elif state.online[node]:
        state.online[node] = False
        lose_all(world, state, node)


@compiled
def _end_early(world: HubWorld, state: HubState, job: int) -> None:
    """End every unfinished task of a job: what runs is revoked, what waits never starts."""
    slot = state.pair_first[job]
    while slot != NONE:
        node = state.pair_node[slot]
        slot = state.pair_next[slot]
        _drop_waiting(world, state, node, job)
        task = state.lease_first[node]
        while task != NONE:
            following = state.lease_next[task]
            if job_of(world, task) == job:
                release(world, state, job, task)
                finish_task(world, state, job, task, 0)
            task = following
        start_ready(world, state, node)
    leave(world, state, job)
    first = world.first_task[job]
    for task in range(first, first + state.total[job]):
        if state.status[task] == QUEUED:
            finish_task(world, state, job, task, 0)
    state.queued[job] = 0
    state.fresh[job] = state.total[job]
    state.back_first[job] = state.back_last[job] = NONE


@compiled
def _drop_waiting(world: HubWorld, state: HubState, node: int, job: int) -> None:
    """Take a job's leases out of what waits on a node."""
    before, task = NONE, state.wait_first[node]
    while task != NONE:
        following = state.wait_next[task]
        if job_of(world, task) == job:
            if before == NONE:
                state.wait_first[node] = following
            else:
                state.wait_next[before] = following
            if following == NONE:
                state.wait_last[node] = before
        else:
            before = task
        task = following


@compiled
def _decide(world: HubWorld, state: HubState, order: int, choice: int, of: Ints) -> None:
    """Make one round of scheduling, and grant its leases."""
    groups = groups_of(world, state, of)
    board = new_board(world, state, groups)
    freed, known = no_releases(world), NONE
    for row in ordered(world, state, groups, order):
        candidates = candidates_of(world, state, groups, row)
        if not candidates.any():
            continue
        wanted = groups.count[row]
        placed = _place(world, state, board, groups, row, candidates, choice)
        if placed < wanted:
            board.contended[:] = board.contended | candidates
        if placed == 0 and board.marks[HELD] < MAX_RESERVATIONS:
            if known < board.marks[TAKEN]:
                freed, known = releases(world, state, board, groups), board.marks[TAKEN]
            reserve(world, state, board, groups, row, candidates, freed)
    _grant_all(world, state, board, groups)


@compiled
def _place(
    world: HubWorld, state: HubState, board: Board, groups: Groups, row: int, candidates: Bools, choice: int
) -> int:
    """Place as many tasks of a group as there is room for; returns how many."""
    cls, wanted, placed = world.cls[groups.job[row]], groups.count[row], 0
    for _ in range(world.options[cls]):
        room = room_of(world, state, board, groups, row, candidates)
        left = wanted - placed
        counts = shared_now(world, state, board, room, cls, left, choice)
        rest = left - counts.sum()
        if rest > 0 and room.more.any():
            counts = counts + shared_ahead(room.more, room.queue, rest)
            rest = left - counts.sum()
        for option in range(world.options[cls]):
            for node in np.flatnonzero(counts):
                if room.option[node] == option:
                    take(world, state, board, groups, row, option, int(node), int(counts[node]))
        placed += left - rest
        if left == rest or placed == wanted:
            break
    return int(placed)


@compiled
def _grant_all(world: HubWorld, state: HubState, board: Board, groups: Groups) -> None:
    """Turn what was placed into leases, in order; nodes start what fits."""
    for at in range(board.marks[TAKEN]):
        row, node = board.taken_group[at], board.taken_node[at]
        job, option = groups.job[row], board.taken_option[at]
        if groups.sample[row] == NONE:
            for _ in range(board.taken_count[at]):
                grant(world, state, job, world.first_task[job] + state.fresh[job], node, option)
                state.fresh[job] += 1
        else:
            left, task = board.taken_count[at], state.back_first[job]
            while left:
                following = state.back_next[task]
                if groups.of[task] == row:
                    take_back(state, job, task)
                    grant(world, state, job, task, node, option)
                    left -= 1
                task = following
        start_ready(world, state, node)
        if state.queued[job] == 0:
            leave(world, state, job)
