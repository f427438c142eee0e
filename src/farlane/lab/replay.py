"""Replaying: the hub's own reactor run through a history in virtual time, under any policy. Exact, and slow.

Every event is the reactor's own, no clock is asked, and messages take no time. Nodes start what they hold in order of
arrival as far as it fits, and report each end by itself. A round of scheduling follows all events of one moment; while
work waits another follows each `round_s`, since priorities rise and expectations pass by themselves.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from itertools import count

import numpy as np

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId, index_of, job_of, task_id
from farlane.domain.jobs import TaskState
from farlane.domain.records import Column, TasksEnded
from farlane.domain.usage import month_of
from farlane.errors import InvalidInput
from farlane.hub.reactor.commands import Deliver, FinishJob, GrantLeases, RevokeLeases
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.lab.history import Change, History, PastJob, first_tasks
from farlane.scheduler.policy import Policy
from farlane.scheduler.sim.world import Floats, Ints
from farlane.scheduler.view import Ints as Demand

ROUND_S = 60.0
"""Waiting raises a priority by a point in so long (see `scheduler.ordering`)."""
FOREVER_S = 1e15
_SECRET = b"replay"
_LEFT = "it went"


class Kind(IntEnum):
    """Events of one moment happen in this order."""

    BATCH = 0
    STOP = 1
    DEADLINE = 2
    END = 3
    CHANGE = 4
    ROUND = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each task, in the order of the history's jobs: (t,) each.

    started, ended: unix seconds of the last attempt, nan where there was none; node: its row, -1; done: ended with a
    result; rounds: of scheduling; leases: granted in all.
    """

    started: Floats
    ended: Floats
    node: Ints
    done: Ints
    rounds: int
    leases: int


@dataclass(slots=True)
class _Held:
    """One lease on its node."""

    task: TaskId
    attempt: int
    demand: Demand
    run_s: float
    fails: bool


@dataclass(slots=True)
class _Machine:
    """A node of the replay: what is free on it, what runs and what waits there."""

    free: Demand
    queue: deque[_Held] = field(default_factory=deque)
    running: dict[TaskId, _Held] = field(default_factory=dict)
    online: bool = False


