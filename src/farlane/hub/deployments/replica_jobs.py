"""Replicas as jobs: the specification of one, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.domain.deployments import Deployment
from farlane.domain.failures import Blame, Failure, FailureKind
from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec, ServeWork
from farlane.domain.nodes import NodeSpec
from farlane.errors import PermissionRefused
from farlane.hub.deployments.state import TERM_S
from farlane.hub.store.port import Store

MAX_JOB_NAME = 200
MAX_NAMED = 5
"""Nodes that a message names."""


def replica_job(deployment: Deployment, version: str, readers: tuple[str, ...] = ()) -> JobSpec:
    """Return the job of one replica of a version; `readers` are the recipients of a private one.

    Its time limit is a day: what a lease reserves is bounded, and another replica takes its place in time. It has no
    retries of its own: one that fails by its own fault is the controller's to judge, one that loses its node moves.
    """
    return JobSpec(
        name=f"serve {deployment.name}"[:MAX_JOB_NAME],
        serve=ServeWork(version, deployment.id, deployment.runtime, deployment.options, readers),
        resources=deployment.resources,
        timeout_ms=int(TERM_S * 1000),
        max_price=deployment.max_price,
        labels=deployment.labels,
        organisation=deployment.organisation,
        publisher=deployment.publisher,
        project=deployment.project,
    )


def require_reader(deployment: Deployment, readers: tuple[str, ...], nodes: Iterable[NodeSpec]) -> None:
    """Refuse to deploy a private version that none of the nodes can read.

    Args:
        deployment: what is wanted.
        readers: recipients of the version, empty where it is public.
        nodes: all that the hub knows.

    Raises:
        PermissionRefused: whoever serves it must share it with a node first.
    """
    if not readers:
        return
    own = [node for node in nodes if node.runs_work_of(deployment.organisation)]
    if any(node.recipient in readers for node in own):
        return
    name = deployment.model.partition("@")[0]
    there = ", ".join(sorted(node.name for node in own if node.recipient)[:MAX_NAMED]) or "none is there yet"
    raise PermissionRefused(
        f"{deployment.model} is private and no node can read it: share it by `farlane models share {name} --with-node "
        f"NODE` (nodes that serve models: {there}), or --with-network for all of yours; then serve the new version",
        model=deployment.model,
    )


def last_failure(store: Store, job: JobId) -> Failure | None:
    """Return why the only task of an ended job failed, None where it did not; reads the store."""
    for record in store.results(job, 0, 1):
        for failure in record.failures.values():
            return failure
    return None


def own_fault(failure: Failure | None) -> bool:
    """Tell whether the model or its process is to blame: another replica would fare no better."""
    if failure is None:
        return False
    return failure.rule.blame is Blame.PUBLISHER and failure.kind not in (
        FailureKind.CANCELLED,
        FailureKind.TIMEOUT,
        FailureKind.DEADLINE,
        FailureKind.BUDGET,
    )
