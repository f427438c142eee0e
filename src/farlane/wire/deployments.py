"""Deployments to and from the wire, and how they stand."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.deployments import Deployment, ScalePolicy, UpdatePolicy
from farlane.domain.ids import JobId
from farlane.wire import limits
from farlane.wire.jobs import (
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_SERVE_OPTION_CHARS,
    MAX_SERVE_OPTIONS,
    pairs_to_wire,
    resources_from_wire,
    resources_to_wire,
)
from farlane.wire.v1 import deployment_pb2

MAX_DEPLOYMENT_NAME_CHARS = 100
MAX_SHARED = 100
"""Organisations that one deployment is shared with."""
MAX_STATED_REPLICAS = 2000
MAX_COUNT = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How a replica stands. in_flight: requests it has; answered: requests of its present stream."""

    job: JobId
    version: str
    state: str
    node: str
    in_flight: int
    answered: int


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """How a deployment stands.

    state: a word of `DeploymentState`, or `removed`; reason: why, for people; version: that requests go to; target:
    that its model names now; wanted: replicas; requests, failed, tokens: since the hub began; p95_s: latency, seconds.
    """

    deployment: Deployment
    state: str
    reason: str
    version: str
    target: str
    canary: str
    wanted: int
    replicas: tuple[ReplicaStatus, ...]
    requests: int
    failed: int
    tokens_in: int
    tokens_out: int
    queued: int
    p95_s: float


def deployment_to_wire(wanted: Deployment) -> deployment_pb2.Deployment:
    """Return a deployment as it travels.

    Raises:
        InvalidInput: a number or text that cannot.
    """
    scale, update = wanted.scale, wanted.update
    with limits.sendable("the deployment"):
        return deployment_pb2.Deployment(
            name=wanted.name,
            model=wanted.model,
            min_replicas=scale.min_replicas,
            max_replicas=scale.max_replicas,
            resources=resources_to_wire(wanted.resources),
            runtime=wanted.runtime,
            options=pairs_to_wire(wanted.options),
            max_surge=update.max_surge,
            max_unavailable=update.max_unavailable,
            canary_percent=update.canary_percent,
            shared_with=wanted.shared_with,
            target_in_flight=scale.target_in_flight,
            target_p95_s=scale.target_p95_s,
            idle_s=scale.idle_s,
            cold_start_s=scale.cold_start_s,
            max_price=wanted.max_price,
            project=wanted.project,
            labels=pairs_to_wire(wanted.labels),
        )


def deployment_from_wire(message: deployment_pb2.Deployment, organisation: str, publisher: str) -> Deployment:
    """Read a deployment from a peer: shapes and sizes; whether it could work is for `check_deployment` to say.

    Args:
        message: what came.
        organisation: whose it is.
        publisher: who deploys it.

    Raises:
        InvalidInput, InvalidJob: it makes no sense.
    """
    limits.at_most("organisations to share with", message.shared_with, MAX_SHARED)
    name_chars = limits.MAX_NAME_CHARS
    return Deployment(
        name=limits.text("name of the deployment", message.name, MAX_DEPLOYMENT_NAME_CHARS, required=True),
        model=limits.text("model", message.model, name_chars + limits.MAX_CID_CHARS, required=True),
        organisation=organisation,
        publisher=publisher,
        project=limits.text("project", message.project, name_chars),
        resources=resources_from_wire(message),
        runtime=limits.text("runtime", message.runtime, limits.MAX_ID_CHARS),
        options=limits.pairs("options", message.options, MAX_SERVE_OPTIONS, MAX_SERVE_OPTION_CHARS),
        labels=limits.pairs("labels", message.labels, MAX_LABELS, MAX_LABEL_CHARS),
        max_price=_price(message),
        shared_with=tuple(
            limits.text("an organisation to share with", each, name_chars, required=True)
            for each in message.shared_with
        ),
        update=UpdatePolicy(
            max_surge=message.max_surge,
            max_unavailable=message.max_unavailable,
            canary_percent=message.canary_percent,
        ),
        scale=ScalePolicy(
            min_replicas=message.min_replicas,
            max_replicas=message.max_replicas,
            target_in_flight=message.target_in_flight,
            target_p95_s=limits.finite("target_p95_s", message.target_p95_s),
            idle_s=limits.finite("idle_s", message.idle_s),
            cold_start_s=limits.finite("cold_start_s", message.cold_start_s),
        ),
    )


def status_to_wire(status: DeploymentStatus) -> deployment_pb2.DeploymentStatus:
    """Return how a deployment stands as it travels."""
    return deployment_pb2.DeploymentStatus(
        deployment=deployment_to_wire(status.deployment),
        organisation=status.deployment.organisation,
        publisher=status.deployment.publisher,
        state=status.state,
        reason=status.reason,
        version=status.version,
        target=status.target,
        canary=status.canary,
        wanted=status.wanted,
        replicas=[
            deployment_pb2.ReplicaStatus(
                job=each.job, version=each.version, state=each.state, node=each.node, in_flight=each.in_flight,
                answered=each.answered,
            )
            for each in status.replicas
        ],
        requests=status.requests,
        failed=status.failed,
        tokens_in=status.tokens_in,
        tokens_out=status.tokens_out,
        queued=min(status.queued, MAX_COUNT),
        p95_s=status.p95_s,
    )  # fmt: skip


def status_from_wire(message: deployment_pb2.DeploymentStatus) -> DeploymentStatus:
    """Read how a deployment stands.

    Raises:
        InvalidInput, InvalidJob: it makes no sense.
    """
    limits.at_most("replicas of one deployment", message.replicas, MAX_STATED_REPLICAS)
    return DeploymentStatus(
        deployment=deployment_from_wire(message.deployment, message.organisation, message.publisher),
        state=message.state,
        reason=message.reason,
        version=message.version,
        target=message.target,
        canary=message.canary,
        wanted=message.wanted,
        replicas=tuple(
            ReplicaStatus(JobId(each.job), each.version, each.state, each.node, each.in_flight, each.answered)
            for each in message.replicas
        ),
        requests=message.requests,
        failed=message.failed,
        tokens_in=message.tokens_in,
        tokens_out=message.tokens_out,
        queued=message.queued,
        p95_s=limits.finite("p95_s", message.p95_s),
    )


def _price(message: deployment_pb2.Deployment) -> int | None:
    if not message.HasField("max_price"):
        return None
    return limits.integer("max_price in nano-credits", message.max_price, 0, limits.MAX_INTEGER)
