"""Viewing: the reactor's state as the frozen columns that a policy decides on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from farlane.domain.billing import meter
from farlane.domain.caps import needs
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import hourly_ceiling
from farlane.domain.resources import GpuKind
from farlane.hub.reactor import departures
from farlane.hub.reactor.account import UNLIMITED as FREE
from farlane.hub.reactor.expecting import Expectations
from farlane.hub.reactor.limits import NO_USES, SharedLimits, quota_fit
from farlane.hub.reactor.locality import alike_there, missing_bytes
from farlane.hub.reactor.queues import WINDOW
from farlane.hub.reactor.state import HubState, Job
from farlane.scheduler.eligibility import fitting_kinds
from farlane.scheduler.view import Bools, Group, NodeColumns, RunningColumns, View

UNLIMITED = 1 << 40


@dataclass(slots=True)
class GroupSource:
    """Where a view's group comes from: fresh tasks of a job, or these returned ones."""

    job: JobId
    returned: list[int] | None


def build_view(state: HubState, now: float) -> tuple[View, dict[int, GroupSource]]:
    """Return the view of this moment and what its group keys stand for."""
    groups: list[Group] = []
    sources: dict[int, GroupSource] = {}
    limits, expected = SharedLimits(), Expectations(state, now)
    for queue in state.waiting.values():
        for job in islice(queue.values(), WINDOW):
            for source in _sources(job):
                key = len(groups)
                sources[key] = source
                groups.append(_group(expected, job, source, key, limits))
    nodes, running = node_columns(state, now), running_columns(state)
    return View(now, nodes, running, tuple(groups), tuple(limits.left)), sources


def view_of(state: HubState, now: float, job: Job) -> tuple[View, GroupSource]:
    """Return a view of one job's first ready tasks alone, its only group, and what that stands for."""
    source, limits = _sources(job)[0], SharedLimits()
    group = _group(Expectations(state, now), job, source, 0, limits)
    return View(now, node_columns(state, now), running_columns(state), (group,), tuple(limits.left)), source


def placed_view(state: HubState, job: Job, now: float) -> tuple[View, int] | None:
    """Return a view in which one running task of a job is yet to be placed, alone, and the node row where it is.

    Of its nodes the one with most of its tasks. None where nothing of it runs.
    """
    node_id = max(job.running, key=lambda node: job.running[node].count, default=None)
    if node_id is None:
        return None
    row, limits = state.table.rows[node_id], SharedLimits()
    group = replace(
        _group(Expectations(state, now), job, GroupSource(job.id, None), 0, limits),
        count=1,
        affordable=UNLIMITED,
        uses=(),
    )
    nodes = node_columns(state, now)
    gpu = next(iter(job.running[node_id].counts), None)
    nodes.free[row] += state.table.demand(job.requirement, gpu)
    return View(now, nodes, running_columns(state), (group,), tuple(limits.left)), row


def node_columns(state: HubState, now: float) -> NodeColumns:
    """Return the nodes' columns; offline also means draining or suspended."""
    table = state.table
    for row, node_id in enumerate(table.ids):
        node = state.nodes[node_id]
        table.online[row] = node.connected and not node.draining and node.suspended_until <= now
        table.rtt_s[row] = node.rtt_s
        table.hazard[row] = departures.hazard(node, now)
    return NodeColumns(
        tuple(table.ids), table.gpu_kinds, table.capacity, table.free.copy(), table.online.copy(),
        table.core_second, table.gib_second, table.gpu_second, table.rtt_s, table.hazard,
    )  # fmt: skip


def running_columns(state: HubState) -> RunningColumns:
    """Return what will be released where and by when."""
    rows, demands, ends = [], [], []
    for job_id in [job for job in state.active if not state.active[job].running]:
        del state.active[job_id]
    for job in state.active.values():
        lasts = run_time_s(state, job.spec) or job.spec.timeout_ms / 1000
        for node_id, tally in job.running.items():
            rows.append(state.table.rows[node_id])
            demands.append(
                sum(state.table.demand(job.requirement, gpu) * count for gpu, count in tally.counts.items())
            )
            ends.append(tally.last_at + lasts)
    width = state.table.capacity.shape[1]
    matrix = np.array(demands, np.int64) if demands else np.zeros((0, width), np.int64)
    return RunningColumns(np.array(rows, np.int64), matrix, np.array(ends, np.float64))


def run_time_s(state: HubState, spec: JobSpec) -> float | None:
    """Return a job's estimated run time: learnt, else declared, else None."""
    learnt = state.run_times.get(spec.profile) if spec.profile else None
    if learnt is not None:
        return max(learnt.mean_ms, 0.05) / 1000
    return None if spec.estimate_ms is None else spec.estimate_ms / 1000


