"""Preempting: leases of low priority are taken back for a task of high priority that waits, and given to it at once.

Sound by four bounds. Priorities are those that jobs declare, which never change, and lie `DISTANCE` apart: what makes
room for a job can never take that job's room, so nobody moves in a circle. A task makes room at most `MAX_MOVES` times.
Nothing is moved for a task that has not waited for `PATIENCE_S`, or that would fit somewhere. What is freed goes to the
task for which it was freed, in the same event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from farlane.domain.failures import MAX_MOVES, Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId, index_of, job_of, job_text
from farlane.hub.reactor.commands import Command, RevokeLeases
from farlane.hub.reactor.completion import queue_again, runs_again
from farlane.hub.reactor.ending import charged, elapsed_ms, give_back
from farlane.hub.reactor.leasing import grant_from
from farlane.hub.reactor.state import HubState, Job, Node
from farlane.hub.reactor.viewing import view_of
from farlane.scheduler.board import Board
from farlane.scheduler.view import Bools, Group, Ints

DISTANCE = 20
"""Points of declared priority between who waits and who makes room: two bands of `ordering.BAND_POINTS`."""
PATIENCE_S = 10.0
"""How long a task waits before others make room for it."""
AT_ONCE = 8
"""Tasks for which room is made in one event."""
MOST_NODES = 256
"""Nodes that are looked at for one task."""


@dataclass(frozen=True, slots=True)
class Victim:
    """One lease that may be taken back. demand: (3 + g,) int64."""

    task: TaskId
    priority: int
    at: float
    demand: Ints


@dataclass(frozen=True, slots=True)
class Room:
    """A node, which alternative of the demand fits there, and whose leases make room for it."""

    node: Node
    option: int
    victims: Sequence[Victim]


def preempt(state: HubState, out: list[Command], now: float) -> int:
    """Make room for tasks that have waited; returns for how many."""
    made = 0
    for job in _waiting(state, now):
        while made < AT_ONCE and job.ready and _make_room(state, out, now, job):
            made += 1
    return made


def _waiting(state: HubState, now: float) -> list[Job]:
    """Return the oldest job of each queue that has waited and is far above something that runs."""
    lowest = min((job.spec.priority for job in state.active.values() if job.running), default=None)
    if lowest is None:
        return []
    first = [next(iter(queue.values())) for queue in state.waiting.values()]
    found = [job for job in first if job.spec.priority - DISTANCE >= lowest and now - job.since >= PATIENCE_S]
    return sorted(found, key=lambda job: (-job.spec.priority, job.since, job.id))


def _make_room(state: HubState, out: list[Command], now: float, job: Job) -> bool:
    view, source = view_of(state, now, job)
    group, board = view.groups[0], Board(view)
    candidates = board.candidates(group)
    if candidates is None or not board.wanted(group) or _fits(board, group, candidates):
        return False
    best = min(
        _rooms(state, job, group, candidates),
        key=lambda room: (
            max(victim.priority for victim in room.victims),
            sum(now - victim.at for victim in room.victims),
        ),
        default=None,
    )
    if best is None:
        return False
    _take_back(state, out, now, job, best)
    grant_from(state, out, now, best.node, job, source, 1, group.demands[best.option])
    return True


def _fits(board: Board, group: Group, candidates: Bools) -> bool:
    rooms = (board.room(group, option, candidates) for option in range(len(group.demands)))
    return any(room is not None and room.now.any() for room in rooms)


def _rooms(state: HubState, job: Job, group: Group, candidates: Bools) -> Iterator[Room]:
    """Yield where room can be made, once for each node and alternative."""
    table = state.table
    for node_id in _nodes_of_lower(state, job, candidates):
        node, row = state.nodes[node_id], table.rows[node_id]
        victims = _victims(state, node, job)
        for option, demand in enumerate(group.demands):
            if group.allowed is None or group.allowed[option, row]:
                chosen = fewest(table.free[row], demand, victims)
                if chosen:
                    yield Room(node, option, chosen)


def _nodes_of_lower(state: HubState, job: Job, candidates: Bools) -> list[NodeId]:
    found: dict[NodeId, None] = {}
    for other in state.active.values():
        if _is_lower(other, job):
            found.update((node, None) for node in other.running if candidates[state.table.rows[node]])
            if len(found) >= MOST_NODES:
                break
    return list(found)[:MOST_NODES]


def _is_lower(other: Job, job: Job) -> bool:
    """Tell whether a job makes room for another: a replica that serves never does."""
    return other.spec.priority <= job.spec.priority - DISTANCE and other.spec.serve is None


def _victims(state: HubState, node: Node, job: Job) -> list[Victim]:
    """Return the leases of a node that may be taken back: of least priority first, of those the youngest."""
    found = []
    for task, lease in node.leases.items():
        other = state.jobs[job_of(task)]
        if _is_lower(other, job) and other.moved.get(index_of(task), 0) < MAX_MOVES:
            demand = state.table.demand(other.requirement, lease.gpu)
            found.append(Victim(task, other.spec.priority, lease.at, demand))
    return sorted(found, key=lambda victim: (victim.priority, -victim.at, -victim.task))


def fewest(free: Ints, demand: Ints, victims: Sequence[Victim]) -> list[Victim]:
    """Return victims, first come first, whose leases make a demand fit; none of them can be spared. Empty: it cannot.

    Args:
        free: (3 + g,) int64 of the node, negative where leases are queued ahead.
        demand: (3 + g,) int64 of the task that waits.
        victims: in the order in which they are to be taken.
    """
    lacking = np.where(demand > 0, demand - free, 0)
    taken: list[Victim] = []
    for victim in victims:
        short = lacking > 0
        if not short.any():
            break
        if (victim.demand[short] > 0).any():
            taken.append(victim)
            lacking = lacking - victim.demand
    if (lacking > 0).any():
        return []
    for victim in list(taken):
        if ((lacking + victim.demand)[demand > 0] <= 0).all():
            taken.remove(victim)
            lacking = lacking + victim.demand
    return taken


def _take_back(state: HubState, out: list[Command], now: float, job: Job, room: Room) -> None:
    """Revoke leases and queue their tasks again, paid for the time that has passed."""
    node = room.node
    by_job: dict[JobId, list[TaskId]] = {}
    for victim in room.victims:
        by_job.setdefault(job_of(victim.task), []).append(victim.task)
    failure = Failure(
        FailureKind.PREEMPTED, f"made room for {job_text(job.id)} of priority {job.spec.priority}"
    )
    for job_id, tasks in by_job.items():
        other = state.jobs[job_id]
        meters = other.running[node.spec.node].meters
        leases = [node.leases.pop(task) for task in tasks]
        for task in tasks:
            runs_again(other, index_of(task), failure)  # counts it; `_victims` knows that it is allowed
        give_back(state, node, other, leases)
        lease_ms = [elapsed_ms(lease, now) for lease in leases]
        amounts = [
            charged(lease, meters[lease.gpu].charge_ceiling(ms, 0))
            for lease, ms in zip(leases, lease_ms, strict=True)
        ]
        attempts = [lease.attempt for lease in leases]
        out.append(RevokeLeases(node.spec.node, tasks, attempts, failure.message))
        queue_again(
            state, out, now, node, other, [index_of(task) for task in tasks], leases,
            [failure] * len(tasks), lease_ms, amounts,
        )  # fmt: skip
