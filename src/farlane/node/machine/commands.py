"""Commands: what the machine asks its shell to do, in order."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.node.executors.port import Bundle, CommandResult, Value


@dataclass(frozen=True, slots=True)
class PrepareJob:
    """Get what the job's tasks share (function, input files, environment); answer JobPrepared or JobUnprepared."""

    preparation: int
    job: JobId
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """No task needs the files of this preparation any more: they may leave the cache."""

    preparation: int


@dataclass(frozen=True, slots=True)
class FetchPayload:
    """Get a payload blob; answer PayloadFetched or PayloadLost, whatever becomes of the attempt."""

    fetch: int
    blob: BlobRef


@dataclass(frozen=True, slots=True)
class ReleasePayload:
    """A fetched payload was used: its file may leave the cache."""

    fetch: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Run a bundle."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Cancel:
    """End one execution; its Finished follows."""

    ticket: int


@dataclass(frozen=True, slots=True)
class ReleaseScratch:
    """A finished execution's files were taken, or nobody wants them."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Upload:
    """Store a large result or output files as blobs; answer Uploaded or UploadFailed."""

    ticket: int
    outcome: Value | CommandResult


@dataclass(frozen=True, slots=True)
class ReportResults:
    """Result batches wait: send `Backlog.next_batch` until it has none."""


@dataclass(frozen=True, slots=True)
class ReportRunning:
    """Tell the hub of attempts that have run long and go on: parallel columns; lease_ms: run time so far."""

    tasks: list[TaskId]
    attempts: list[int]
    lease_ms: list[int]


@dataclass(frozen=True, slots=True)
class AnnounceDrain:
    """Tell the hub that this node takes no new leases."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Everything is reported and accepted: say farewell and go."""


Command = (
    PrepareJob
    | ReleaseJob
    | FetchPayload
    | ReleasePayload
    | Submit
    | Cancel
    | ReleaseScratch
    | Upload
    | ReportResults
    | ReportRunning
    | AnnounceDrain
    | Leave
)
