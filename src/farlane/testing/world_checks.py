"""World checks: what must hold of a small world after every event, whatever the events were."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from typing import Any

import numpy as np

from farlane.domain.caps import OPEN_TASKS, needs
from farlane.domain.failures import MAX_FREE_ATTEMPTS, MAX_MOVES
from farlane.domain.ids import NodeId, TaskId, index_of, job_of, task_id
from farlane.domain.jobs import TaskState
from farlane.domain.records import (
    AttemptsFailed,
    JobEnded,
    JobSealed,
    LeasesMetered,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
)
from farlane.hub.reactor.queues import queue_of
from farlane.hub.reactor.state import HubState, Job
from farlane.testing.small_world import SmallWorld

Leases = dict[TaskId, tuple[NodeId, int]]


def leases_of(state: HubState) -> Leases:
    """Return every lease the hub knows: task -> (node, attempt)."""
    found: Leases = {}
    for node_id, node in state.nodes.items():
        for task, lease in node.leases.items():
            assert task not in found, f"task {task} is leased twice"
            found[task] = node_id, lease.attempt
    return found


def check_journal(world: SmallWorld) -> None:
    """Fold the journal in a plain way of its own, and compare: leases, ends, results in order, allowances."""
    fold = _Fold()
    for record in world.journal:
        if isinstance(record, TasksAdded):
            assert record.first == fold.total[record.job]
            fold.total[record.job] += len(record.payloads.inline)
        elif isinstance(record, JobSealed):
            assert record.total == fold.total[record.job]
        elif isinstance(record, TasksLeased):
            fold.lease(record)
        elif isinstance(record, TasksEnded):
            fold.end(record)
        elif isinstance(record, AttemptsFailed):
            fold.fail(record, world)
        elif isinstance(record, LeasesMetered):
            fold.meter(record)
        elif isinstance(record, TasksRequeued):
            fold.requeue(record)
        elif isinstance(record, JobEnded):
            fold.end_job(record)
    assert fold.leases == leases_of(world.state)
    for job in world.state.jobs.values():
        assert (job.spent, job.lease_ms) == (fold.spent[job.id], fold.lease_ms[job.id])


class _Fold:
    def __init__(self) -> None:
        self.total: Counter[int] = Counter()
        self.leases: Leases = {}
        self.attempts: Counter[TaskId] = Counter()
        self.ended: set[TaskId] = set()
        self.seq: Counter[int] = Counter()
        self.final: set[int] = set()
        self.counted: Counter[TaskId] = Counter()
        self.free: Counter[TaskId] = Counter()
        self.moved: Counter[TaskId] = Counter()
        self.parts: dict[TaskId, tuple[int, int, int]] = {}
        self.spent: Counter[int] = Counter()
        self.lease_ms: Counter[int] = Counter()

    def lease(self, record: TasksLeased) -> None:
        assert record.job not in self.final
        for index, attempt in zip(record.indices, record.attempts, strict=True):
            task = task_id(record.job, index)
            assert task not in self.leases
            assert task not in self.ended
            assert attempt > self.attempts[task], "an attempt's number was given out twice"
            self.attempts[task] = attempt
            self.leases[task] = record.node, attempt

    def release(self, record: TasksEnded | AttemptsFailed) -> None:
        rows = zip(record.indices, record.attempts, record.lease_ms, record.amounts, strict=True)
        for index, attempt, lease_ms, amount in rows:
            held = self.leases.pop(task_id(record.job, index), None)
            assert held == ((record.node, attempt) if record.node else None)
            _, part_ms, paid = self.parts.pop(task_id(record.job, index), (0, 0, 0))
            assert lease_ms >= part_ms
            assert amount >= paid
            self.spent[record.job] += amount - paid
            self.lease_ms[record.job] += lease_ms - part_ms
        assert all(ms >= 1 for ms in record.lease_ms) or not record.node

    def meter(self, record: LeasesMetered) -> None:
        rows = zip(
            record.indices, record.attempts, record.parts, record.lease_ms, record.amounts, strict=True
        )
        for index, attempt, part, lease_ms, amount in rows:
            task = task_id(record.job, index)
            assert self.leases[task] == (record.node, attempt)
            before, part_ms, paid = self.parts.get(task, (0, 0, 0))
            assert part == before + 1
            assert lease_ms > 0
            assert amount >= 0
            self.parts[task] = part, part_ms + lease_ms, paid + amount
            self.spent[record.job] += amount
            self.lease_ms[record.job] += lease_ms

    def end(self, record: TasksEnded) -> None:
        self.release(record)
        assert record.job not in self.final
        assert record.seq == self.seq[record.job]
        self.seq[record.job] += len(record.indices)
        for index in record.indices:
            task = task_id(record.job, index)
            assert task not in self.ended, "a task ended twice"
            self.ended.add(task)

    def fail(self, record: AttemptsFailed, world: SmallWorld) -> None:
        self.release(record)
        job = world.state.jobs.get(record.job)
        for index, failure in zip(record.indices, record.failures, strict=True):
            task = task_id(record.job, index)
            assert failure.rule.again != "never"
            {"counted": self.counted, "free": self.free, "moved": self.moved}[failure.rule.again][task] += 1
            assert self.free[task] <= MAX_FREE_ATTEMPTS
            assert self.moved[task] <= MAX_MOVES
            assert job is None or self.counted[task] <= job.spec.retries

    def requeue(self, record: TasksRequeued) -> None:
        assert record.job in self.final
        self.final.discard(record.job)
        for index in record.indices:
            task = task_id(record.job, index)
            assert task in self.ended
            self.ended.discard(task)
            del self.counted[task], self.free[task], self.moved[task]

    def end_job(self, record: JobEnded) -> None:
        assert record.job not in self.final
        assert record.state.final
        assert sum(job_of(task) == record.job for task in self.ended) == self.total[record.job]
        self.final.add(record.job)


def check_jobs(state: HubState) -> None:
    """Counters agree with the states of tasks; the queues hold exactly the jobs with ready tasks."""
    for job in state.jobs.values():
        assert job.done == job.states.count(TaskState.DONE)
        assert job.failed == job.states.count(TaskState.FAILED)
        assert job.stopped == job.states.count(TaskState.STOPPED)
        assert job.ready == job.states.count(TaskState.QUEUED)
        assert job.leased == job.states.count(TaskState.LEASED)
        assert job.state.final == (job.sealed and job.ended == job.total)
        if job.spec.budget is not None:
            assert job.spent + job.reserved <= job.spec.budget
    waiting = [(key, job_id, job) for key, queue in state.waiting.items() for job_id, job in queue.items()]
    assert all(key == queue_of(job) for key, _, job in waiting)
    assert sorted(job_id for _, job_id, _ in waiting) == sorted(
        job.id for job in state.jobs.values() if job.ready
    )


def check_resources(state: HubState) -> None:
    """What nodes and jobs hold is exactly what their leases hold."""
    reserved: Counter[int] = Counter()
    counts: Counter[tuple[int, NodeId]] = Counter()
    for node_id, node in state.nodes.items():
        row = state.table.rows[node_id]
        held = np.zeros(state.table.capacity.shape[1], np.int64)
        for task, lease in node.leases.items():
            job = state.jobs[job_of(task)]
            assert job.states[index_of(task)] == TaskState.LEASED
            assert job.attempts[index_of(task)] == lease.attempt
            held += state.table.demand(job.requirement, lease.gpu)
            reserved[job.id] += lease.reserve - lease.paid
            assert 0 <= lease.paid <= lease.reserve
            counts[job.id, node_id] += 1
        assert (state.table.capacity[row] - state.table.free[row] == held).all()
    for job in state.jobs.values():
        assert job.reserved == reserved[job.id]
        assert {node: tally.count for node, tally in job.running.items()} == {
            node: count for (job_id, node), count in counts.items() if job_id == job.id
        }
        assert not job.running or job.id in state.active


def check_accounts(world: SmallWorld) -> None:
    """What accounts hold is exactly what the leases and open tasks of their jobs hold; what they spent is booked."""
    state = world.state
    used: Counter[tuple[str, str, str]] = Counter()
    reserved: Counter[tuple[str, str]] = Counter()
    for job in state.jobs.values():
        for organisation, project in {(account.organisation, account.project) for account in job.accounts}:
            used[organisation, project, OPEN_TASKS] += job.total - job.ended
            reserved[organisation, project] += job.reserved
            for node in state.nodes.values():
                for task, lease in node.leases.items():
                    if job_of(task) == job.id:
                        for name, amount in needs(job.spec.resources, lease.gpu):
                            used[organisation, project, name] += amount
    spent: Counter[tuple[str, str]] = Counter()
    for _, (organisation, project), amount in world.spent():
        for name in {"", project}:
            spent[organisation, name] += amount
    for key, account in state.accounts.known.items():
        assert {name: amount for name, amount in account.used.items() if amount} == {
            name: amount for (*whose, name), amount in used.items() if amount and tuple(whose) == key
        }
        assert (account.reserved, account.total) == (reserved[key], spent[key])


def fingerprint(state: HubState) -> dict[str, Any]:
    """Return what a restart must bring back and a stale answer must not touch."""
    kinds = [None, *state.table.gpu_kinds]
    used = state.table.capacity - state.table.free
    return {
        "jobs": {job.id: _job_print(job) for job in state.jobs.values() if not job.state.final},
        "leases": {
            node_id: {task: astuple(lease) for task, lease in node.leases.items()}
            for node_id, node in state.nodes.items()
        },
        "used": {
            node_id: {
                str(kind): int(used[row, 2 + at]) for at, kind in enumerate(kinds) if used[row, 2 + at]
            } | {"cpu": int(used[row, 0]), "memory": int(used[row, 1])}
            for node_id, row in state.table.rows.items()
        },
        "accounts": {
            key: ({name: held for name, held in account.used.items() if held}, account.reserved, account.total)
            for key, account in state.accounts.known.items() if any(account.used.values()) or account.total
        },
        "keys": {key: job for key, job in state.keys.items() if not state.jobs[job].state.final},
    }  # fmt: skip


def _job_print(job: Job) -> tuple[Any, ...]:
    tallies = {node: (tally.last_at, tally.count, tally.meters.keys()) for node, tally in job.running.items()}
    return (
        job.spec, job.opened_at, job.since, bytes(job.states), bytes(job.attempts), list(job.sizes), job.ready,
        dict(job.counted), dict(job.free), dict(job.moved), dict(job.avoid), job.sealed, job.state, job.seq,
        job.done, job.failed, job.stopped, job.spent, job.reserved, job.lease_ms, job.retried,
        job.first_lease_at, tallies,
    )  # fmt: skip


def check_ended(world: SmallWorld) -> None:
    """Every job is over, and nothing is left of it anywhere."""
    state = world.state
    left = [(job.id, job.state, bytes(job.states)) for job in state.jobs.values() if not job.state.final]
    assert not left, f"jobs never ended: {left}"
    assert not state.waiting
    assert leases_of(state) == {}
    assert (state.table.free == state.table.capacity).all()
    for account in state.accounts.known.values():
        assert not any(account.used.values())
        assert account.reserved == 0
