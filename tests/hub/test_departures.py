"""How often nodes leave: what the hub counts, and what a policy is told."""

from __future__ import annotations

import pytest

from farlane.hub.reactor.departures import PRIOR_DEPARTURES, PRIOR_S, come, go, hazard
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import Node
from farlane.testing.builders import a_node

HOUR = 3600.0


def a_new_node() -> Node:
    return Node(a_node(), b"", joined_at=0.0)


def test_a_node_that_was_never_seen_leaves_every_sixty_hours() -> None:
    assert hazard(a_new_node(), 5.0) * 60 * HOUR == pytest.approx(1.0)


def test_who_stays_is_trusted_more_and_who_goes_less() -> None:
    steady, restless = a_new_node(), a_new_node()
    come(steady, 0.0)
    for hour in range(24):
        come(restless, hour * HOUR)
        go(restless, (hour + 0.5) * HOUR)
    assert hazard(steady, 24 * HOUR) == pytest.approx(PRIOR_DEPARTURES / (PRIOR_S + 24 * HOUR))
    # Two departures an hour that it is there, less what the prior weighs.
    assert hazard(restless, 24 * HOUR) * HOUR == pytest.approx(24.2 / 24.0)


def test_a_stream_that_is_back_in_time_is_no_departure() -> None:
    node = a_new_node()
    come(node, 0.0)
    come(node, 10.0)
    assert (node.came_at, node.departures) == (0.0, 0)
    go(node, 20.0)
    go(node, 30.0)
    assert (node.came_at, node.present_s, node.departures) == (None, 20.0, 1)


def test_the_hub_counts_farewells_and_leases_that_ran_out() -> None:
    reactor, spec = Reactor(1, 30.0), a_node()
    node = reactor.join_node(0.0, spec, b"secret", 1, {})
    reactor.hear_node(90.0, spec.node)
    reactor.leave_node(100.0, spec.node, node.session)
    reactor.tick(110.0)
    assert reactor.join_node(120.0, spec, b"secret", 1, {}).departures == 0
    reactor.leave_node(200.0, spec.node, node.session, "it goes")
    assert (node.departures, node.present_s) == (1, 200.0)
    reactor.join_node(300.0, spec, b"secret", 1, {})
    reactor.leave_node(400.0, spec.node, node.session)
    reactor.tick(500.0)
    assert (node.departures, node.present_s) == (2, 230.0)
    view, _ = reactor.view(500.0)
    assert view.nodes.hazard.tolist() == [hazard(node, 500.0)]
