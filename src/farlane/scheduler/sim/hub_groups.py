"""Groups of like tasks that wait, and who goes first; mirrors `hub.reactor.viewing` and `scheduler.ordering`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_leases import run_time_s
from farlane.scheduler.sim.hub_world import MAX_LEFT_NODES, NONE, QUEUES_FIRST, HubOrder, HubState, HubWorld
from farlane.scheduler.sim.world import Floats, Ints

WINDOW = 64
"""As `farlane.hub.reactor.queues` has it."""
MAX_PRIORITY, AGEING_S, BAND_POINTS = 100.0, 60.0, 10
"""As `farlane.scheduler.ordering` has them."""
SHORTEST = int(HubOrder.SHORTEST)


class Groups(NamedTuple):
    """g groups in the order in which the view would have them.

    job, count: (g,); sample: (g,) a task of them that runs again, NONE for fresh ones; run_s: (g,) expected, nan where
    nothing tells; bound_s: (g,) that, or the time limit; of: (t,) the group of each task that runs again.
    """

    job: Ints
    count: Ints  # type: ignore[assignment]  # hides tuple.count, which nobody asks groups for
    sample: Ints
    run_s: Floats
    bound_s: Floats
    of: Ints


@compiled
def groups_of(world: HubWorld, state: HubState, of: Ints) -> Groups:
    """Return the groups of this moment. of: (t,) room for which group each task is in."""
    most = _most_groups(world, state)
    job, count, sample = np.empty(most, np.int64), np.zeros(most, np.int64), np.full(most, NONE, np.int64)
    found, queue = 0, state.marks[QUEUES_FIRST]
    while queue != NONE:
        waits, seen = state.queue_first[queue], 0
        while waits != NONE and seen < WINDOW:
            first = found
            task = state.back_first[waits]
            while task != NONE:
                at = first
                while at < found and not _alike(state, sample[at], task):
                    at += 1
                if at == found:
                    job[found], sample[found] = waits, task
                    found += 1
                count[at] += 1
                of[task] = at
                task = state.back_next[task]
            if state.fresh[waits] < state.total[waits]:
                job[found], count[found] = waits, state.total[waits] - state.fresh[waits]
                found += 1
            waits = state.job_next[waits]
            seen += 1
        queue = state.queue_next[queue]
    run_s, bound_s = np.empty(found), np.empty(found)
    for at in range(found):
        run_s[at] = run_time_s(world, state, job[at])
        bound_s[at] = world.timeout_s[job[at]] if np.isnan(run_s[at]) else run_s[at]
    return Groups(job[:found], count[:found], sample[:found], run_s, bound_s, of)


@compiled
def ordered(world: HubWorld, state: HubState, groups: Groups, order: int) -> Ints:
    """Return the rows of groups, the one to serve first in front."""
    g = len(groups.job)
    since, deadline, work, points = np.empty(g), np.empty(g), np.zeros(g), np.empty(g)
    largest = largest_of(world, state)
    for at in range(g):
        job = groups.job[at]
        since[at], deadline[at] = state.since[job], world.deadline[job]
        waited = max(0.0, state.clock[0] - state.since[job])
        point = int(min(MAX_PRIORITY, world.priority[job] + waited / AGEING_S))
        if order == SHORTEST:
            points[at] = -(point // BAND_POINTS)
            work[at] = groups.bound_s[at] * _share(world, largest, world.cls[job])
        else:
            points[at] = -point
    rows = np.argsort(since, kind="mergesort")
    rows = rows[np.argsort(deadline[rows], kind="mergesort")]
    if order == SHORTEST:
        rows = rows[np.argsort(work[rows], kind="mergesort")]
    return rows[np.argsort(points[rows], kind="mergesort")]


@compiled
def largest_of(world: HubWorld, state: HubState) -> Ints:
    """Return the greatest capacity of each resource on any node that has ever come, (r,); 0 of what none has."""
    n, r = world.capacity.shape
    largest = np.zeros(r, np.int64)
    for node in range(n):
        if state.known[node]:
            for column in range(r):
                largest[column] = max(largest[column], world.capacity[node, column])
    return largest


@compiled
def known_option(world: HubWorld, largest: Ints, cls: int, option: int) -> bool:
    """Tell whether an alternative takes a kind of GPU that some node so far has had, or none."""
    known = True
    for column in range(3, len(largest)):
        known &= world.demand[cls, option, column] == 0 or largest[column] > 0
    return bool(known)


@compiled
def _share(world: HubWorld, largest: Ints, cls: int) -> float:
    """Return the least dominant share of a class's alternatives that some node has."""
    least = np.inf
    for option in range(world.options[cls]):
        if not known_option(world, largest, cls, option):
            continue
        share = 0.0
        for column in range(len(largest)):
            amount = world.demand[cls, option, column]
            if amount:
                share = max(share, amount / max(1, largest[column]))
        least = min(least, share)
    return float(least)


@compiled
def _alike(state: HubState, one: int, other: int) -> bool:
    """Tell whether two tasks that run again avoid the same nodes."""
    for place in range(MAX_LEFT_NODES):
        if state.avoid[one, place] != state.avoid[other, place]:
            return False
        if state.avoid[one, place] == NONE:
            return True
    return True


@compiled
def _most_groups(world: HubWorld, state: HubState) -> int:
    """Return how many groups there are at most."""
    most, queue = 0, state.marks[QUEUES_FIRST]
    while queue != NONE:
        job, seen = state.queue_first[queue], 0
        while job != NONE and seen < WINDOW:
            task = state.back_first[job]
            while task != NONE:
                most += 1
                task = state.back_next[task]
            most += 1
            seen += 1
            job = state.job_next[job]
        queue = state.queue_next[queue]
    return most
