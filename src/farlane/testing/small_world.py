"""A small world: the real reactor with nodes that are plain lists, in time that a test turns by hand."""

from __future__ import annotations

from farlane.domain.failures import Failure
from farlane.domain.ids import NodeId, TaskId, task_id
from farlane.domain.jobs import TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import Column, Record
from farlane.hub.reactor.commands import Append, Command, GrantLeases, RevokeLeases
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.scheduler.policy import Policy, policy_named

SECRET = b"secret"


class SmallWorld:
    """A reactor, its journal and what each node holds.

    Args:
        policy: name of the placement policy.
        lease_s: how long a silent node keeps its leases.
    """

    def __init__(self, policy: str = "fifo", lease_s: float = 10.0) -> None:
        self.now = 1_000_000.0
        self.lease_s = lease_s
        self.policy: Policy = policy_named(policy)
        self.reactor = Reactor(1, lease_s)
        self.journal: list[Record] = []
        self.commands: list[Command] = []
        self.held: dict[NodeId, dict[TaskId, int]] = {}
        self.batch = 0

    def take(self) -> list[Command]:
        """Carry out what the reactor asks for, and return it."""
        taken = self.reactor.take_commands()
        for command in taken:
            if isinstance(command, Append):
                self.journal.append(command.record)
            elif isinstance(command, GrantLeases):
                held = self.held.setdefault(command.node, {})
                for index, attempt in zip(command.indices, command.attempts, strict=True):
                    held[task_id(command.job, index)] = attempt
            elif isinstance(command, RevokeLeases):
                held = self.held.setdefault(command.node, {})
                for task, attempt in zip(command.tasks, command.attempts, strict=True):
                    if held.get(task) == attempt:
                        del held[task]
        self.commands += taken
        return taken

    def join(self, spec: NodeSpec, *, forgetful: bool = False) -> None:
        """Connect a node with what it holds, or with nothing."""
        if forgetful:
            self.held[spec.node] = {}
        held = self.held.setdefault(spec.node, {})
        self.reactor.join_node(self.now, spec, SECRET, 1, dict(held))
        self.take()

    def schedule(self) -> int:
        """Run one round."""
        granted = self.reactor.schedule(self.now, self.policy)
        self.take()
        return granted

    def end(
        self,
        node: NodeId,
        tasks: list[TaskId],
        failure: Failure | None = None,
        *,
        lease_ms: int = 10,
        epoch: int = 1,
    ) -> None:
        """Let a node report held tasks as ended, all alike."""
        attempts = [self.held[node].pop(task) for task in tasks]
        self.report(node, tasks, attempts, failure, lease_ms=lease_ms, epoch=epoch)

    def report(
        self, node: NodeId, tasks: list[TaskId], attempts: list[int], failure: Failure | None = None,
        *, lease_ms: int = 10, epoch: int = 1,
    ) -> None:  # fmt: skip
        """Report any attempts, held or not."""
        self.batch += 1
        count = len(tasks)
        state = TaskState.DONE if failure is None else TaskState.FAILED
        failures = {} if failure is None else dict.fromkeys(range(count), failure)
        batch = EndedBatch(
            self.batch, epoch, tasks, attempts, bytes([state]) * count, Column([b"result"] * count), failures, {},
            [lease_ms] * count, [1000] * count, [4096] * count,
        )  # fmt: skip
        self.reactor.end_attempts(self.now, node, batch)
        self.take()

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.reactor.tick(self.now)
        self.take()

    def restart(self) -> None:
        """Throw the reactor away and rebuild it from its journal; nodes are disconnected."""
        last = self.reactor.state.next_job - 1
        self.reactor = Reactor(1, self.lease_s)
        self.reactor.replay(self.journal, last, self.now)  # type: ignore[arg-type]
        self.take()