def replay(
    history: History,
    policy: Policy,
    *,
    round_s: float | None = ROUND_S,
    preempt: bool = False,
    stretch: Callable[[int, int], float] = lambda _job, _node: 1.0,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Run a history to its end.

    Args:
        history: what happened.
        policy: decides instead of whoever did.
        round_s: seconds until another round while work waits and nothing happens; None: none.
        preempt: whether tasks of low priority make room for those of high, as the setting `hub.preempt` says.
        stretch: how many times as long as it did a job's task runs on a node, by their rows.
        progress: told how many tasks have ended, of how many, now and then.

    Raises:
        InvalidInput: the history has no task.
    """
    if not history.tasks:
        raise InvalidInput("the history has no task; there is nothing to replay")
    return _Replay(history, policy, round_s, progress, preempt, stretch).run()


class _Replay:
    def __init__(
        self,
        history: History,
        policy: Policy,
        round_s: float | None,
        progress: Callable[[int, int], None],
        preempt: bool,
        stretch: Callable[[int, int], float],
    ) -> None:
        self._stretch = stretch
        self._history, self._policy, self._round_s, self._progress = history, policy, round_s, progress
        self._reactor = Reactor(1, FOREVER_S, preempt=preempt)
        self._reactor.state.accounts.seed(month_of(history.begin), ())
        self._first, total = first_tasks(history), history.tasks
        self._started, self._ended = np.full(total, np.nan), np.full(total, np.nan)
        self._node, self._done = np.full(total, -1, np.int64), np.zeros(total, np.int64)
        self._jobs: dict[JobId, int] = {}
        self._ids: dict[int, JobId] = {}
        self._batches: dict[int, int] = {}
        self._failed: dict[TaskId, int] = {}
        self._machines: dict[NodeId, _Machine] = {}
        self._rows = {spec.node: row for row, spec in enumerate(history.nodes)}
        self._events: list[tuple[float, Kind, int, Callable[[], object]]] = []
        self._order = count()
        self._batch = 0
        self._rounds = self._leases = self._over = 0
        self._round_at = np.inf
        self._ticks = preempt or any(job.spec.budget is not None for job in history.jobs)
        self._now = 0.0

    def run(self) -> Outcome:
        for row, job in enumerate(self._history.jobs):
            self._plan(row, job)
        for change in self._history.changes:
            self._push(change.at, Kind.CHANGE, partial(self._change, change))
        while self._events:
            self._moment()
        return Outcome(self._started, self._ended, self._node, self._done, self._rounds, self._leases)

    def _plan(self, row: int, job: PastJob) -> None:
        for at, many in job.batches:
            self._push(at, Kind.BATCH, partial(self._add, row, many))
        if job.stopped_at is not None:
            self._push(job.stopped_at, Kind.STOP, partial(self._stop, row))
        if job.spec.deadline_at is not None:
            self._push(job.spec.deadline_at, Kind.DEADLINE, lambda: self._reactor.tick(self._now))

    def _push(self, at: float, kind: Kind, happen: Callable[[], object]) -> None:
        heapq.heappush(self._events, (at, kind, next(self._order), happen))

    def _moment(self) -> None:
        """Let everything of one moment happen, then schedule."""
        self._now = now = self._events[0][0]
        while self._events and self._events[0][0] == now:
            _, _, _, happen = heapq.heappop(self._events)
            happen()
            self._obey()
        if self._ticks:
            self._reactor.tick(now)
            self._obey()
        if self._reactor.state.waiting:
            self._rounds += 1
            self._leases += self._reactor.schedule(now, self._policy)
            self._obey()
        self._ask_for_round()

    def _ask_for_round(self) -> None:
        """Plan the next round, unless something happens before it, or nothing ever will."""
        planned = self._now < self._round_at < np.inf
        if self._round_s is None or planned or not self._reactor.state.waiting or not self._events:
            return
        self._round_at = self._now + self._round_s
        self._push(self._round_at, Kind.ROUND, lambda: None)

    def _stop(self, row: int) -> None:
        if self._open(row):
            self._reactor.stop_job(self._now, self._ids[row], "it was stopped")

    def _open(self, row: int) -> bool:
        job = self._ids.get(row)
        return job is not None and job in self._reactor.state.jobs

    def _add(self, row: int, many: int) -> None:
        """Submit a batch of a job's tasks; the job is sealed with its last."""
        job, now = self._history.jobs[row], self._now
        if row not in self._ids:
            opened, _ = self._reactor.open_job(now, str(row), job.spec)
            self._ids[row], self._jobs[opened.id] = opened.id, row
        elif not self._open(row):
            return
        found = self._reactor.state.jobs[self._ids[row]]
        self._reactor.add_tasks(now, found.id, found.total, Column([b""] * many))
        self._batches[row] = self._batches.get(row, 0) + 1
        if self._batches[row] == len(job.batches):
            self._reactor.seal_job(now, found.id)

    def _change(self, change: Change) -> None:
        spec, now = self._history.nodes[change.node], self._now
        known = self._reactor.state.nodes.get(spec.node)
        if change.online:
            self._reactor.join_node(now, spec, _SECRET, 1, {})
            table = self._reactor.state.table
            self._machines[spec.node] = _Machine(table.capacity[table.rows[spec.node]].copy(), online=True)
        elif known is not None and known.connected:
            self._machines[spec.node] = _Machine(np.zeros(0, np.int64))
            self._reactor.leave_node(now, spec.node, known.session, _LEFT)

    def _obey(self) -> None:
        """Carry out what the reactor asks for."""
        for command in self._reactor.take_commands():
            if isinstance(command, GrantLeases):
                self._grant(command)
            elif isinstance(command, RevokeLeases):
                self._revoke(command)
            elif isinstance(command, FinishJob):
                self._reactor.forget_job(command.job)
            elif isinstance(command, Deliver):
                self._note_end(command.record)

    def _grant(self, grant: GrantLeases) -> None:
        row = self._jobs[grant.job]
        job, table = self._history.jobs[row], self._reactor.state.table
        demand = table.demand(self._reactor.state.jobs[grant.job].requirement, grant.gpu)
        machine = self._machines[grant.node]
        for index, attempt in zip(grant.indices, grant.attempts, strict=True):
            task = task_id(grant.job, index)
            mishaps = job.mishaps.get(index, ())
            number = self._failed.get(task, 0)
            fails = number < len(mishaps)
            run_s = mishaps[number] if fails else float(job.run_s[index])
            run_s *= self._stretch(row, self._rows[grant.node])
            machine.queue.append(_Held(task, attempt, demand, run_s, fails))
            self._started[self._first[row] + index] = np.nan
            self._node[self._first[row] + index] = self._rows[grant.node]
        self._start(grant.node, machine)

    def _start(self, node: NodeId, machine: _Machine) -> None:
        """Start what a node holds, in order, as far as it fits."""
        while machine.queue:
            held = machine.queue[0]
            width = len(held.demand)
            if len(machine.free) < width:  # kinds of GPU that it does not have
                machine.free = np.pad(machine.free, (0, width - len(machine.free)))
            if (held.demand > machine.free[:width]).any():
                return
            machine.queue.popleft()
            machine.free[:width] -= held.demand
            machine.running[held.task] = held
            row = self._jobs[job_of(held.task)]
            self._started[self._first[row] + index_of(held.task)] = self._now
            if held.run_s < np.inf:
                end = partial(self._end, node, held.task, held.attempt)
                self._push(self._now + held.run_s, Kind.END, end)

    def _end(self, node: NodeId, task: TaskId, attempt: int) -> None:
        """Let a node report the end of an attempt, unless it was taken from it meanwhile."""
        machine = self._machines[node]
        held = machine.running.get(task)
        if held is None or held.attempt != attempt:
            return
        self._drop(machine, held)
        failures = {}
        if held.fails:
            self._failed[task] = self._failed.get(task, 0) + 1
            failures = {0: Failure(FailureKind.EXCEPTION, "it failed then")}
        self._batch += 1
        ms = max(1, round(held.run_s * 1000))
        state = TaskState.FAILED if held.fails else TaskState.DONE
        batch = EndedBatch(
            self._batch, 1, [task], [attempt], bytes([state]), Column([b""]), failures, {}, [ms],
            [round(held.run_s * 1e6)], [0],
        )  # fmt: skip
        self._reactor.end_attempts(self._now, node, batch)
        self._start(node, machine)

    def _drop(self, machine: _Machine, held: _Held) -> None:
        del machine.running[held.task]
        machine.free[: len(held.demand)] += held.demand

    def _revoke(self, revoke: RevokeLeases) -> None:
        machine = self._machines[revoke.node]
        gone = set(revoke.tasks)
        machine.queue = deque(held for held in machine.queue if held.task not in gone)
        for task in gone & machine.running.keys():
            self._drop(machine, machine.running[task])
        self._start(revoke.node, machine)

    def _note_end(self, record: TasksEnded) -> None:
        row = self._jobs[record.job]
        for index, state in zip(record.indices, record.states, strict=True):
            self._ended[self._first[row] + index] = self._now
            self._done[self._first[row] + index] = state == TaskState.DONE
        self._over += len(record.indices)
        self._progress(self._over, self._history.tasks)
