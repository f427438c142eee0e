"""Leasing: a decision becomes leases, each within its job's budget; leases that run out are taken back."""

from __future__ import annotations

from farlane.domain.billing import meter
from farlane.domain.caps import needs
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, TaskId, index_of, job_of, task_id
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import TasksLeased
from farlane.domain.resources import GpuKind
from farlane.hub.reactor import departures
from farlane.hub.reactor.commands import Append, Command, GrantLeases
from farlane.hub.reactor.completion import queue_again, runs_again
from farlane.hub.reactor.ending import elapsed_ms, end_leased, give_back
from farlane.hub.reactor.queues import leave
from farlane.hub.reactor.state import MAX_ATTEMPTS, HubState, Job, Lease, Node, Tally
from farlane.hub.reactor.submission import finish_if_ended
from farlane.hub.reactor.viewing import GroupSource, lease_room, money_left
from farlane.scheduler.view import Decision, Ints


def apply_decision(
    state: HubState, out: list[Command], now: float, sources: dict[int, GroupSource], decision: Decision
) -> int:
    """Grant the leases of a validated decision; returns how many. `sources` maps the view's group keys to jobs."""
    granted = 0
    for placement in decision.placements:
        source = sources[placement.group]
        node = state.nodes[state.table.ids[placement.node]]
        job = state.jobs[source.job]
        demand = state.table.demands(job.requirement)[placement.demand]
        granted += grant_from(state, out, now, node, job, source, placement.count, demand)
    return granted


def grant_from(
    state: HubState, out: list[Command], now: float, node: Node, job: Job, source: GroupSource, count: int,
    demand: Ints,
) -> int:  # fmt: skip
    """Lease up to `count` ready tasks of one group to a node; returns how many. demand: of one of them, (3 + g,)."""
    granted = grant(state, out, now, node, job, _pick(job, source, count), state.table.gpu_kind(demand))
    if not job.ready:
        leave(state, job)
    return granted


def _pick(job: Job, source: GroupSource, count: int) -> list[int]:
    """Take up to `count` ready tasks of one group out of their job's queue."""
    if source.returned is None:
        first = job.fresh
        job.fresh = min(job.total, first + count)
        return list(range(first, job.fresh))
    picked = source.returned[:count]
    del source.returned[:count]
    chosen = set(picked)
    kept = [index for index in job.returned if index not in chosen]
    job.returned.clear()
    job.returned.extend(kept)
    return picked


def grant(
    state: HubState,
    out: list[Command],
    now: float,
    node: Node,
    job: Job,
    indices: list[int],
    gpu: GpuKind | None,
) -> int:
    """Lease tasks to a node as far as the budget goes; what it does not cover goes back to the queue."""
    tally = job.running.get(node.spec.node) or Tally(now)
    if gpu not in tally.meters:
        tally.meters[gpu] = meter(node.spec.rates, job.spec, gpu)
    reserves = [tally.meters[gpu].reserve_ceiling(job.sizes[index]) for index in indices]
    covered = _covered(job, reserves, gpu)
    job.returned.extendleft(reversed(indices[covered:]))
    indices = indices[:covered]
    if not indices:
        return 0
    attempts = _lease_each(job, node, now, indices, reserves, gpu)
    tally.counts[gpu] = tally.counts.get(gpu, 0) + len(indices)
    tally.last_at = now
    job.running[node.spec.node] = tally
    state.active[job.id] = job
    job.first_lease_at = job.first_lease_at or now
    job.state = JobState.RUNNING
    state.table.take(state.table.rows[node.spec.node], state.table.demand(job.requirement, gpu), len(indices))
    out += (
        Append(TasksLeased(job.id, node.spec.node, indices, attempts, now, gpu=gpu)),
        GrantLeases(node.spec.node, job.id, indices, attempts, job.relaxed, gpu),
    )
    return len(indices)


def _covered(job: Job, reserves: list[int], gpu: GpuKind | None) -> int:
    """Return how many leases, in order, the budgets and quotas still cover."""
    left, room = money_left(job), lease_room(job, gpu)
    if left is None:
        return min(room, len(reserves))
    for count, reserve in enumerate(reserves[:room]):
        left -= reserve
        if left < 0:
            return count
    return min(room, len(reserves))


def _lease_each(
    job: Job, node: Node, now: float, indices: list[int], reserves: list[int], gpu: GpuKind | None
) -> list[int]:
    attempts = []
    leases, states, tries = node.leases, job.states, job.attempts
    for index, reserve in zip(indices, reserves, strict=False):
        attempt = tries[index] = min(MAX_ATTEMPTS, tries[index] + 1)
        states[index] = TaskState.LEASED
        leases[task_id(job.id, index)] = Lease(attempt, now, reserve, gpu)
        attempts.append(attempt)
    reserved = sum(reserves[: len(indices)])
    job.reserved += reserved
    each = needs(job.spec.resources, gpu)
    for account in job.accounts:
        account.take(reserved)
        account.occupy(each, len(indices))
    return attempts


def lose_leases(
    state: HubState, out: list[Command], now: float, node: Node, tasks: list[TaskId], failure: Failure
) -> None:
    """Take leases back from a node that lost them: their tasks run elsewhere, nobody pays."""
    by_job: dict[JobId, list[TaskId]] = {}
    for task in tasks:
        by_job.setdefault(job_of(task), []).append(task)
    for job_id, lost in by_job.items():
        _lose_of_job(state, out, now, node, state.jobs[job_id], lost, failure)


def _lose_of_job(
    state: HubState,
    out: list[Command],
    now: float,
    node: Node,
    job: Job,
    tasks: list[TaskId],
    failure: Failure,
) -> None:
    again = [task for task in tasks if runs_again(job, index_of(task), failure)]
    kept = set(again)
    ended = [task for task in tasks if task not in kept]
    if again:
        leases = [node.leases.pop(task) for task in again]
        give_back(state, node, job, leases)
        queue_again(
            state, out, now, node, job, [index_of(task) for task in again], leases,
            [failure] * len(again), [elapsed_ms(lease, now) for lease in leases], [lease.paid for lease in leases],
        )  # fmt: skip
    if ended:
        # The record names the node, so that folding it gives the leases back.
        out += end_leased(state, now, job, node, ended, failure, TaskState.FAILED)
    finish_if_ended(out, now, job)


def expire(state: HubState, out: list[Command], now: float) -> None:
    """Take back the leases of every node that has not been heard of for a lease's length."""
    for node in state.nodes.values():
        if not node.connected and node.lease_until < now:
            departures.go(node, node.lease_until)
        if node.leases and node.lease_until < now:
            why = f"node {node.spec.name} has not been heard of for {state.lease_s:.0f} s"
            lose_leases(state, out, now, node, list(node.leases), Failure(FailureKind.NODE_LOST, why))
