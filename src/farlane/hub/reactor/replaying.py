"""Replaying: the state is the fold of its records; nothing else survives a restart."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.domain.billing import meter
from farlane.domain.caps import needs
from farlane.domain.ids import task_id
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import (
    AttemptsFailed,
    JobEnded,
    JobOpened,
    JobSealed,
    LeasesMetered,
    NodeRegistered,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
    WorkRecord,
    payload_sizes,
)
from farlane.hub.reactor.completion import counts_of, return_failed
from farlane.hub.reactor.ending import give_back, settle
from farlane.hub.reactor.interim import book_parts
from farlane.hub.reactor.queues import enqueue
from farlane.hub.reactor.state import HubState, Job, Lease, Node, RunTime, Tally
from farlane.hub.reactor.submission import grow, new_job, requeue


def replay(state: HubState, records: Iterable[WorkRecord], now: float) -> None:
    """Fold records into an empty state. Leases in force get a full lease from `now`, for their nodes to return."""
    ordered = list(records)
    # Nodes first: leases name them.
    for record in (
        *_nodes(ordered),
        *(record for record in ordered if not isinstance(record, NodeRegistered)),
    ):
        fold(state, record)
    for job in state.jobs.values():
        _order_fresh(job)
        enqueue(state, job)
    for node in state.nodes.values():
        node.lease_until = now + state.lease_s


def _nodes(records: Iterable[WorkRecord]) -> list[WorkRecord]:
    return [record for record in records if isinstance(record, NodeRegistered)]


def restore_job(state: HubState, records: Iterable[WorkRecord]) -> Job | None:
    """Fold the records of one ended job apart from the open ones, and return it; None when there are none."""
    ordered = list(records)
    scratch = HubState(state.epoch, state.lease_s)
    # Copies of the nodes: what they did for this job is booked on them already.
    for node_id in {record.node for record in ordered if isinstance(record, TasksLeased)}:
        node = state.nodes[node_id]
        fold(scratch, NodeRegistered(node.spec, node.secret_sha256, node.joined_at))
    for record in ordered:
        fold(scratch, record)
    job = next(iter(scratch.jobs.values()), None)
    if job is not None:
        _order_fresh(job)
    return job


def fold(state: HubState, record: WorkRecord) -> None:
    """Apply one record."""
    match record:
        case JobOpened():
            _opened(state, record)
        case TasksAdded():
            grow(state.jobs[record.job], payload_sizes(record), record.at)
        case JobSealed():
            state.jobs[record.job].sealed = True
        case TasksLeased():
            _leased(state, record)
        case TasksEnded():
            _ended(state, record)
        case AttemptsFailed():
            _failed(state, record)
        case LeasesMetered():
            _metered(state, record)
        case TasksRequeued():
            _requeued(state, record)
        case JobEnded():
            job = state.jobs[record.job]
            job.state, job.ended_at, job.reason = record.state, record.at, record.reason
        case NodeRegistered():
            state.nodes[record.spec.node] = Node(record.spec, record.secret_sha256, joined_at=record.at)
            state.table.put(record.spec)
        case _:  # RunTimeLearnt: the type checker knows that no other kind is left
            state.run_times[record.profile] = RunTime(record.mean_ms, record.count)


def _opened(state: HubState, record: JobOpened) -> None:
    state.jobs[record.job] = new_job(state, record.job, record.key, record.spec, record.at)
    state.keys[record.spec.publisher, record.key] = record.job
    state.next_job = max(state.next_job, record.job + 1)


def _leased(state: HubState, record: TasksLeased) -> None:
    job, node = state.jobs[record.job], state.nodes[record.node]
    if record.gpu is not None:
        # The node's latest description may not have that kind any more.
        state.table.know((record.gpu,))
    tally = job.running.setdefault(record.node, Tally(record.at))
    if record.gpu not in tally.meters:
        tally.meters[record.gpu] = meter(node.spec.rates, job.spec, record.gpu)
    for index, attempt in zip(record.indices, record.attempts, strict=True):
        job.attempts[index] = attempt
        job.states[index] = TaskState.LEASED
        reserve = tally.meters[record.gpu].reserve_ceiling(job.sizes[index])
        node.leases[task_id(job.id, index)] = Lease(attempt, record.at, reserve, record.gpu)
        job.reserved += reserve
        for account in job.accounts:
            account.take(reserve)
    for account in job.accounts:
        account.occupy(needs(job.spec.resources, record.gpu), len(record.indices))
    tally.counts[record.gpu] = tally.counts.get(record.gpu, 0) + len(record.indices)
    tally.last_at = record.at
    job.state = JobState.RUNNING
    job.first_lease_at = job.first_lease_at or record.at
    state.active[job.id] = job
    demand = state.table.demand(job.requirement, record.gpu)
    state.table.take(state.table.rows[record.node], demand, len(record.indices))


def _ended(state: HubState, record: TasksEnded) -> None:
    job = state.jobs[record.job]
    leases = _release(state, job, record)
    settle(job, state.nodes[record.node] if record.node else None, record, leases)


def _failed(state: HubState, record: AttemptsFailed) -> None:
    job, node = state.jobs[record.job], state.nodes[record.node]
    leases = _release(state, job, record)
    for index, failure in zip(record.indices, record.failures, strict=True):
        counts = counts_of(job, failure)
        counts[index] = counts.get(index, 0) + 1
    return_failed(job, node, record, leases)


def _release(state: HubState, job: Job, record: TasksEnded | AttemptsFailed) -> list[Lease]:
    if not record.node:
        return []
    node = state.nodes[record.node]
    leases = [node.leases.pop(task_id(job.id, index)) for index in record.indices]
    give_back(state, node, job, leases)
    return leases


def _metered(state: HubState, record: LeasesMetered) -> None:
    job, node = state.jobs[record.job], state.nodes[record.node]
    book_parts(job, node, [node.leases[task_id(job.id, index)] for index in record.indices], record)


def _requeued(state: HubState, record: TasksRequeued) -> None:
    requeue(state.jobs[record.job], record.indices, record.at)


def _order_fresh(job: Job) -> None:
    """Find the first index never leased, and what else waits to run again."""
    job.returned.clear()
    fresh = len(job.attempts.rstrip(b"\0"))
    # Tasks that ended without a lease (a stopped job) are behind no lease but final all the same.
    while fresh < job.total and job.states[fresh] != TaskState.QUEUED:
        fresh += 1
    job.fresh = fresh
    job.returned.extend(index for index in range(fresh) if job.states[index] == TaskState.QUEUED)
