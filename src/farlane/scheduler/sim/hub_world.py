"""What the hub's own rules are simulated on: nodes, classes of like requirements, jobs and tasks as columns."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.world import Bools, Floats, Ints

FREE, PAIRS, SEQUENCE, ROUNDS, LEASES, QUEUES_FIRST, QUEUES_LAST, HEAP = range(8)
"""Places in `HubState.marks`: the first free slot of pairs, how many slots were ever used, and counters."""
QUEUED, LEASED, ENDED = range(3)
"""Values of `HubState.status`."""
NONE = -1
MAX_LEFT_NODES = 16
"""A task avoids at most so many nodes where it has failed."""


class HubOrder(IntEnum):
    """Who goes first; see `farlane.scheduler.ordering`."""

    FIFO = 0
    SHORTEST = 1


class HubChoice(IntEnum):
    """Where it goes; see `farlane.scheduler.sharing`."""

    CHEAPEST = 0
    TIGHTEST = 1
    EMPTIEST = 2


class HubWorld(NamedTuple):
    """Columns of everything that happens.

    n nodes in the order in which they first come, r resources (3 and one for each kind of GPU), c classes of like
    requirements with up to k alternatives of their demand, j jobs, t tasks, b batches, e changes.

    capacity: (n, r); window: (n,) seconds of work a node should have at hand; options: (c,) alternatives; demand: (c,
    k, r); eligible: (c, n); allowed: (c, k, n); price: (c, k, n) nano-credits a second.
    cls, priority: (j,); deadline, stop_at: (j,) inf for none; timeout_s: (j,); estimate_s: (j,) nan for none; profile:
    (j,) NONE for none; queue: (j,) which waiting queue; retries: (j,); batches: (j,) how many it comes in; first_task:
    (j + 1,).
    run_s, lease_ms, cpu_us: (t,) of a task's last attempt; first_mishap: (t + 1,) into mishap_s, seconds of attempts
    that fail before.
    batch_at, batch_job, batch_count: (b,) by time; end_at, end_job, end_kind: stops (0) and deadlines (1) by time;
    change_at, change_node, change_online: (e,) by time. sizes: (3,) numbers of profiles, of queues, of mishaps.
    """

    capacity: Ints
    window: Floats
    options: Ints
    demand: Ints
    eligible: Bools
    allowed: Bools
    price: Floats
    cls: Ints
    priority: Ints
    deadline: Floats
    stop_at: Floats
    timeout_s: Floats
    estimate_s: Floats
    profile: Ints
    queue: Ints
    retries: Ints
    batches: Ints
    first_task: Ints
    run_s: Floats
    lease_ms: Ints
    cpu_us: Ints
    first_mishap: Ints
    mishap_s: Floats
    batch_at: Floats
    batch_job: Ints
    batch_count: Ints
    end_at: Floats
    end_job: Ints
    end_kind: Ints
    change_at: Floats
    change_node: Ints
    change_online: Bools
    sizes: Ints


class HubState(NamedTuple):
    """Arrays of a run, changed in place.

    clock: (2,) now, and when the next round is planned, inf for never; marks: counters; at: (5,) the next batch, end
    and change.
    Nodes: free (n, r) less all leases; spare (n, r) less what runs; online, known (n,); lease_first, lease_last (n,),
    lease_next, lease_prev (t,): a node's leases, oldest first; wait_first, wait_last (n,), wait_next (t,): those that
    wait there.
    Jobs: total, fresh, queued, over (j,) tasks added, first never leased, that wait, that ended; came (j,) batches;
    open_ (j,); since (j,); back_first, back_last (j,), back_next, back_prev (t,): tasks to run again.
    Queues: job_next, job_prev (j,), queue_first, queue_last, queue_next, queue_prev (q,), in_queue (j,).
    Pairs of a job and a node that run something: pair_* by slot, at most one for each lease.
    Tasks: status, node, option, attempt, freed, counted, mishaps (t,); avoid (t, MAX_LEFT_NODES) rising; started,
    ended, granted, done, running (t,). heap_*: ends to come. learnt, learnt_count: by profile.
    """

    clock: Floats
    marks: Ints
    at: Ints
    free: Ints
    spare: Ints
    online: Bools
    known: Bools
    lease_first: Ints
    lease_last: Ints
    lease_next: Ints
    lease_prev: Ints
    wait_first: Ints
    wait_last: Ints
    wait_next: Ints
    total: Ints
    fresh: Ints
    queued: Ints
    over: Ints
    came: Ints
    open_: Bools
    since: Floats
    back_first: Ints
    back_last: Ints
    back_next: Ints
    back_prev: Ints
    job_next: Ints
    job_prev: Ints
    in_queue: Bools
    queue_first: Ints
    queue_last: Ints
    queue_next: Ints
    queue_prev: Ints
    pair_job: Ints
    pair_node: Ints
    pair_count: Ints
    pair_last: Floats
    pair_next: Ints
    pair_first: Ints
    status: Ints
    node: Ints
    option: Ints
    attempt: Ints
    freed: Ints
    counted: Ints
    mishaps: Ints
    avoid: Ints
    started: Floats
    ended: Floats
    granted: Floats
    done: Ints
    running: Bools
    heap_at: Floats
    heap_order: Ints
    heap_task: Ints
    heap_attempt: Ints
    learnt: Floats
    learnt_count: Ints


def new_hub_state(world: HubWorld) -> HubState:
    """Return the state before the first event."""
    n, r = world.capacity.shape
    j, t, k = len(world.cls), len(world.run_s), world.demand.shape[1]
    profiles, queues, mishaps = (int(size) for size in world.sizes)
    ends = t * 12 + mishaps + 16  # each task is granted at most so often: it fails when it was lost ten times
    pairs = t + 1
    return HubState(
        clock=np.array([0.0, np.inf]), marks=_marks(), at=np.zeros(5, np.int64), free=np.zeros((n, r), np.int64),
        spare=np.zeros((n, r), np.int64), online=np.zeros(n, np.bool_), known=np.zeros(n, np.bool_),
        lease_first=_none(n), lease_last=_none(n), lease_next=_none(t), lease_prev=_none(t), wait_first=_none(n),
        wait_last=_none(n), wait_next=_none(t), total=_zeros(j), fresh=_zeros(j), queued=_zeros(j), over=_zeros(j),
        came=_zeros(j), open_=np.zeros(j, np.bool_), since=np.zeros(j), back_first=_none(j), back_last=_none(j),
        back_next=_none(t), back_prev=_none(t), job_next=_none(j), job_prev=_none(j), in_queue=np.zeros(j, np.bool_),
        queue_first=_none(queues), queue_last=_none(queues), queue_next=_none(queues), queue_prev=_none(queues),
        pair_job=_none(pairs), pair_node=_none(pairs), pair_count=np.zeros((pairs, k), np.int64),
        pair_last=np.zeros(pairs), pair_next=_slots(pairs), pair_first=_none(j), status=_zeros(t), node=_none(t),
        option=_zeros(t), attempt=_zeros(t), freed=_zeros(t), counted=_zeros(t), mishaps=_zeros(t),
        avoid=np.full((t, MAX_LEFT_NODES), NONE, np.int64), started=np.full(t, np.nan), ended=np.full(t, np.nan),
        granted=np.zeros(t), done=_zeros(t), running=np.zeros(t, np.bool_), heap_at=np.zeros(ends),
        heap_order=_zeros(ends), heap_task=_zeros(ends), heap_attempt=_zeros(ends), learnt=np.zeros(profiles),
        learnt_count=_zeros(profiles),
    )  # fmt: skip


def _marks() -> Ints:
    marks = np.zeros(8, np.int64)
    marks[QUEUES_FIRST] = marks[QUEUES_LAST] = NONE
    return marks


def _none(size: int) -> Ints:
    return np.full(size, NONE, np.int64)


def _zeros(size: int) -> Ints:
    return np.zeros(size, np.int64)


def _slots(size: int) -> Ints:
    """Return a chain through all slots of pairs: all are free."""
    chain = np.arange(1, size + 1)
    chain[-1] = NONE
    return chain
