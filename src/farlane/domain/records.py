"""Records: the append-only transitions that are the hub's truth; folding them in order gives its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from farlane.domain.bookkeeping import BookOpened, LeavesBooked, VoucherSigned
from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import BlobRef, JobSpec, JobState
from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import GpuKind
from farlane.domain.usage import ModelUsage


@dataclass(frozen=True, slots=True)
class Column:
    """A column of byte strings: small ones inline, large ones as blobs.

    inline: one entry per row, empty where a blob stands instead; blobs: row offset -> reference.
    """

    inline: list[bytes]
    blobs: dict[int, BlobRef] = field(default_factory=dict)

    def moved_bytes(self, offset: int) -> int:
        """Return the size of one row's bytes, inline or not."""
        blob = self.blobs.get(offset)
        return len(self.inline[offset]) if blob is None else blob.size_bytes

    def cut(self, start: int, stop: int) -> Column:
        """Return rows `start .. stop - 1` as a column of their own."""
        if (start, stop) == (0, len(self.inline)):
            return self
        blobs = {row - start: blob for row, blob in self.blobs.items() if start <= row < stop}
        return Column(self.inline[start:stop], blobs)


@dataclass(frozen=True, slots=True)
class JobOpened:
    """A job was admitted. `key` is the submitter's idempotency key, unique per publisher."""

    job: JobId
    key: str
    spec: JobSpec
    at: float


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """Tasks `first .. first + len(payloads) - 1` were added to an open job.

    sizes: bytes of each payload, inline or blob; None: they follow from `payloads`. A record that was read back
    without its payloads has them, since what a lease reserves depends on them. See `payload_sizes`.
    """

    job: JobId
    first: int
    payloads: Column
    at: float
    sizes: Sequence[int] | None = None


def payload_sizes(added: TasksAdded) -> Sequence[int]:
    """Return the bytes of each payload of a batch, inline or blob."""
    if added.sizes is not None:
        return added.sizes
    sizes = list(map(len, added.payloads.inline))
    for row, blob in added.payloads.blobs.items():
        sizes[row] = blob.size_bytes
    return sizes


@dataclass(frozen=True, slots=True)
class JobSealed:
    """No more tasks will be added: the job ends when all have ended."""

    job: JobId
    total: int


@dataclass(frozen=True, slots=True)
class TasksLeased:
    """Attempts were granted to a node. Columns: indices and attempts are parallel; gpu: the kind each takes."""

    job: JobId
    node: NodeId
    indices: list[int]
    attempts: list[int]
    at: float
    copy: int = 0
    gpu: GpuKind | None = None


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file a command produced: relative path and content."""

    path: str
    blob: BlobRef


@dataclass(frozen=True, slots=True)
class TasksEnded:
    """Tasks reached their final state. All columns are parallel to `indices`.

    seq: how many tasks of this job had ended before the first of these: the result cursor. states: TaskState
    values; results: pickled values (functions) or empty; failures and outputs: offset -> details, sparse;
    lease_ms, cpu_us: observed lease and metered CPU; peak_bytes: metered peak memory (0 = unknown);
    amounts: nano-credits charged for the attempt, with what `LeasesMetered` booked of it before;
    node is empty where a task ended without one (stopped, deadline, budget).
    """

    job: JobId
    seq: int
    node: NodeId
    at: float
    indices: list[int]
    attempts: list[int]
    states: bytes
    results: Column
    failures: dict[int, Failure]
    outputs: dict[int, tuple[OutputFile, ...]]
    lease_ms: list[int]
    cpu_us: list[int]
    peak_bytes: list[int]
    amounts: list[int]


@dataclass(frozen=True, slots=True)
class AttemptsFailed:
    """Attempts ended without a result and their tasks are queued again. Columns parallel to `indices`."""

    job: JobId
    node: NodeId
    at: float
    indices: list[int]
    attempts: list[int]
    failures: list[Failure]
    lease_ms: list[int]
    amounts: list[int]


@dataclass(frozen=True, slots=True)
class LeasesMetered:
    """Parts of attempts that go on were booked. Columns parallel to `indices`.

    parts: which part of its attempt each is, from 1; lease_ms: milliseconds it adds; amounts: nano-credits it adds.
    The record of the attempt's end has the sums over all of its parts.
    """

    job: JobId
    node: NodeId
    at: float
    indices: list[int]
    attempts: list[int]
    parts: list[int]
    lease_ms: list[int]
    amounts: list[int]


@dataclass(frozen=True, slots=True)
class TasksRequeued:
    """Somebody asked for ended tasks to run again (`farlane retry`): their old results are void."""

    job: JobId
    indices: list[int]
    at: float


@dataclass(frozen=True, slots=True)
class JobEnded:
    """Every task of a sealed job has ended, or the job was stopped; reason is for people."""

    job: JobId
    state: JobState
    at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NodeRegistered:
    """A node joined for the first time, or came back with another description.

    secret_sha256 binds the id to who registered it first.
    """

    spec: NodeSpec
    secret_sha256: bytes
    at: float


@dataclass(frozen=True, slots=True)
class RunTimeLearnt:
    """What was learnt of a profile's run time: mean in milliseconds over `count` tasks."""

    profile: str
    mean_ms: float
    count: int


WorkRecord = (
    JobOpened
    | TasksAdded
    | JobSealed
    | TasksLeased
    | TasksEnded
    | AttemptsFailed
    | LeasesMetered
    | TasksRequeued
    | JobEnded
    | NodeRegistered
    | RunTimeLearnt
)
"""What is replayed into the reactor's state."""
Record = WorkRecord | BookOpened | LeavesBooked | VoucherSigned | ModelUsage
