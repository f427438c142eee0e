"""Ending: tasks reach a final state, leases are given back and paid by the rule of what happened."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.domain.caps import needs
from farlane.domain.failures import Failure
from farlane.domain.ids import NodeId, TaskId, index_of, job_of
from farlane.domain.jobs import TaskState
from farlane.domain.records import AttemptsFailed, Column, TasksEnded
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.commands import Append, Command, Deliver, RevokeLeases
from farlane.hub.reactor.state import HubState, Job, Lease, Node

NOWHERE = NodeId("")


def end_tasks(
    out: list[Command], now: float, job: Job, indices: Sequence[int], failure: Failure, final: TaskState
) -> None:
    """End tasks that hold no lease, with one failure for all of them."""
    if not indices:
        return
    zeros = [0] * len(indices)
    attempts = [job.attempts[index] for index in indices]
    record = TasksEnded(
        job.id, job.seq, NOWHERE, now, list(indices), attempts, bytes([final]) * len(indices),
        Column([b""] * len(indices)), dict.fromkeys(range(len(indices)), failure), {}, zeros, zeros, zeros, zeros,
    )  # fmt: skip
    settle(job, None, record)
    out += (Append(record), Deliver(record, job.relaxed))


def settle(job: Job, node: Node | None, record: TasksEnded, leases: Sequence[Lease] = ()) -> None:
    """Write the final states of a record into its job, and book it on the job and on the node that ran it, if any."""
    for index, final in zip(record.indices, record.states, strict=True):
        job.states[index] = final
        job.counted.pop(index, None)
        job.free.pop(index, None)
        job.moved.pop(index, None)
        job.avoid.pop(index, None)
    done, failed = record.states.count(TaskState.DONE), record.states.count(TaskState.FAILED)
    job.seq += len(record.indices)
    for account in job.accounts:
        account.open(-len(record.indices))
    job.done += done
    job.failed += failed
    job.stopped += record.states.count(TaskState.STOPPED)
    if node is not None:
        node.done += done
        node.failed += failed
        pay(job, node, record, leases)


def give_back(state: HubState, node: Node, job: Job, leases: Sequence[Lease]) -> None:
    """Return the resources and reserved money of leases already taken out of `node.leases`."""
    counts: dict[GpuKind | None, int] = {}
    reserved = sum([lease.reserve - lease.paid for lease in leases])
    job.reserved -= reserved
    for account in job.accounts:
        account.give(reserved)
    for lease in leases:
        counts[lease.gpu] = counts.get(lease.gpu, 0) + 1
    tally, row = job.running[node.spec.node], state.table.rows[node.spec.node]
    for gpu, count in counts.items():
        state.table.give(row, state.table.demand(job.requirement, gpu), count)
        tally.counts[gpu] -= count
        for account in job.accounts:
            account.occupy(needs(job.spec.resources, gpu), -count)
    if not tally.count:
        del job.running[node.spec.node]


def elapsed_ms(lease: Lease, now: float, reported_ms: int | None = None) -> int:
    """Return the lease milliseconds both sides observed: at least 1 beyond what is booked, or else what the hub saw."""
    seen = max(1, int((now - lease.at) * 1000) + 1)
    return max(lease.part_ms, seen if reported_ms is None else min(max(1, reported_ms), seen))


def revoke_running(
    state: HubState, out: list[Command], now: float, job: Job, failure: Failure, final: TaskState
) -> None:
    """Take back all leases of a job and end their tasks, paid for the time that has passed."""
    for node_id in list(job.running):
        node = state.nodes[node_id]
        tasks = [task for task in node.leases if job_of(task) == job.id]
        out += (
            RevokeLeases(node_id, tasks, [node.leases[task].attempt for task in tasks], failure.message),
            *end_leased(state, now, job, node, tasks, failure, final),
        )


def end_leased(
    state: HubState, now: float, job: Job, node: Node, tasks: list[TaskId], failure: Failure, final: TaskState
) -> tuple[Command, Command]:
    """Take leases of one job from a node and end their tasks, paid as the failure's rule says."""
    meters = job.running[node.spec.node].meters
    leases = [node.leases.pop(task) for task in tasks]
    give_back(state, node, job, leases)
    lease_ms = [elapsed_ms(lease, now) for lease in leases]
    amounts = [
        charged(lease, meters[lease.gpu].charge_ceiling(ms, 0) if failure.rule.paid else 0)
        for lease, ms in zip(leases, lease_ms, strict=True)
    ]
    attempts = [lease.attempt for lease in leases]
    zeros = [0] * len(tasks)
    record = TasksEnded(
        job.id, job.seq, node.spec.node, now, [index_of(task) for task in tasks], attempts,
        bytes([final]) * len(tasks), Column([b""] * len(tasks)), dict.fromkeys(range(len(tasks)), failure), {},
        lease_ms, zeros, zeros, amounts,
    )  # fmt: skip
    settle(job, node, record, leases)
    return Append(record, leases), Deliver(record, job.relaxed)


def charged(lease: Lease, asked: int) -> int:
    """Return what an attempt costs in nano-credits: no more than it reserved, no less than its parts have cost."""
    return max(lease.paid, min(lease.reserve, asked))


def pay(job: Job, node: Node, record: TasksEnded | AttemptsFailed, leases: Sequence[Lease]) -> None:
    """Book lease time and money of finished attempts on the job and on the node, without the parts already booked."""
    amount = sum(record.amounts) - sum([lease.paid for lease in leases])
    lease_ms = sum(record.lease_ms) - sum([lease.part_ms for lease in leases])
    book(job, node, amount, lease_ms)


def book(job: Job, node: Node, amount: int, lease_ms: int) -> None:
    """Book money (nano-credits) and lease time on a job, its accounts and a node."""
    job.spent += amount
    for account in job.accounts:
        account.pay(amount)
    job.lease_ms += lease_ms
    node.earned += amount
    node.busy_ms += lease_ms
