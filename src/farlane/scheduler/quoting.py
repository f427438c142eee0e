"""Quoting: what a job can cost at most and will probably cost, and what each node asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farlane.domain.billing import meter
from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import ceil_div, hourly_ceiling
from farlane.scheduler.eligibility import Obstacle, first_obstacle, fitting_kinds


@dataclass(frozen=True, slots=True)
class Offer:
    """What one node asks for one task of a job, in nano-credits.

    hourly: an hour of the reserved resources, by the dearest GPU it could use within the cap; attempt: the most
    one attempt can cost; expected: one attempt of the estimated run time, None while it is unknown. All None
    where the node has no GPU that would do. obstacle: why it could never run the job, None when it is eligible.
    """

    node: NodeId
    name: str
    hourly: int | None
    attempt: int | None
    expected: int | None
    obstacle: Obstacle | None

    @property
    def eligible(self) -> bool:
        """Tell whether the node could run the job."""
        return self.obstacle is None


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of a job before it runs, in nano-credits; amounts are None while no node is eligible.

    attempt: the most one attempt can cost on any eligible node; hourly: the most an hour of one task's resources
    costs; upper_bound: tasks x (1 + retries) x attempt; at_most: that or the budget, if it is lower; expected:
    every task once, at the mean of the eligible nodes' expected prices (None while the run time is unknown).
    """

    tasks: int
    hourly: int | None
    attempt: int | None
    upper_bound: int | None
    at_most: int | None
    expected: int | None
    offers: tuple[Offer, ...]


def quote(
    spec: JobSpec,
    tasks: int,
    nodes: Sequence[NodeSpec],
    payload_bytes: int = 0,
    run_time_s: float | None = None,
) -> Quote:
    """Price a job over all known nodes.

    The bound holds because attempts lost without the publisher's fault are not paid, leases are charged for the
    time-out at most, and what an attempt may move is capped (`farlane.domain.billing.moved_bound`). It is a
    statement about these nodes: one that joins later may ask more, which `max_price` and `budget` cap.

    Args:
        spec: the job.
        tasks: number of tasks.
        nodes: every known node, online or not.
        payload_bytes: the largest payload of one task.
        run_time_s: estimated run time of one task, declared or learnt.
    """
    offers = tuple(offer(spec, node, payload_bytes, run_time_s) for node in nodes)
    open_offers = [found for found in offers if found.eligible]
    hourly = max((found.hourly for found in open_offers if found.hourly is not None), default=None)
    attempt = max((found.attempt for found in open_offers if found.attempt is not None), default=None)
    if attempt is None:
        return Quote(tasks, None, None, None, None, None, offers)
    bound = tasks * (1 + spec.retries) * attempt
    at_most = bound if spec.budget is None else min(bound, spec.budget)
    probable = [found.expected for found in open_offers if found.expected is not None]
    expected = ceil_div(tasks * sum(probable), len(probable)) if probable else None
    return Quote(tasks, hourly, attempt, bound, at_most, expected, offers)


def offer(spec: JobSpec, node: NodeSpec, payload_bytes: int = 0, run_time_s: float | None = None) -> Offer:
    """Price one task of a job on one node; see `Offer`."""
    found = first_obstacle(spec, node)
    prices = {
        kind: hourly_ceiling(node.rates, spec.resources, kind) for kind in fitting_kinds(spec.resources, node)
    }
    if found is None and spec.max_price is not None:
        prices = {kind: price for kind, price in prices.items() if price <= spec.max_price}
    if not prices:
        return Offer(node.node, node.name, None, None, None, found)
    meters = [meter(node.rates, spec, kind) for kind in prices]
    attempt = max(each.reserve_ceiling(payload_bytes) for each in meters)
    expected = None
    if run_time_s is not None:
        lease_ms = min(spec.timeout_ms, round(run_time_s * 1000))
        expected = max(each.charge_ceiling(lease_ms, payload_bytes) for each in meters)
    return Offer(node.node, node.name, max(prices.values()), attempt, expected, found)
