"""Nodes that have what a task needs come first, unless they are dear or have tasks like it already."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.domain.units import bytes_text
from farlane.scheduler.explain import explain
from farlane.scheduler.policy import POLICIES, policy_named

GIB = 1 << 30


def lacks(*missing):
    return np.array(missing, np.int64)


def decide(build, policy, nodes, group, running=()):
    return build.placed(policy_named(policy).decide(build.view(nodes, group, running=running)))


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_of_equal_nodes_the_one_that_lacks_least_gets_the_task(build, policy):
    nodes = build.nodes((4, 8), (4, 8), (4, 8))
    group = build.group(nodes, missing=lacks(4 * GIB, 0, GIB))
    assert decide(build, policy, nodes, group) == {1: 1}
    assert decide(build, policy, nodes, build.group(nodes, missing=lacks(4 * GIB, 3 * GIB, GIB))) == {2: 1}


def test_what_does_not_fit_there_goes_to_the_next_nearest(build):
    nodes = build.nodes((2, 8), (2, 8), (2, 8))
    group = build.group(nodes, count=5, missing=lacks(4 * GIB, 0, GIB))
    assert decide(build, "fifo", nodes, group) == {1: 2, 2: 2, 0: 1}


def test_nodes_that_lack_as_much_are_shared_by_the_rule(build):
    nodes = build.nodes((4, 8), (4, 8), (4, 8), price=[10, 10, 10])
    group = build.group(nodes, count=4, missing=lacks(0, 0, GIB))
    assert decide(build, "fifo", nodes, group) == {0: 2, 1: 2}


def test_a_node_that_asks_much_more_is_not_preferred(build):
    nodes = build.nodes((4, 8), (4, 8), price=[100, 124])
    assert decide(build, "fifo", nodes, build.group(nodes, missing=lacks(GIB, 0))) == {1: 1}
    dear = build.nodes((4, 8), (4, 8), price=[100, 126])
    assert decide(build, "fifo", dear, build.group(dear, missing=lacks(GIB, 0))) == {0: 1}
    assert decide(build, "fifo", dear, build.group(dear, count=6, missing=lacks(GIB, 0))) == {0: 4, 1: 2}


def test_replicas_stand_apart_though_the_model_is_there(build):
    nodes = build.nodes((4, 8), (4, 8))
    group = build.group(nodes, missing=lacks(0, GIB), alike=lacks(1, 0))
    assert decide(build, "fifo", nodes, group, running=[(0, (1,), 60)]) == {1: 1}
    assert decide(build, "fifo", nodes, build.group(nodes, missing=lacks(0, GIB), alike=lacks(1, 1))) == {
        0: 1
    }


def test_it_is_said_why_a_node_is_preferred(build):
    nodes = build.nodes((4, 8), (4, 8), (4, 8))
    view = build.view(nodes, build.group(nodes, missing=lacks(GIB, 0, 1)))
    found = explain(view, 0, [None] * 3, policy_named("fifo").decide(view))
    assert [each.message for each in found.per_node] == [
        f"has room; would fetch up to {bytes_text(GIB)}", "1 task started here; has the model",
        "has room; would fetch the model",
    ]  # fmt: skip
