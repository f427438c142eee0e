"""Why a replica that is wanted has no node: asked of the scheduler while one waits, for clients and owners."""

from __future__ import annotations

from farlane.domain.deployments import ReplicaState
from farlane.hub.deployments.state import Record, Replica
from farlane.hub.explaining import explain_job
from farlane.hub.hub import Hub

PATIENCE_S = 2.0
"""Placing takes a moment: a replica that waits no longer needs no reason."""
AGAIN_S = 5.0
"""How long a reason stays before it is asked for again."""


def explain_pending(hub: Hub, record: Record, now: float) -> None:
    """Keep `record.waiting` true."""
    waiting = [each for each in record.replicas.values() if _waits(each, now)]
    if not waiting:
        record.waiting, record.explained = "", 0.0
    elif now - record.explained >= AGAIN_S:
        record.waiting, record.explained = _why(hub, waiting[0]), now


def _waits(replica: Replica, now: float) -> bool:
    return replica.state is ReplicaState.PENDING and not replica.stopping and now - replica.since > PATIENCE_S


def _why(hub: Hub, replica: Replica) -> str:
    job = hub.reactor.state.jobs.get(replica.job)
    if job is None:
        return ""
    notices = hub.notices(job.spec.organisation)
    found = explain_job(hub.reactor, job, hub.engine.explaining, hub.engine.now(), notices)
    return f"a replica waits for a node: {found.dominant}{f'; {found.fix}' if found.fix else ''}"
