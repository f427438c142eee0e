"""The machine's whole state, and the few steps that every part of it shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId
from farlane.domain.jobs import BlobRef
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import OutputFile
from farlane.domain.resources import GpuKind
from farlane.node.machine.attempts import HeldAttempt, HeldJob, Phase, RunningBundle
from farlane.node.machine.backlog import Backlog
from farlane.node.machine.commands import Command, FetchPayload, PrepareJob, ReleaseJob, ReleasePayload
from farlane.node.machine.pool import ResourcePool
from farlane.node.machine.queue import ReadyQueue


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a node takes upon itself."""

    payload_bytes: int = 256 << 20
    """Inline payloads of held attempts, in memory; leases beyond are handed back."""
    blob_bytes: int = 8 << 30
    """Blob payloads of held attempts, on disk; leases beyond are handed back."""
    backlog_bytes: int = 256 << 20
    """Results the hub has not acknowledged; beyond, nothing new starts."""
    attempts: int = 131_072
    """Held attempts, running, queued and unacknowledged; leases beyond are handed back."""


@dataclass(slots=True)
class NodeState:
    """Everything the machine knows.

    epoch: of the hub's store, 0 before the first hub; interim_s: see `HubJoined`; last_number: last ticket, fetch
    or preparation number; jobs: specifications this stream has carried or attempts need; held: attempts by key, from
    lease to acknowledgement; tickets: those not ended, by ticket; fetches: those that wait for a payload, by number;
    preparations: jobs whose files are got or kept, by preparation number; running: bundles at the executor;
    payload_bytes, blob_bytes: payloads held; cpu_us: metered so far; ended: how many ended, by kind ("done" or a
    failure's kind); stopped: organisations of which no lease is taken, and why; draining: no new leases; left: Leave
    was said.
    """

    node: NodeSpec
    limits: Limits
    pool: ResourcePool
    backlog: Backlog
    queue: ReadyQueue = field(default_factory=ReadyQueue)
    epoch: int = 0
    interim_s: float = 0.0
    connected: bool = False
    draining: bool = False
    left: bool = False
    last_number: int = 0
    jobs: dict[JobId, HeldJob] = field(default_factory=dict)
    held: dict[int, HeldAttempt] = field(default_factory=dict)
    tickets: dict[int, HeldAttempt] = field(default_factory=dict)
    fetches: dict[int, HeldAttempt] = field(default_factory=dict)
    preparations: dict[int, HeldJob] = field(default_factory=dict)
    running: set[RunningBundle] = field(default_factory=set)
    payload_bytes: int = 0
    blob_bytes: int = 0
    cpu_us: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    stopped: dict[str, str] = field(default_factory=dict)

    def next_number(self) -> int:
        """Return a fresh ticket or preparation number."""
        self.last_number += 1
        return self.last_number


def new_state(node: NodeSpec, devices: Sequence[tuple[int, GpuKind]], limits: Limits) -> NodeState:
    """Return the state of a node that holds nothing."""
    return NodeState(node, limits, ResourcePool(node.capacity, devices), Backlog(limits.backlog_bytes))


def prepare(state: NodeState, out: list[Command], job: HeldJob) -> None:
    """Make sure that a job's files are here or on their way."""
    if not job.preparation:
        job.preparation = state.next_number()
        state.preparations[job.preparation] = job
        out.append(PrepareJob(job.preparation, job.id, job.spec))


def enqueue(state: NodeState, out: list[Command], job: HeldJob, attempts: list[HeldAttempt]) -> None:
    """Queue attempts whose payloads are here, or let them wait for their job's files."""
    if job.files is None:
        job.waiting += attempts
        prepare(state, out, job)
        return
    for attempt in attempts:
        attempt.phase = Phase.READY
    state.queue.append(job, attempts)


def fetch(state: NodeState, out: list[Command], attempt: HeldAttempt, blob: BlobRef) -> None:
    """Ask for an attempt's payload blob."""
    attempt.blob_bytes = blob.size_bytes
    state.blob_bytes += blob.size_bytes
    attempt.fetch = state.next_number()
    state.fetches[attempt.fetch] = attempt
    out.append(FetchPayload(attempt.fetch, blob))


def stop_using(state: NodeState, out: list[Command], attempt: HeldAttempt) -> None:
    """Let go of what an attempt needed to run: its payload, and the job's files if it was the last."""
    if attempt.payload is not None:
        state.payload_bytes -= len(attempt.payload)
        attempt.payload = None
    else:
        state.blob_bytes -= attempt.blob_bytes
        if attempt.payload_path is not None:
            out.append(ReleasePayload(attempt.fetch))
        else:
            # On its way: nobody waits for it any more.
            state.fetches.pop(attempt.fetch, None)
    job = attempt.job
    job.using -= 1
    if not job.using:
        release_job(state, out, job)


def release_job(state: NodeState, out: list[Command], job: HeldJob) -> None:
    """Give up a job's files, if they are here; files on their way are given up when they arrive."""
    if job.files is not None:
        del state.preparations[job.preparation]
        out.append(ReleaseJob(job.preparation))
        job.files = None
        job.preparation = 0


def end_done(
    state: NodeState,
    attempt: HeldAttempt,
    result: bytes,
    blob: BlobRef | None = None,
    outputs: tuple[OutputFile, ...] = (),
) -> None:
    """Put a success into the backlog."""
    attempt.phase = Phase.ENDED
    state.ended["done"] += 1
    state.backlog.add_done(attempt, result, blob, outputs)


def end_failed(state: NodeState, attempt: HeldAttempt, failure: Failure) -> None:
    """Put a failure into the backlog."""
    attempt.phase = Phase.ENDED
    state.ended[failure.kind] += 1
    state.backlog.add_failed(attempt, failure)
