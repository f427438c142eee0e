"""The controller's state: deployments with their versions, and replicas with where they stand."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from farlane.domain.deployments import Deployment, DeploymentState, ReplicaState
from farlane.domain.ids import JobId

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
MAX_CRASHES = 5
"""Replicas of a version that serve and die one after another before nothing more is tried."""
MAX_TRIES = 3
"""Replicas of a new version that fail before the update is halted and the old one goes on."""
STEADY_S = 60.0
"""A replica that answered for so long shows that its version works: crashes are counted anew."""
LOADING_S = 900.0
"""How long a replica may take on a node before it counts as failed."""
PLACE_S = 3.0
"""How long a replica of a node that drains waits for another node to take its place, where none is loading it yet."""
TERM_S = 24 * 3600.0
"""Time limit of a replica's task: what its lease reserves is bounded. A fresh one takes its place in time."""
RENEW_S = 1800.0
"""How long before its term a replica is replaced."""


@dataclass(slots=True)
class Replica:
    """One replica.

    since: when it got into this state, unix seconds; leased_at: when its present node got it; leaving_since: when
    its node began to drain, 0 while it does not; nowhere: no other node is there.
    """

    job: JobId
    deployment: str
    version: str
    state: ReplicaState
    since: float
    node: str = ""
    leased_at: float = 0.0
    leaving_since: float = 0.0
    nowhere: bool = False
    stopping: bool = False

    @property
    def leaving(self) -> bool:
        """Tell whether its node drains."""
        return self.leaving_since > 0

    def abandoned(self, now: float) -> bool:
        """Tell whether its node drains and nobody has taken its place within the time that placing takes."""
        return self.leaving and (self.nowhere or now - self.leaving_since > PLACE_S)

    def expiring(self, now: float) -> bool:
        """Tell whether its lease's time limit is near."""
        return self.leased_at > 0 and now - self.leased_at > TERM_S - RENEW_S


@dataclass(slots=True)
class Load:
    """How busy a deployment was last; wanted: what the last observations asked for, with when."""

    queued: int = 0
    in_flight: int = 0
    p95_s: float = 0.0
    last_request_at: float = 0.0
    wanted: deque[tuple[float, int]] = field(default_factory=deque)


@dataclass(slots=True)
class Record:
    """One deployment.

    since, created: when it was last changed, and first made, unix seconds;
    target: the version its alias names; serving: the one that last took over completely; refused: versions that
    failed, and why; submitting: replicas asked for and not yet known, by version; crashes: failures of a version in a
    row; setbacks: ends in a row for whatever reason; not_before: when the next replica may be submitted, by version;
    trouble: why less runs than is wanted; waiting: why a replica has no node, as of `explained`, unix seconds.
    """

    deployment: Deployment
    since: float
    created: float = 0.0
    target: str = ""
    serving: str = ""
    previous: str = ""
    canary: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    replicas: dict[JobId, Replica] = field(default_factory=dict)
    submitting: dict[str, int] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)
    setbacks: dict[str, int] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    load: Load = field(default_factory=Load)
    wanted: int = 0
    removed: bool = False
    failed: str = ""
    trouble: str = ""
    waiting: str = ""
    explained: float = 0.0
    weights: tuple[str, int] = ("", 0)

    @property
    def goal(self) -> str:
        """The version that all replicas but canaries should have: what the alias names, unless that failed."""
        return self.serving if self.target in self.refused and self.serving else self.target

    @property
    def trial(self) -> str:
        """The canary's version, "" when there is none to try."""
        share = self.deployment.update.canary_percent
        known = self.canary and self.canary != self.goal and self.canary not in self.refused
        return self.canary if share and known else ""

    def of(self, version: str) -> list[Replica]:
        """Return its replicas of a version that do not drain, those that answer first, oldest first."""
        found = [
            each
            for each in self.replicas.values()
            if each.version == version and each.state is not ReplicaState.DRAINING and not each.stopping
        ]
        return sorted(found, key=lambda each: (each.state is not ReplicaState.READY, each.job))

    def ready(self) -> list[Replica]:
        """Return the replicas that take requests."""
        return [each for each in self.replicas.values() if each.state is ReplicaState.READY]

    def state(self) -> DeploymentState:
        """Return where it stands."""
        ready = self.ready()
        good = [each for each in ready if each.version == self.goal]
        if self.failed and not ready:
            return DeploymentState.FAILED
        if not self.wanted and not self.replicas:
            return DeploymentState.IDLE
        if not ready:
            return DeploymentState.STARTING
        if len(good) < len(ready) - sum(each.version == self.trial for each in ready):
            return DeploymentState.UPDATING
        return DeploymentState.READY if len(good) >= self.wanted else DeploymentState.DEGRADED

    def reason(self) -> str:
        """Return why it is as it is, for people; "" when all is well."""
        if self.failed:
            return self.failed
        if self.target in self.refused:
            return f"version {self.target} failed and {self.serving or 'nothing'} serves: {self.refused[self.target]}"
        if self.canary in self.refused and self.canary:
            return f"the canary {self.canary} failed and gets no requests: {self.refused[self.canary]}"
        return self.trouble or self.waiting
