"""Quotes for people: the scheduler's prices as a message, with what to do when nothing could run the job."""

from __future__ import annotations

from collections import Counter

from farlane.domain.jobs import JobSpec
from farlane.domain.units import credits_text
from farlane.hub.reactor.capped import never_fits
from farlane.hub.reactor.state import HubState
from farlane.hub.reactor.viewing import run_time_s
from farlane.hub.status import clip
from farlane.scheduler.quoting import Quote, quote
from farlane.wire.v1 import client_pb2


def quote_job(state: HubState, spec: JobSpec, tasks: int, payload_bytes: int) -> client_pb2.QuoteReply:
    """Price a job over the nodes of this network, connected or not."""
    nodes = [node.spec for node in state.nodes.values()]
    found = quote(spec, tasks, nodes, payload_bytes, run_time_s(state, spec))
    problem, fix = _problem(found, spec)
    if not problem:
        problem, fix = never_fits(state, spec) or ("", "")
    return client_pb2.QuoteReply(
        upper_bound=clip(found.at_most),
        attempt_upper_bound=clip(found.attempt),
        expected=clip(found.expected),
        eligible_nodes=sum(offer.eligible for offer in found.offers),
        offers=[
            client_pb2.NodeOffer(
                node=offer.node, name=offer.name, hourly=clip(offer.hourly), eligible=offer.eligible,
                reason="" if offer.obstacle is None else offer.obstacle.message,
            )
            for offer in found.offers
        ],
        problem=problem,
        fix=fix,
    )  # fmt: skip


def _problem(found: Quote, spec: JobSpec) -> tuple[str, str]:
    if not found.offers:
        return (
            "no node has joined this network yet",
            "start one with `farlane join`, or `farlane up --nodes 2`",
        )
    if found.attempt is None:
        obstacles = [offer.obstacle for offer in found.offers if offer.obstacle is not None]
        common = Counter(obstacle.kind for obstacle in obstacles).most_common(1)[0][0]
        nearest = max((each for each in obstacles if each.kind == common), key=lambda each: each.nearness)
        return nearest.message, nearest.fix
    if spec.budget is not None and spec.budget < found.attempt:
        one = credits_text(found.attempt)
        return (
            f"the budget covers no attempt: one may cost up to {one} credits",
            "raise the budget or lower the limits",
        )
    return "", ""
