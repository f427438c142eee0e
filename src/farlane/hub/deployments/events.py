"""Events and commands of the controller: what happened around a deployment, and what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.deployments import Deployment
from farlane.domain.ids import JobId


@dataclass(frozen=True, slots=True)
class DeploymentSet:
    """Somebody deployed, changed or scaled it; what failed before is tried again.

    created: when it was first made, 0 for now; serving: the version that answered when the hub stopped, "" for a new
    one; previous, refused: as `Record` has them.
    """

    now: float
    deployment: Deployment
    created: float = 0.0
    serving: str = ""
    previous: str = ""
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DeploymentRemoved:
    """It is no longer wanted."""

    now: float
    id: str


@dataclass(frozen=True, slots=True)
class VersionNamed:
    """Its alias names this version now; for the canary's alias "" says that there is none."""

    now: float
    id: str
    version: str
    canary: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaSubmitted:
    """A replica is a job now; after a restart of the hub, one that was a job before."""

    now: float
    id: str
    job: JobId
    version: str


@dataclass(frozen=True, slots=True)
class SubmissionRefused:
    """A replica could not be submitted, for a quota or for want of a model."""

    now: float
    id: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicaPlaced:
    """A node has a replica's lease (`node`), or none has it ("")."""

    now: float
    job: JobId
    node: str


@dataclass(frozen=True, slots=True)
class ReplicaReady:
    """A replica answers."""

    now: float
    job: JobId


@dataclass(frozen=True, slots=True)
class ReplicaUnready:
    """A replica's stream ended; its job may go on, there or elsewhere."""

    now: float
    job: JobId


@dataclass(frozen=True, slots=True)
class ReplicaLeaving:
    """A replica answers and will not for long: its node drains. nowhere: no other node is there to take its place."""

    now: float
    job: JobId
    nowhere: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaDrained:
    """A replica that drains has answered everything it had."""

    now: float
    job: JobId


@dataclass(frozen=True, slots=True)
class ReplicaEnded:
    """A replica's job has ended. own_fault: its model or process is to blame, not a node or the network."""

    now: float
    job: JobId
    reason: str
    own_fault: bool


@dataclass(frozen=True, slots=True)
class LoadObserved:
    """How busy a deployment is. queued: requests that no replica has; p95_s: of the last ones, 0 when unknown."""

    now: float
    id: str
    queued: int
    in_flight: int
    p95_s: float
    last_request_at: float


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed."""

    now: float


Event = (
    DeploymentSet
    | DeploymentRemoved
    | VersionNamed
    | ReplicaSubmitted
    | SubmissionRefused
    | ReplicaPlaced
    | ReplicaReady
    | ReplicaUnready
    | ReplicaLeaving
    | ReplicaDrained
    | ReplicaEnded
    | LoadObserved
    | Ticked
)


@dataclass(frozen=True, slots=True)
class SubmitReplica:
    """Submit a job that serves a version; answer ReplicaSubmitted or SubmissionRefused."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class DrainReplica:
    """Send a replica nothing more; answer ReplicaDrained when it has answered all."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Stop a replica's job."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class SetWeights:
    """Share a deployment's requests: percent for the canary's version, the rest for all others."""

    id: str
    canary: str
    percent: int


@dataclass(frozen=True, slots=True)
class KeepProgress:
    """Keep which version serves, which did before, and which failed: a restart goes on from there."""

    id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """A removed deployment has no replica left."""

    id: str


Command = SubmitReplica | DrainReplica | StopReplica | SetWeights | KeepProgress | Forget
