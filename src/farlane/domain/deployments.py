"""Deployments: models that are kept served, and how replicas of them come, answer and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from farlane.domain.resources import Resources
from farlane.errors import InvalidInput

MAX_REPLICAS = 1000
DEFAULT_IDLE_S = 600.0
DEFAULT_COLD_START_S = 120.0
CANARY_ALIAS = "canary"
"""The alias of a model whose version gets the canary's share of requests."""


class ReplicaState(StrEnum):
    """Where a replica stands."""

    PENDING = "pending"
    """Submitted; no node has it."""
    LOADING = "loading"
    """On a node that obtains the model and starts it."""
    READY = "ready"
    DRAINING = "draining"
    """It answers what it has and gets nothing new."""


class DeploymentState(StrEnum):
    """Where a deployment stands."""

    STARTING = "starting"
    READY = "ready"
    UPDATING = "updating"
    IDLE = "idle"
    """Scaled to none; the next request starts a replica."""
    DEGRADED = "degraded"
    """It answers, with fewer replicas than wanted."""
    FAILED = "failed"
    """Nothing answers, and nothing is tried until it is changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """How a new version takes over.

    max_surge: replicas beyond the wanted number meanwhile; max_unavailable: how many fewer may answer meanwhile (one
    always does); canary_percent: share of requests that the version of the alias `canary` gets.
    """

    max_surge: int = 1
    max_unavailable: int = 0
    canary_percent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePolicy:
    """How many replicas there are.

    target_in_flight: requests that one replica should have at once; target_p95_s: latency above which there is one
    more, 0 for none; idle_s: seconds without a request after which a deployment whose minimum is 0 has none;
    cold_start_s: how long a request waits for a replica to come up.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_in_flight: int = 4
    target_p95_s: float = 0.0
    idle_s: float = DEFAULT_IDLE_S
    cold_start_s: float = DEFAULT_COLD_START_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is to be served, by whose order, and how.

    model: NAME@alias, or the CID of a version; runtime: "" for whatever can serve it; shared_with: organisations
    besides the owner's that may ask it; labels, max_price and project as a job has them; paused: it is kept, and has no
    replicas.
    """

    name: str
    model: str
    organisation: str = ""
    publisher: str = ""
    project: str = ""
    resources: Resources = field(default_factory=Resources)
    runtime: str = ""
    options: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    max_price: int | None = None
    shared_with: tuple[str, ...] = ()
    paused: bool = False
    update: UpdatePolicy = field(default_factory=UpdatePolicy)
    scale: ScalePolicy = field(default_factory=ScalePolicy)

    @property
    def id(self) -> str:
        """What names it in the whole network: organisation and name."""
        return f"{self.organisation}/{self.name}"


def check_deployment(wanted: Deployment) -> None:
    """Refuse a deployment that could never work.

    Raises:
        InvalidInput: with the field, what it was and what is expected.
    """
    scale, update = wanted.scale, wanted.update
    if not wanted.name or any(not (each.isalnum() or each in "-_./") for each in wanted.name):
        raise InvalidInput(
            f"{wanted.name!r} is no name of a deployment; use letters, digits, '-', '_', '.' and '/'"
        )
    _within("max_replicas", scale.max_replicas, 1, MAX_REPLICAS)
    _within("min_replicas", scale.min_replicas, 0, scale.max_replicas)
    _within("target_in_flight", scale.target_in_flight, 1, 100_000)
    _within("max_surge", update.max_surge, 0, MAX_REPLICAS)
    _within("max_unavailable", update.max_unavailable, 0, MAX_REPLICAS)
    _within("canary_percent", update.canary_percent, 0, 99)
    for name, value in (
        ("target_p95_s", scale.target_p95_s),
        ("idle_s", scale.idle_s),
        ("cold_start_s", scale.cold_start_s),
    ):
        if not 0 <= value <= 86_400 * 30:
            raise InvalidInput(f"{name} is {value:g}; expected 0 to {86_400 * 30} seconds")
    if update.max_surge == 0 and (update.max_unavailable == 0 or scale.max_replicas < 2):
        raise InvalidInput(
            "without a surge an update can only replace one replica after another while others answer: allow "
            "max_surge of 1, or max_unavailable of 1 with two replicas or more"
        )


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"{what} is {value}; expected {low} to {high}")
