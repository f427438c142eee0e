"""The reactor's state: jobs with one byte a task, nodes with their leases, and the resource table."""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from farlane.domain.billing import Meter
from farlane.domain.ids import JobId, NodeId, TaskId
from farlane.domain.jobs import JobSpec, JobState
from farlane.domain.model_facts import ModelFacts
from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.account import Account
from farlane.hub.reactor.accounts import Accounts
from farlane.hub.reactor.habits import RunHabits
from farlane.hub.reactor.requirements import Requirement
from farlane.hub.reactor.table import NodeTable

MAX_ATTEMPTS = 255
"""Attempts of one task are numbered in one byte; a number is never given out twice."""


@dataclass(slots=True)
class Lease:
    """One attempt in force. reserve: nano-credits held of the job's budget; gpu: the kind it takes.

    part, part_ms, paid: how many parts of it were booked while it runs, their lease milliseconds and nano-credits.
    """

    attempt: int
    at: float
    reserve: int
    gpu: GpuKind | None
    part: int = 0
    part_ms: int = 0
    paid: int = 0


@dataclass(slots=True)
class Tally:
    """How one job's leases on one node stand. counts: leases by the kind of GPU they take; meters: their prices."""

    last_at: float
    counts: dict[GpuKind | None, int] = field(default_factory=dict)
    meters: dict[GpuKind | None, Meter] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Leases in all."""
        return sum(self.counts.values())


@dataclass(slots=True)
class Job:
    """One open job.

    states, attempts: one byte a task; sizes: payload bytes a task; fresh: first index never leased;
    returned: indices to run again; counted / free / moved: failures so far by retry rule, sparse; avoid: nodes where a
    returned task has failed; seq: the result cursor; running: leases per node;
    accounts: what it is charged to.
    """

    id: JobId
    key: str
    spec: JobSpec
    requirement: Requirement
    opened_at: float
    since: float
    states: bytearray = field(default_factory=bytearray)
    attempts: bytearray = field(default_factory=bytearray)
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    fresh: int = 0
    returned: deque[int] = field(default_factory=deque)
    counted: dict[int, int] = field(default_factory=dict)
    free: dict[int, int] = field(default_factory=dict)
    moved: dict[int, int] = field(default_factory=dict)
    avoid: dict[int, frozenset[NodeId]] = field(default_factory=dict)
    sealed: bool = False
    state: JobState = JobState.PENDING
    seq: int = 0
    done: int = 0
    failed: int = 0
    stopped: int = 0
    spent: int = 0
    reserved: int = 0
    lease_ms: int = 0
    retried: int = 0
    first_lease_at: float = 0.0
    ended_at: float = 0.0
    reason: str = ""
    running: dict[NodeId, Tally] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()

    @property
    def total(self) -> int:
        """Tasks added so far."""
        return len(self.states)

    @property
    def ready(self) -> int:
        """Tasks that could be leased now."""
        return len(self.states) - self.fresh + len(self.returned)

    @property
    def ended(self) -> int:
        """Tasks in a final state."""
        return self.done + self.failed + self.stopped

    @property
    def leased(self) -> int:
        """Tasks out on a lease."""
        return sum(tally.count for tally in self.running.values())

    @property
    def relaxed(self) -> bool:
        """Tell whether the submitter asked for acknowledgement before the fsync."""
        return self.spec.durability == "relaxed"


@dataclass(slots=True)
class Node:
    """One node the hub has met.

    lease_until: unix seconds; session: counts its streams; held_versions: CIDs of the versions of models that it says
    it has whole, those used last first; came_at: since when it is there, None while it is away; present_s: seconds of
    such stretches that are over; departures: how many ended one.
    """

    spec: NodeSpec
    secret_sha256: bytes
    joined_at: float
    connected: bool = False
    draining: bool = False
    session: int = 0
    lease_until: float = 0.0
    last_seen: float = 0.0
    rtt_s: float = 0.0
    strikes: int = 0
    suspended_until: float = 0.0
    leases: dict[TaskId, Lease] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    lost: int = 0
    earned: int = 0
    busy_ms: int = 0
    held_versions: tuple[str, ...] = ()
    came_at: float | None = None
    present_s: float = 0.0
    departures: int = 0


@dataclass(slots=True)
class RunTime:
    """What is known of a profile's run time: an exponentially weighted mean."""

    mean_ms: float
    count: int


QueueKey = tuple[int, Requirement, str]
"""Of jobs that wait in one queue: priority, requirement and project."""


@dataclass(slots=True)
class HubState:
    """Everything the reactor knows.

    waiting: jobs with ready tasks, by (priority, requirement, project), oldest first; active: jobs that hold leases
    (those whose last lease was given back are dropped when the next view is built); credit_stops: organisation ->
    nodes that take no more of its work until they are paid, and why; interim_s: lease seconds of a part that is booked
    while its attempt runs, 0 for none; models: versions that jobs serve, by CID; habits: of
    run times, forgotten with the process.
    """

    epoch: int
    lease_s: float
    interim_s: float = 0.0
    next_job: int = 1
    jobs: dict[JobId, Job] = field(default_factory=dict)
    keys: dict[tuple[str, str], JobId] = field(default_factory=dict)
    nodes: dict[NodeId, Node] = field(default_factory=dict)
    table: NodeTable = field(default_factory=NodeTable)
    waiting: dict[QueueKey, OrderedDict[JobId, Job]] = field(default_factory=dict)
    active: dict[JobId, Job] = field(default_factory=dict)
    run_times: dict[str, RunTime] = field(default_factory=dict)
    habits: RunHabits = field(default_factory=RunHabits, compare=False)
    accounts: Accounts = field(default_factory=Accounts)
    credit_stops: dict[str, dict[NodeId, str]] = field(default_factory=dict)
    models: dict[str, ModelFacts] = field(default_factory=dict)
    stale_results: int = 0
