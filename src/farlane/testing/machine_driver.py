"""A node's machine with short ways to drive it: for tests of the machine, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId, task_id
from farlane.domain.jobs import BlobRef, FunctionWork, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Capacity, GpuKind, Resources
from farlane.node.executors.port import Bundle, Failed, Finished, Outcome, Started, Usage, Value
from farlane.node.machine import commands
from farlane.node.machine import events as ev
from farlane.node.machine.attempts import JobFiles
from farlane.node.machine.machine import Machine
from farlane.node.machine.state import Limits

T = TypeVar("T")

JOB = JobId(7)
ORGANISATION = "lab"
EPOCH = 3
NODE = NodeSpec(NodeId("n1"), "one", ORGANISATION, Capacity(2000, 4 * GIB, 8 * GIB), "3.11", "linux")
ONE_SLOT = replace(NODE, capacity=Capacity(1000, GIB, 0))
FUNCTION = FunctionWork(BlobRef("bafkreifunction", 10), "3.11", "f")
FILES = JobFiles("/cache/f")
CANCELLED = Failed(FailureKind.CANCELLED, "cancelled")


def job_spec(**changes: object) -> JobSpec:
    """Return a function job of one core and one GiB a task, with changes."""
    base = JobSpec(
        name="job",
        function=FUNCTION,
        organisation=ORGANISATION,
        publisher="ada",
        timeout_ms=2500,
        resources=Resources(1000, GIB, 0),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


class DrivenNode:
    """A machine that has joined a hub of epoch 3.

    Args:
        node: its description.
        devices: its GPUs, by index.
        limits: how much it takes upon itself.
    """

    def __init__(
        self, node: NodeSpec = NODE, devices: Sequence[tuple[int, GpuKind]] = (), limits: Limits | None = None
    ) -> None:
        self.machine = Machine(node, devices, limits)
        self.now = 0.0
        self.machine.handle(ev.HubJoined(0.0, EPOCH))

    def grant(
        self,
        *indices: int,
        job: JobId = JOB,
        spec: JobSpec | None = None,
        attempt: int = 1,
        epoch: int = EPOCH,
        payloads: Column | None = None,
    ) -> list[commands.Command]:
        """Grant leases of one job; payloads are `p<index>` unless given."""
        tasks = [task_id(job, index) for index in indices]
        column = payloads or Column([b"p%d" % index for index in indices])
        numbers, copies = [attempt] * len(tasks), [0] * len(tasks)
        return self.machine.handle(
            ev.LeasesGranted(self.now, epoch, job, spec, tasks, numbers, copies, column)
        )

    def run(
        self, *indices: int, job: JobId = JOB, spec: JobSpec | None = None, files: JobFiles = FILES
    ) -> list[Bundle]:
        """Grant leases and prepare their job; returns what started."""
        out = self.grant(*indices, job=job, spec=spec or job_spec())
        for command in only(out, commands.PrepareJob):
            out += self.prepared(command.preparation, files)
        return bundles(out)

    def prepared(self, preparation: int, files: JobFiles = FILES) -> list[commands.Command]:
        """Say that a job's files are here."""
        return self.machine.handle(ev.JobPrepared(self.now, preparation, files))

    def started(self, *numbers: int) -> list[commands.Command]:
        """Say that executions began."""
        return self.machine.handle(ev.Executed(self.now, [Started(number, self.now) for number in numbers]))

    def finish(
        self, ticket: int, outcome: Outcome | None = None, wall_s: float = 0.0004
    ) -> list[commands.Command]:
        """Say that an execution ended, by default with the result `r`."""
        usage = Usage(0.00025, wall_s, 4096)
        return self.machine.handle(ev.Executed(self.now, [Finished(ticket, outcome or Value(b"r"), usage)]))

    def revoke(self, *indices: int, attempt: int = 1, epoch: int = EPOCH) -> list[commands.Command]:
        """Revoke attempts of tasks of the job `JOB`."""
        tasks = [task_id(JOB, index) for index in indices]
        return self.machine.handle(
            ev.LeasesRevoked(self.now, epoch, tasks, [attempt] * len(tasks), [0] * len(tasks))
        )

    def reported(self) -> dict[TaskId, FailureKind | None]:
        """Take every unsent batch; returns task -> kind of failure, None for a success."""
        found: dict[TaskId, FailureKind | None] = {}
        while (batch := self.machine.next_batch()) is not None:
            for row, held in enumerate(batch.rows.held):
                assert held.task not in found, "reported twice"
                failure = batch.rows.failures.get(row)
                found[held.task] = None if failure is None else failure.kind
        return found

    def only_failure(self) -> Failure:
        """Return the only failure of the next batch."""
        batch = self.machine.next_batch()
        assert batch is not None, "nothing was reported"
        (failure,) = batch.rows.failures.values()
        return failure


def gpu_node(*devices: tuple[int, GpuKind]) -> DrivenNode:
    """Return a node of eight cores with these GPUs."""
    kinds = sorted({kind for _, kind in devices})
    gpus = tuple((kind, sum(other == kind for _, other in devices)) for kind in kinds)
    return DrivenNode(replace(NODE, capacity=Capacity(8000, 8 * GIB, 8 * GIB, gpus)), devices)


def only(out: Sequence[object], kind: type[T]) -> list[T]:
    """Return the commands of one kind."""
    return [command for command in out if isinstance(command, kind)]


def bundles(out: Sequence[object]) -> list[Bundle]:
    """Return what is to be run."""
    return [command.bundle for command in only(out, commands.Submit)]


def tickets(bundle: Bundle) -> list[int]:
    """Return the tickets of a bundle."""
    return [execution.ticket for execution in bundle.executions]
