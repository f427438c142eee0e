"""How often nodes leave: what the hub has seen of each, and what that lets expect. In memory alone."""

from __future__ import annotations

from farlane.hub.reactor.state import Node

PRIOR_DEPARTURES = 0.2
"""What a node that was never seen before counts for: a fifth of a departure..."""
PRIOR_S = 12 * 3600.0
"""...in so many seconds, one in 60 hours: little against what is seen within a day."""


def come(node: Node, now: float) -> None:
    """Count a node as there from now on, if it was away."""
    if node.came_at is None:
        node.came_at = now


def go(node: Node, at: float) -> None:
    """Count that a node went, and with it the work that it had: it said farewell, or its leases ran out.

    A stream that is back before its leases run out has lost nothing, and is no departure.
    """
    if node.came_at is not None:
        node.present_s += max(0.0, at - node.came_at)
        node.came_at = None
        node.departures += 1


def hazard(node: Node, now: float) -> float:
    """Return how many departures to expect of a node in a second that it is there.

    The mean of the gamma distribution that a Poisson process leaves of such a prior (Gelman et al., Bayesian Data
    Analysis, 2.6): departures seen over seconds seen, with the prior's in both.
    """
    present_s = node.present_s + (0.0 if node.came_at is None else max(0.0, now - node.came_at))
    return (PRIOR_DEPARTURES + node.departures) / (PRIOR_S + present_s)
