"""Explanations for people: why an open job waits, as the scheduler sees it at this moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from farlane.domain.ids import NodeId, job_text
from farlane.hub.reactor.capped import why_capped
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import Job
from farlane.hub.reactor.viewing import placed_view
from farlane.scheduler.eligibility import Obstacle, ObstacleKind, first_obstacle
from farlane.scheduler.explain import Explanation, Weighing, explain
from farlane.scheduler.ordering import fifo_order
from farlane.scheduler.policy import Policy
from farlane.scheduler.situation import Reason
from farlane.scheduler.view import View
from farlane.wire.v1 import client_pb2


def explain_job(
    reactor: Reactor, job: Job, policy: Policy, now: float, notices: Sequence[str] = ()
) -> client_pb2.ExplainReply:
    """Return one dominant reason, what would fix it, and every node's part in it.

    notices: what the job's organisation must do so that its channels pay.
    """
    reply = client_pb2.ExplainReply(job=job.id, state=job.state)
    names = {node_id: node.spec.name for node_id, node in reactor.state.nodes.items()}
    waiting = _waiting(reactor, job, now)
    if waiting is None:
        reply.dominant, reply.fix = _without_waiting(job)
        reply.weighed.extend(_why_there(reactor, job, policy, now, names))
        return reply
    found = _explanation(reactor, job, policy, *waiting, notices)
    reply.dominant, reply.fix = found.dominant, found.fix
    if isinstance(policy, Weighing):
        reply.weighed.extend(policy.weigh(*waiting, names.__getitem__))
    reply.nodes.extend(
        client_pb2.NodeReason(node=reason.node, name=names[reason.node], reason=reason.message)
        for reason in found.per_node
    )
    return reply


def _waiting(reactor: Reactor, job: Job, now: float) -> tuple[View, int] | None:
    """Return the view of the moment and the key of the job's group; None when no task of it is in there."""
    if not job.ready:
        return None
    view, sources = reactor.view(now)
    key = next((key for key, source in sources.items() if source.job == job.id), None)
    return None if key is None else (view, key)


def _why_there(reactor: Reactor, job: Job, policy: Policy, now: float, names: dict[NodeId, str]) -> list[str]:
    """Return what speaks for the node where most tasks of a job run, by the policy and as the nodes stand now."""
    placed = placed_view(reactor.state, job, now) if isinstance(policy, Weighing) else None
    if placed is None or not isinstance(policy, Weighing):
        return []
    view, row = placed
    told = policy.weigh(view, view.groups[0].key, names.__getitem__, row)
    return [f"as the nodes stand now, {each}" for each in told]


def _explanation(
    reactor: Reactor, job: Job, policy: Policy, view: View, key: int, notices: Sequence[str]
) -> Explanation:
    """Ask the policy what it would do now."""
    stops = reactor.state.credit_stops.get(job.spec.organisation, {})
    obstacles = [
        first_obstacle(job.spec, spec) or _no_credit(stops.get(spec.node), notices)
        for spec in reactor.state.table.specs
    ]
    order = getattr(policy, "order", fifo_order)
    held_s = policy.held_s(view, key) if isinstance(policy, Weighing) else 0.0
    found = explain(view, key, obstacles, policy.decide(view), order, held_s)
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
