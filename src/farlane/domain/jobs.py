"""Jobs: what a publisher submits, and the states a job and its tasks pass through."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from farlane.domain.resources import Resources

MAX_INLINE_BYTES = 64 * 1024
"""Payloads and results above this travel as blobs, addressed by CID."""
MAX_RESULT_BYTES = 256 << 20
"""A function's result may not be larger; larger data belongs in output files."""
DEFAULT_TIMEOUT_MS = 3_600_000
DEFAULT_PRIORITY = 50


class JobState(StrEnum):
    """Where a job stands. The last three are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def final(self) -> bool:
        """Tell whether nothing more will happen unless somebody retries the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


class TaskState(IntEnum):
    """Where a task stands; small integers, since a job keeps one byte a task."""

    QUEUED = 0
    LEASED = 1
    DONE = 2
    FAILED = 3
    STOPPED = 4


class Durability(StrEnum):
    """When a submit or a result is acknowledged: after its fsync, or at once."""

    DURABLE = "durable"
    RELAXED = "relaxed"


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Bytes kept out of band: their CID and size."""

    cid: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FunctionWork:
    """A Python function: its cloudpickle bytes as a blob, opened only inside a worker of the same Python minor."""

    function: BlobRef
    python: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file a command finds in its working directory: relative path and content."""

    path: str
    blob: BlobRef


@dataclass(frozen=True, slots=True)
class CommandWork:
    """A command line: `setup` then `run` in a shell, files in and out by relative path (outputs may be globs)."""

    run: str
    setup: str = ""
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServeWork:
    """One version of a model, served until it is stopped: one task is one replica.

    version: CID of its manifest; deployment: the id of the deployment it belongs to; runtime: what must serve it, ""
    for whatever can; options: of the runtime; readers: recipients (`rcpt-...`) one of whom a node must be, empty where
    the version is public.
    """

    version: str
    deployment: str
    runtime: str = ""
    options: tuple[tuple[str, str], ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Python packages a function needs: hashed requirement lines and the digest that names them."""

    digest: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One submission as the hub keeps it: exactly one of `function`, `command` and `serve` is set.

    timeout_ms bounds one attempt; deadline_at is unix seconds; max_price is nano-credits an hour for one
    task's reserved resources; budget is nano-credits for the whole job; estimate_ms is the declared run
    time; profile is the key under which run times are learnt; project is what the work is charged to inside its
    organisation.
    """

    name: str
    function: FunctionWork | None = None
    command: CommandWork | None = None
    resources: Resources = field(default_factory=Resources)
    priority: int = DEFAULT_PRIORITY
    retries: int = 0
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    deadline_at: float | None = None
    max_price: int | None = None
    budget: int | None = None
    durability: Durability = Durability.DURABLE
    labels: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    environment: Environment | None = None
    estimate_ms: int | None = None
    profile: str = ""
    organisation: str = ""
    publisher: str = ""
    project: str = ""
    serve: ServeWork | None = None

    @property
    def kinds_of_work(self) -> int:
        """How many kinds of work it names; exactly one is right."""
        return sum(work is not None for work in (self.function, self.command, self.serve))
