"""A small world: the real reactor with nodes that are plain dicts, in time that a test turns by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from farlane.domain.caps import Cap
from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, NodeId, TaskId, task_id
from farlane.domain.jobs import JobSpec, TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import (
    AttemptsFailed,
    Column,
    JobOpened,
    LeasesMetered,
    OutputFile,
    TasksEnded,
    WorkRecord,
)
from farlane.domain.usage import month_of
from farlane.hub.reactor.commands import Append, Command, GrantLeases, RevokeLeases
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.interim import RunningBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import HubState, Job, Node
from farlane.hub.store.history import History, blank
from farlane.scheduler.policy import Policy, policy_named
from farlane.testing.builders import payloads

SECRET = b"secret"


class Granted(NamedTuple):
    """One lease as its node got it."""

    node: NodeId
    task: TaskId
    attempt: int
    epoch: int


class SmallWorld:
    """A reactor, its journal and what each node holds.

    A node gets what the reactor sends it while it is connected, and loses it otherwise. What it holds survives a
    broken stream, and restarts of the hub.

    Args:
        policy: name of the placement policy.
        lease_s: how long a silent node keeps its leases.
        interim_s: how much more lease time is booked at once while a task runs, 0 for none.
        preempt: whether tasks that run make room for others.
    """

    def __init__(
        self, policy: str = "fifo", lease_s: float = 10.0, interim_s: float = 0.0, *, preempt: bool = False
    ) -> None:
        self.now = 1_000_000.0
        self.epoch = 1
        self.lease_s, self.interim_s, self.preempt = lease_s, interim_s, preempt
        self.policy: Policy = policy_named(policy)
        self.reactor = Reactor(self.epoch, lease_s, interim_s, preempt=preempt)
        self.journal: list[WorkRecord] = []
        self.commands: list[Command] = []
        self.held: dict[NodeId, dict[TaskId, int]] = {}
        self.granted: list[Granted] = []
        self.joined_in: dict[NodeId, int] = {}  # the epoch in which each node was granted what it holds
        self.caps: dict[tuple[str, str, bool], Cap] = {}
        self.batch = 0
        self.state.accounts.seed(month_of(self.now), ())

    @property
    def state(self) -> HubState:
        """The reactor's state."""
        return self.reactor.state

    @property
    def connected(self) -> list[NodeId]:
        """The nodes whose stream is open, as the hub knows it."""
        return [node_id for node_id, node in self.state.nodes.items() if node.connected]

    def node(self, spec: NodeSpec) -> Node:
        """Return what the hub knows of a node."""
        return self.state.nodes[spec.node]

    def take(self) -> list[Command]:
        """Carry out what the reactor asks for, and return it."""
        taken = self.reactor.take_commands()
        for command in taken:
            if isinstance(command, Append):
                self.journal.append(command.record)
            elif isinstance(command, GrantLeases):
                held = self.held.setdefault(command.node, {})
                for index, attempt in zip(command.indices, command.attempts, strict=True):
                    task = task_id(command.job, index)
                    held[task] = attempt
                    self.granted.append(Granted(command.node, task, attempt, self.epoch))
            elif isinstance(command, RevokeLeases) and self.state.nodes[command.node].connected:
                held = self.held.setdefault(command.node, {})
                for task, attempt in zip(command.tasks, command.attempts, strict=True):
                    if held.get(task) == attempt:
                        del held[task]
        self.commands += taken
        return taken

    def submit(
        self, spec: JobSpec, count: int = 1, *, key: str = "key", seal: bool = True, size_bytes: int = 4
    ) -> Job:
        """Open a job with some tasks, and seal it unless told not to."""
        job, _ = self.reactor.open_job(self.now, key, spec)
        self.reactor.add_tasks(self.now, job.id, 0, payloads(count, size_bytes))
        if seal:
            self.reactor.seal_job(self.now, job.id)
        self.take()
        return job

    def join(self, spec: NodeSpec, *, forgetful: bool = False, secret: bytes = SECRET) -> list[Command]:
        """Connect a node with what it holds, or with nothing; returns what the reactor asked for."""
        if forgetful:
            self.held[spec.node] = {}
        held = dict(self.held.setdefault(spec.node, {}))
        epoch = self.joined_in.get(spec.node, self.epoch)
        self.reactor.join_node(self.now, spec, secret, epoch, held)
        self.joined_in[spec.node] = self.epoch
        return self.take()

    def leave(self, node: NodeId, farewell: str = "") -> None:
        """End a node's stream; one that says farewell hands everything back."""
        self.reactor.leave_node(self.now, node, self.state.nodes[node].session, farewell)
        if farewell:
            self.held[node] = {}
        self.take()

    def cap(self, cap: Cap) -> None:
        """Put a cap in force; it outlives restarts, as the hub's file does."""
        self.caps[cap.organisation, cap.project, cap.ceiling] = cap
        self.state.accounts.set_cap(cap)

    def spent(self) -> list[tuple[str, tuple[str, str], int]]:
        """Return what the journal has booked: month, (organisation, project) and nano-credits."""
        specs = {record.job: record.spec for record in self.journal if isinstance(record, JobOpened)}
        parts: Counter[tuple[JobId, int, int]] = Counter()
        found = []
        for record in self.journal:
            if not isinstance(record, TasksEnded | AttemptsFailed | LeasesMetered):
                continue
            whose = specs[record.job].organisation, specs[record.job].project
            rows = [(record.job, *row) for row in zip(record.indices, record.attempts, strict=True)]
            amount = sum(record.amounts)
            if isinstance(record, LeasesMetered):
                parts.update(dict(zip(rows, record.amounts, strict=True)))
            else:  # what it says is of the whole attempt
                amount -= sum(parts.pop(row, 0) for row in rows)
            found.append((month_of(record.at), whose, amount))
        return found

    def beat(self) -> None:
        """Let every connected node send a heartbeat."""
        for node_id in self.connected:
            self.reactor.hear_node(self.now, node_id)

    def schedule(self) -> int:
        """Run one round; returns how many leases were granted."""
        granted = self.reactor.schedule(self.now, self.policy)
        self.take()
        return granted

    def end(
        self, node: NodeId, tasks: Sequence[TaskId], failure: Failure | None = None,
        *, lease_ms: int = 10, result: bytes = b"result",
    ) -> list[Command]:  # fmt: skip
        """Let a node report held tasks as ended, all alike; returns what the reactor asked for."""
        attempts = [self.held[node].pop(task) for task in tasks]
        return self.report(node, tasks, attempts, failure, lease_ms=lease_ms, result=result)

    def end_all(self, failure: Failure | None = None) -> None:
        """Let every connected node report everything it holds."""
        for node_id, tasks in self.held.items():
            if tasks and node_id in self.connected:
                self.end(node_id, list(tasks), failure)

    def report(
        self, node: NodeId, tasks: Sequence[TaskId], attempts: Sequence[int], failure: Failure | None = None,
        *, lease_ms: int = 10, cpu_us: int = 1000, epoch: int | None = None, result: bytes = b"result",
        outputs: dict[int, tuple[OutputFile, ...]] | None = None,
    ) -> list[Command]:  # fmt: skip
        """Report any attempts, held or not; returns what the reactor asked for."""
        self.batch += 1
        count = len(tasks)
        state = TaskState.DONE if failure is None else TaskState.FAILED
        failures = {} if failure is None else dict.fromkeys(range(count), failure)
        batch = EndedBatch(
            self.batch, self.epoch if epoch is None else epoch, tasks, attempts, bytes([state]) * count,
            Column([result if failure is None else b""] * count), failures, outputs or {}, [lease_ms] * count,
            [cpu_us] * count, [4096] * count,
        )  # fmt: skip
        self.reactor.end_attempts(self.now, node, batch)
        return self.take()

    def meter(
        self, node: NodeId, tasks: Sequence[TaskId], lease_ms: int, epoch: int | None = None
    ) -> list[Command]:
        """Let a node report held tasks as running for so long; returns what the reactor asked for."""
        attempts = [self.held[node][task] for task in tasks]
        running = RunningBatch(
            self.epoch if epoch is None else epoch, tasks, attempts, [lease_ms] * len(tasks)
        )
        self.reactor.meter_attempts(self.now, node, running)
        return self.take()

    def tick(self, seconds: float) -> list[Command]:
        """Let time pass; returns what the reactor asked for."""
        self.now += seconds
        self.reactor.tick(self.now)
        return self.take()

    def recall(self, job: JobId) -> Job:
        """Return a job that is open or not forgotten yet, else one rebuilt from its records."""
        found = self.state.jobs.get(job) or self.reactor.restore_job(self.records_of(job))
        assert found is not None, f"no record of job {job}"
        return found

    def records_of(self, job: JobId) -> list[WorkRecord]:
        """Return the records of one job, as the store would replay it."""
        return list(map(blank, _history(self.journal).records_of(job)))

    def restart(self) -> None:
        """Throw the reactor away and rebuild it as from the store: open jobs only; nodes are disconnected."""
        self._rebuild(max(self.state.next_job - 1, 0))

    def restore(self, records: int) -> None:
        """Go back to a backup made when the journal had so many records: a new epoch begins."""
        del self.journal[records:]
        self.epoch += 1
        self._rebuild(_history(self.journal).last_job())

    def _rebuild(self, last_job: int) -> None:
        history = _history(self.journal)
        self.reactor = Reactor(self.epoch, self.lease_s, self.interim_s, preempt=self.preempt)
        self.reactor.replay(map(blank, history.records(history.open_jobs())), JobId(last_job), self.now)
        self.state.accounts.seed(month_of(self.now), self.spent())
        for cap in self.caps.values():
            self.state.accounts.set_cap(cap)
        self.take()


def _history(records: Sequence[WorkRecord]) -> History:
    history = History()
    for record in records:
        history.add(record)
    return history
