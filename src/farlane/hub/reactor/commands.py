"""Commands: what the reactor asks its shell to do, in order; outputs wait for the records before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from farlane.domain.ids import JobId, NodeId, TaskId
from farlane.domain.records import TasksEnded, WorkRecord
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.state import Lease


@dataclass(frozen=True, slots=True)
class Append:
    """Make a record durable before any later output leaves, unless that output is `relaxed`.

    leases: where a node's attempts, or parts of them, are to be booked, their leases, parallel to the record's rows.
    """

    record: WorkRecord
    leases: Sequence[Lease] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class GrantLeases:
    """Send leases to a node: parallel columns of task indices and attempts of one job; gpu: the kind each takes."""

    node: NodeId
    job: JobId
    indices: list[int]
    attempts: list[int]
    relaxed: bool
    gpu: GpuKind | None = None


@dataclass(frozen=True, slots=True)
class RevokeLeases:
    """Tell a node to drop attempts: parallel columns."""

    node: NodeId
    tasks: list[TaskId]
    attempts: list[int]
    reason: str


@dataclass(frozen=True, slots=True)
class AcceptEnded:
    """Tell a node that its result batch is safe, on the very stream it came by: numbers start over with a node."""

    node: NodeId
    session: int
    batch: int
    relaxed: bool


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand ended tasks to whoever watches their job."""

    record: TasksEnded
    relaxed: bool


@dataclass(frozen=True, slots=True)
class FinishJob:
    """A job has ended: tell its watchers, then forget what is cached of it."""

    job: JobId


@dataclass(frozen=True, slots=True)
class RequestDrain:
    """Tell a node to take no new work and leave when it is done."""

    node: NodeId
    hand_back: bool


Output = GrantLeases | RevokeLeases | AcceptEnded | Deliver | FinishJob | RequestDrain
Command = Append | Output
