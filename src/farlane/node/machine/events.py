"""Events: what happened around the machine; every one carries `now`, a reading of the monotonic clock in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.records import Column, OutputFile
from farlane.domain.resources import GpuKind
from farlane.node.executors.port import Finished, Started
from farlane.node.machine.attempts import JobFiles


@dataclass(frozen=True, slots=True)
class HubJoined:
    """A stream to the hub stands.

    epoch: of the hub's store; interim_s: run time after which it wants to hear of what runs on, 0 for never.
    """

    now: float
    epoch: int
    interim_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HubLost:
    """The stream ended. What runs keeps running."""

    now: float


@dataclass(frozen=True, slots=True)
class LeasesGranted:
    """Leases of one job; columns parallel to `tasks`; `spec` is None where the stream has carried it before.

    gpu: the kind of GPU each takes; None: none, or any that the job accepts.
    """

    now: float
    epoch: int
    job: JobId
    spec: JobSpec | None
    tasks: Sequence[TaskId]
    attempts: Sequence[int]
    copies: Sequence[int]
    payloads: Column
    gpu: GpuKind | None = None


@dataclass(frozen=True, slots=True)
class LeasesRevoked:
    """The hub took leases back: their results would not be accepted. Columns parallel to `tasks`."""

    now: float
    epoch: int
    tasks: Sequence[TaskId]
    attempts: Sequence[int]
    copies: Sequence[int]


@dataclass(frozen=True, slots=True)
class BatchAccepted:
    """The hub has result batch `batch` and all before it durably."""

    now: float
    batch: int


@dataclass(frozen=True, slots=True)
class JobPrepared:
    """What a job's tasks share lies on disk. preparation: the number of its PrepareJob."""

    now: float
    preparation: int
    files: JobFiles


@dataclass(frozen=True, slots=True)
class JobUnprepared:
    """What a job's tasks share could not be had. preparation: the number of its PrepareJob."""

    now: float
    preparation: int
    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class PayloadFetched:
    """A payload that travels as a blob lies in the file `path`. fetch: the number of its FetchPayload."""

    now: float
    fetch: int
    path: str


@dataclass(frozen=True, slots=True)
class PayloadLost:
    """A payload's blob could not be had. fetch: the number of its FetchPayload."""

    now: float
    fetch: int
    message: str


@dataclass(frozen=True, slots=True)
class Executed:
    """The executor reported; in the order in which it happened."""

    now: float
    events: Sequence[Started | Finished]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A finished attempt's large result or output files are blobs at the hub."""

    now: float
    ticket: int
    result: BlobRef | None
    outputs: tuple[OutputFile, ...]


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """A finished attempt's large result or output files could not be stored."""

    now: float
    ticket: int
    message: str
    kind: FailureKind = FailureKind.BLOB


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """Take nothing new, then leave. hand_back: what has not started goes back instead of being finished."""

    now: float
    hand_back: bool


@dataclass(frozen=True, slots=True)
class DrainExpired:
    """The time to finish is over: what still runs is handed back too."""

    now: float


@dataclass(frozen=True, slots=True)
class CreditChanged:
    """No more work of an organisation is taken, for a reason; "" for a reason: it is again."""

    now: float
    organisation: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""

    now: float


Event = (
    HubJoined
    | HubLost
    | LeasesGranted
    | LeasesRevoked
    | BatchAccepted
    | JobPrepared
    | JobUnprepared
    | PayloadFetched
    | PayloadLost
    | Executed
    | Uploaded
    | UploadFailed
    | DrainRequested
    | DrainExpired
    | CreditChanged
    | Ticked
)
