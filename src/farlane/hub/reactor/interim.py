"""Interim booking: what runs long is booked by the part while it runs, so that nobody is owed for days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farlane.domain.ids import JobId, NodeId, TaskId, index_of, job_of
from farlane.domain.records import LeasesMetered
from farlane.hub.reactor.commands import Append, Command
from farlane.hub.reactor.ending import book, charged, elapsed_ms
from farlane.hub.reactor.state import HubState, Job, Lease, Node

LEAST_PART = 0.5
"""A part shorter than this share of `interim_s` is not booked yet: a node cannot fill the books with crumbs."""


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """Attempts that have run long and go on, as their node reports them: parallel columns.

    lease_ms: run time so far, observed by the node.
    """

    epoch: int
    tasks: Sequence[int]
    attempts: Sequence[int]
    lease_ms: Sequence[int]


def meter(state: HubState, out: list[Command], now: float, node_id: NodeId, running: RunningBatch) -> None:
    """Book the next part of every attempt in force; rows with another fence, or too early, change nothing.

    A part costs what the whole attempt would cost if it ended now, less what its earlier parts have cost.
    """
    if not state.interim_s or running.epoch != state.epoch:
        return
    node = state.nodes[node_id]
    found: dict[JobId, dict[int, int]] = {}
    for task, attempt, reported_ms in zip(running.tasks, running.attempts, running.lease_ms, strict=True):
        lease = node.leases.get(TaskId(task))
        if lease is None or lease.attempt != attempt:
            continue
        elapsed = elapsed_ms(lease, now, reported_ms)
        if elapsed - lease.part_ms >= 1000 * LEAST_PART * state.interim_s:
            found.setdefault(job_of(TaskId(task)), {})[task] = elapsed
    for job_id, elapsed_of in found.items():
        _meter_job(out, now, node, state.jobs[job_id], elapsed_of)


def _meter_job(out: list[Command], now: float, node: Node, job: Job, elapsed_of: dict[int, int]) -> None:
    meters = job.running[node.spec.node].meters
    leases = [node.leases[TaskId(task)] for task in elapsed_of]
    record = LeasesMetered(
        job.id, node.spec.node, now, [index_of(TaskId(task)) for task in elapsed_of],
        [lease.attempt for lease in leases], [lease.part + 1 for lease in leases],
        [ms - lease.part_ms for lease, ms in zip(leases, elapsed_of.values(), strict=True)],
        [
            charged(lease, meters[lease.gpu].charge_ceiling(ms, 0)) - lease.paid
            for lease, ms in zip(leases, elapsed_of.values(), strict=True)
        ],
    )  # fmt: skip
    book_parts(job, node, leases, record)
    out.append(Append(record, leases))


def book_parts(job: Job, node: Node, leases: Sequence[Lease], record: LeasesMetered) -> None:
    """Book parts on their leases, their job and their node: reserved money becomes spent money."""
    rows = zip(leases, record.parts, record.lease_ms, record.amounts, strict=True)
    for lease, part, lease_ms, amount in rows:
        lease.part, lease.part_ms, lease.paid = part, lease.part_ms + lease_ms, lease.paid + amount
    amount = sum(record.amounts)
    job.reserved -= amount
    for account in job.accounts:
        account.give(amount)
    book(job, node, amount, sum(record.lease_ms))
