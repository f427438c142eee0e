"""What the hub's plain calls answer, as values of this side."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, NodeId, TaskId
from farlane.domain.jobs import JobState
from farlane.domain.nodes import NodeSpec
from farlane.errors import Corrupted
from farlane.wire.nodes import node_spec_from_wire
from farlane.wire.results import failure_from_wire
from farlane.wire.v1 import client_pb2


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands. Counts are tasks, times unix seconds (0 = not yet), money nano-credits.

    capped: which budget or quota of its organisation or project its waiting tasks wait for, empty where it is none.
    """

    job: JobId
    name: str
    state: JobState
    total: int
    queued: int
    running: int
    done: int
    failed: int
    stopped: int
    sealed: bool
    priority: int
    opened_at: float
    ended_at: float
    spent: int
    reserved: int
    budget: int | None
    lease_ms: int
    retries: int
    reason: str
    publisher: str
    quoted: int
    first_lease_at: float
    project: str = ""
    capped: str = ""

    @property
    def ended(self) -> int:
        """Tasks in a final state."""
        return self.done + self.failed + self.stopped


@dataclass(frozen=True, slots=True)
class NodeOffer:
    """One node's price for the job in nano-credits an hour, and whether it can run it."""

    node: NodeId
    name: str
    hourly: int
    eligible: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job may cost, in nano-credits: at most, one attempt at most, and as expected (0 = unknown).

    problem and fix are for people; both are empty when the job can run. custody: which key of the publisher's the hub
    holds and what its loss can cost, empty where it holds none. notices: how far the budgets it would be charged to are
    used, of those that have come to an alert.
    """

    upper_bound: int
    attempt_upper_bound: int
    expected: int
    eligible_nodes: int
    offers: tuple[NodeOffer, ...]
    problem: str
    fix: str
    custody: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeReason:
    """Why one node does not run a job now."""

    node: NodeId
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job stands where it stands: one dominant reason, what would fix it, and each node's reason."""

    job: JobId
    state: JobState
    dominant: str
    fix: str
    nodes: tuple[NodeReason, ...]
    failures: tuple[Failure, ...]
    decider: str = ""
    """Who decides at this moment and why it is not the policy; empty where one rule always does."""
    weighed: tuple[str, ...] = ()
    """What a policy that scores weighs of the job's turn and of its node, in sentences."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node stands; `used_*` in the units of `Resources`, earned in nano-credits, times unix seconds."""

    spec: NodeSpec
    state: str
    used_cpu_milli: int
    used_memory_bytes: int
    used_disk_bytes: int
    used_gpus: int
    leases: int
    tasks_done: int
    tasks_failed: int
    attempts_lost: int
    earned: int
    busy_ms: int
    last_seen: float
    joined_at: float


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes that one attempt of a task wrote to `stdout` or `stderr`."""

    task: TaskId
    attempt: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A backup as the hub wrote it: path on the hub's machine, size in bytes."""

    path: str
    size_bytes: int


def job_status_from_wire(message: client_pb2.JobStatus) -> JobStatus:
    """Return a job's status.

    Raises:
        Corrupted: a state that this version does not know.
    """
    return JobStatus(
        job=JobId(message.job),
        name=message.name,
        state=_state(message.state),
        total=message.total,
        queued=message.queued,
        running=message.running,
        done=message.done,
        failed=message.failed,
        stopped=message.stopped,
        sealed=message.sealed,
        priority=message.priority,
        opened_at=message.opened_at,
        ended_at=message.ended_at,
        spent=message.spent,
        reserved=message.reserved,
        budget=message.budget if message.HasField("budget") else None,
        lease_ms=message.lease_ms,
        retries=message.retries,
        reason=message.reason,
        publisher=message.publisher,
        quoted=message.quoted,
        first_lease_at=message.first_lease_at,
        project=message.project,
        capped=message.capped,
    )


def quote_from_wire(message: client_pb2.QuoteReply) -> Quote:
    """Return a quote."""
    return Quote(
        upper_bound=message.upper_bound,
        attempt_upper_bound=message.attempt_upper_bound,
        expected=message.expected,
        eligible_nodes=message.eligible_nodes,
        offers=tuple(
            NodeOffer(NodeId(offer.node), offer.name, offer.hourly, offer.eligible, offer.reason)
            for offer in message.offers
        ),
        problem=message.problem,
        fix=message.fix,
        custody=message.custody,
        notices=tuple(message.notices),
    )


def explanation_from_wire(message: client_pb2.ExplainReply) -> Explanation:
    """Return an explanation.

    Raises:
        Corrupted: a state that this version does not know.
        InvalidInput: a failure that is not one.
    """
    return Explanation(
        job=JobId(message.job),
        state=_state(message.state),
        dominant=message.dominant,
        fix=message.fix,
        nodes=tuple(NodeReason(NodeId(node.node), node.name, node.reason) for node in message.nodes),
        failures=tuple(failure_from_wire(failure) for failure in message.failures),
        decider=message.decider,
        weighed=tuple(message.weighed),
    )


def node_status_from_wire(message: client_pb2.NodeStatus) -> NodeStatus:
    """Return a node's status.

    Raises:
        InvalidInput: a description that is not one.
    """
    return NodeStatus(
        spec=node_spec_from_wire(message.spec),
        state=message.state,
        used_cpu_milli=message.used_cpu_milli,
        used_memory_bytes=message.used_memory_bytes,
        used_disk_bytes=message.used_disk_bytes,
        used_gpus=message.used_gpus,
        leases=message.leases,
        tasks_done=message.tasks_done,
        tasks_failed=message.tasks_failed,
        attempts_lost=message.attempts_lost,
        earned=message.earned,
        busy_ms=message.busy_ms,
        last_seen=message.last_seen,
        joined_at=message.joined_at,
    )


def log_chunk_from_wire(message: client_pb2.LogLine) -> LogChunk:
    """Return a piece of a log."""
    return LogChunk(TaskId(message.task), message.attempt, message.stream, message.data)


def _state(text: str) -> JobState:
    try:
        return JobState(text)
    except ValueError as error:
        known = ", ".join(state.value for state in JobState)
        raise Corrupted(
            f"the hub says a job is {text[:40]!r}; expected one of {known}. Upgrade farlane here"
        ) from error
