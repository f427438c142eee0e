"""How a deployment stands, for people and programs: what the controller knows, with what its route counts."""

from __future__ import annotations

from collections.abc import Callable

from farlane.hub.deployments.route import Route
from farlane.hub.deployments.state import Record
from farlane.wire.deployments import DeploymentStatus, ReplicaStatus

REMOVED = "removed"
"""The state of a deployment that was undeployed, while its replicas finish what they have."""


def deployment_status(
    record: Record, route: Route, now: float, node_name: Callable[[str], str]
) -> DeploymentStatus:
    """Return how a deployment stands.

    Args:
        record: what is known of it.
        route: where its requests go.
        now: monotonic seconds, of the clock of the router.
        node_name: id of a node -> its name.
    """
    sessions, counts = route.sessions, route.counts
    replicas = [
        ReplicaStatus(
            job=each.job,
            version=each.version,
            state=each.state.value,
            node=node_name(each.node) if each.node else "",
            in_flight=sessions[each.job].in_flight if each.job in sessions else 0,
            answered=sessions[each.job].answered if each.job in sessions else 0,
        )
        for each in sorted(record.replicas.values(), key=lambda each: each.job)
    ]
    return DeploymentStatus(
        deployment=record.deployment,
        state=REMOVED if record.removed else record.state().value,
        reason=record.reason(),
        version=record.serving,
        target=record.target,
        canary=record.trial,
        wanted=record.wanted,
        replicas=tuple(replicas),
        requests=counts.requests,
        failed=counts.failed,
        tokens_in=counts.tokens_in,
        tokens_out=counts.tokens_out,
        queued=route.waiting,
        p95_s=route.p95_s(now),
    )
