"""What the machine holds: jobs it knows, attempts and the bundles in which they run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import JobSpec
from farlane.domain.resources import GpuKind, Resources
from farlane.node.executors.port import PoolKey

TARGET_BUNDLE_S = 0.020
"""Work one bundle should hold: long against a hand-over, short against a person's patience."""
MAX_BUNDLE = 256
_WEIGHT = 0.1


class Phase(IntEnum):
    """Where a held attempt stands."""

    FETCHING = 0
    """Its payload, or what its job shares, is not here yet."""
    READY = 1
    RUNNING = 2
    UPLOADING = 3
    ENDED = 4
    """Reported, or about to be; not yet acknowledged."""
    DROPPED = 5
    """Revoked or void: it may still have to be killed, but nobody is told."""


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Where on this machine lies what a job's tasks share.

    function_path: pickled function, "" for commands; site_path: directory of the environment's packages, or
    None; inputs: (path in the task's directory, file) of a command.
    """

    function_path: str = ""
    site_path: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class HeldJob:
    """One job as far as this node is concerned.

    refusal: why this node will run none of it; slots: how many of its tasks the whole node could run at once;
    preparation: under which number its files are got or kept, 0 = not; waiting: attempts that wait for them;
    using: attempts that will still need them; mean_s: running mean of its tasks' wall time, None before the
    first has ended.
    """

    id: JobId
    spec: JobSpec
    refusal: Failure | None = None
    slots: int = 1
    files: JobFiles | None = None
    preparation: int = 0
    waiting: list[HeldAttempt] = field(default_factory=list)
    using: int = 0
    mean_s: float | None = None
    pool: PoolKey = PoolKey("")

    def observe(self, wall_s: float) -> None:
        """Learn from one finished task."""
        mean = self.mean_s
        self.mean_s = wall_s if mean is None else mean + _WEIGHT * (wall_s - mean)

    def bundle_size(self, ready: int) -> int:
        """Return how many of `ready` tasks go into one slot at once: one while the run time is unknown."""
        if self.mean_s is None:
            return 1
        by_time = int(TARGET_BUNDLE_S / max(self.mean_s, 1e-6))
        # Never so many that another slot would stand idle.
        return max(1, min(by_time, MAX_BUNDLE, -(-ready // self.slots)))


@dataclass(slots=True)
class HeldAttempt:
    """One attempt from its lease to the hub's acknowledgement.

    ticket: its number at the executor; key: task and copy, unique among held attempts; gpu: the kind it must take, None
    for any its job accepts; fetch, blob_bytes: number and size of a payload that travels as a blob; payload_path: where
    that was put; recalled: taken out of its bundle to be queued again; handing_back: taken out to be handed back;
    reported_ms: run time the hub was last told while it runs; the last three as `EndedColumns` has them.
    """

    ticket: int
    key: int
    job: HeldJob
    task: TaskId
    attempt: int
    copy: int
    payload: bytes | None
    gpu: GpuKind | None = None
    phase: Phase = Phase.FETCHING
    payload_path: str | None = None
    fetch: int = 0
    blob_bytes: int = 0
    bundle: RunningBundle | None = None
    started: bool = False
    recalled: bool = False
    handing_back: bool = False
    reported_ms: int = 0
    lease_ms: int = 0
    cpu_us: int = 0
    peak_bytes: int = 0


@dataclass(slots=True, eq=False)
class RunningBundle:
    """Attempts that run one after another in one slot. progress_at: monotonic seconds of its last sign of life."""

    resources: Resources
    devices: tuple[int, ...]
    attempts: list[HeldAttempt]
    left: int
    progress_at: float

    def current(self) -> HeldAttempt | None:
        """Return the attempt that is being executed, None before the first has started and between two."""
        running = (attempt for attempt in self.attempts if attempt.started and attempt.phase is Phase.RUNNING)
        return next(running, None)

    def elapsed_ms(self, now: float) -> int:
        """Return the milliseconds since its last sign of life: the run time so far of what it executes."""
        return max(0, int((now - self.progress_at) * 1000))


def attempt_key(task: TaskId, copy: int) -> int:
    """Return the key under which an attempt of this task and copy is held."""
    return task << 16 | copy
