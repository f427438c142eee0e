"""Explanations for people: why an open job waits, as the scheduler sees it at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farlane.domain.ids import job_text
from farlane.hub.reactor.capped import why_capped
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import Job
from farlane.scheduler.eligibility import Obstacle, ObstacleKind, first_obstacle
from farlane.scheduler.explain import Explanation, explain
from farlane.scheduler.ordering import fifo_order
from farlane.scheduler.policy import Policy
from farlane.scheduler.situation import Reason
from farlane.wire.v1 import client_pb2


def explain_job(
    reactor: Reactor, job: Job, policy: Policy, now: float, notices: Sequence[str] = ()
) -> client_pb2.ExplainReply:
    """Return one dominant reason, what would fix it, and every node's part in it.

    notices: what the job's organisation must do so that its channels pay.
    """
    reply = client_pb2.ExplainReply(job=job.id, state=job.state)
    found = _explanation(reactor, job, policy, now, notices)
    if found is None:
        reply.dominant, reply.fix = _without_waiting(job)
        return reply
    reply.dominant, reply.fix = found.dominant, found.fix
    names = {node_id: node.spec.name for node_id, node in reactor.state.nodes.items()}
    reply.nodes.extend(
        client_pb2.NodeReason(node=reason.node, name=names[reason.node], reason=reason.message)
        for reason in found.per_node
    )
    return reply


def _explanation(
    reactor: Reactor, job: Job, policy: Policy, now: float, notices: Sequence[str]
) -> Explanation | None:
    """Ask the policy what it would do now; None when no task of the job waits."""
    if not job.ready:
        return None
    view, sources = reactor.view(now)
    keys = [key for key, source in sources.items() if source.job == job.id]
    if not keys:
        return None
    stops = reactor.state.credit_stops.get(job.spec.organisation, {})
    obstacles = [
        first_obstacle(job.spec, spec) or _no_credit(stops.get(spec.node), notices)
        for spec in reactor.state.table.specs
    ]
    order = getattr(policy, "order", fifo_order)
    found = explain(view, keys[0], obstacles, policy.decide(view), order)
    if found.reason is not Reason.BUDGET:
        return found
    # A job's own budget is named by the scheduler; those of its organisation and project it does not know.
    capped = why_capped(reactor.state, job)
    return found if capped is None else replace(found, dominant=capped[0], fix=capped[1])


def _no_credit(why: str | None, notices: Sequence[str]) -> Obstacle | None:
    if why is None:
        return None
    fix = "pay what is owed: `farlane ledger balance` shows it, `farlane ledger deposit` adds to the account"
    if notices:
        fix = "; ".join(notices)
    return Obstacle(ObstacleKind.CREDIT, why, fix)


def _without_waiting(job: Job) -> tuple[str, str]:
    if job.leased:
        return f"nothing of {job_text(job.id)} waits: {job.leased} tasks are running", ""
    if job.ready:
        return (
            "many older jobs of the same kind are ahead of it in the queue",
            "wait, raise the priority, or add a node",
        )
    if not job.sealed:
        return (
            "every task so far has ended; the job is open for more",
            "close the client, or `farlane stop` the job",
        )
    return "every task has ended", ""