def _sources(job: Job) -> list[GroupSource]:
    found: list[GroupSource] = []
    by_avoid: dict[frozenset[NodeId], list[int]] = {}
    for index in job.returned:
        by_avoid.setdefault(job.avoid.get(index, frozenset()), []).append(index)
    found.extend(GroupSource(job.id, indices) for indices in by_avoid.values())
    if job.fresh < job.total:
        found.append(GroupSource(job.id, None))
    return found


def _group(expected: Expectations, job: Job, source: GroupSource, key: int, limits: SharedLimits) -> Group:
    state = expected.state
    count = len(source.returned) if source.returned is not None else job.total - job.fresh
    eligible, affordable, dearest = within_budget(state, job)
    allowed, uses = state.table.allowed(job.requirement), NO_USES
    if any(account.caps for account in job.accounts):
        room, allowed, options = quota_fit(state, job, allowed)
        affordable = min(affordable, room)
        uses = limits.uses(job.accounts, options, dearest)
    learnt = run_time_s(state, job.spec)
    return Group(
        key, job.id, count, state.table.demands(job.requirement), eligible, _avoid_mask(state, job, source),
        job.spec.priority, job.since, job.spec.deadline_at, learnt, job.spec.timeout_ms / 1000,
        affordable, allowed, uses, missing_bytes(state, job), alike_there(state, job),
        expected.history(job, learnt),
    )  # fmt: skip


def _avoid_mask(state: HubState, job: Job, source: GroupSource) -> Bools | None:
    if not source.returned:
        return None
    nodes = job.avoid.get(source.returned[0])
    if not nodes:
        return None
    mask = np.zeros(len(state.table.ids), np.bool_)
    mask[[state.table.rows[node] for node in nodes]] = True
    return mask


def money_left(job: Job) -> int | None:
    """Return what one job may still reserve, of its own budget and of its accounts'; None: no budget bounds it."""
    least = min((account.left() for account in job.accounts), default=FREE)
    least = min(least, own_left(job))
    return None if least >= FREE else least


def own_left(job: Job) -> int:
    """Return what one job may still reserve of its own budget."""
    return FREE if job.spec.budget is None else max(0, job.spec.budget - job.spent - job.reserved)


def lease_room(job: Job, gpu: GpuKind | None) -> int:
    """Return how many more leases, with GPUs of one kind, the quotas of a job's accounts allow."""
    each = needs(job.spec.resources, gpu)
    return min((account.room(each) for account in job.accounts), default=FREE)


def willing(state: HubState, job: Job) -> Bools:
    """Return the nodes that could run a job and give its organisation credit: (n,) bool."""
    eligible, stops = state.table.mask(job.requirement), state.credit_stops.get(job.spec.organisation)
    if stops:
        eligible = eligible.copy()
        eligible[[state.table.rows[node] for node in stops]] = False
    return eligible


def within_budget(state: HubState, job: Job) -> tuple[Bools, int, int]:
    """Return the eligible nodes on which one more lease stays within every budget, how many leases do, at what cost.

    The number and the cost of each hold on the dearest of those nodes, so that whatever a policy picks is covered.
    Without any budget the cost is 0.
    """
    eligible, left = willing(state, job), money_left(job)
    return (eligible, UNLIMITED, 0) if left is None else covered_leases(state, job, eligible, left)


def covered_leases(state: HubState, job: Job, eligible: Bools, left: int) -> tuple[Bools, int, int]:
    """Return on which of these nodes an amount covers one more lease; how many on the dearest of them, at what cost."""
    costs = {int(row): lease_cost(state, job, int(row)) for row in np.flatnonzero(eligible)}
    covered = {row: cost for row, cost in costs.items() if cost <= left}
    mask = np.zeros(len(eligible), np.bool_)
    mask[list(covered)] = True
    dearest = max(covered.values(), default=0)
    if not covered:
        return mask, 0, 0
    return mask, left // dearest if dearest else UNLIMITED, dearest


def lease_cost(state: HubState, job: Job, row: int) -> int:
    """Return the most one attempt of a job can cost on the node of a row, over the kinds of GPU it may use there."""
    node, wanted, cap = state.table.specs[row], job.requirement.resources, job.requirement.max_price
    largest = max(job.sizes, default=0)
    return max(
        (
            meter(node.rates, job.spec, kind).reserve_ceiling(largest)
            for kind in fitting_kinds(wanted, node)
            if cap is None or hourly_ceiling(node.rates, wanted, kind) <= cap
        ),
        default=0,
    )
