"""What every rule does: who may be placed where, alternatives, and nodes to avoid."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.policy import POLICIES, policy_named, validate
from farlane.scheduler.view import Decision

ALL = sorted(POLICIES)


def decide(build, policy, nodes, *groups, running=()):
    view = build.view(nodes, *groups, running=running)
    return validate(view, policy_named(policy).decide(view))


@pytest.mark.parametrize("policy", ALL)
def test_an_empty_network_and_an_empty_queue_decide_nothing(build, policy):
    nobody = build.nodes()
    assert decide(build, policy, nobody, build.group(nobody)) == Decision(())
    assert decide(build, policy, build.nodes((4, 8))) == Decision(())


@pytest.mark.parametrize("policy", ALL)
def test_only_online_eligible_nodes_are_used(build, policy):
    nodes = build.nodes((4, 8), (4, 8), (4, 8), offline=[0])
    group = build.group(nodes, count=20, eligible=np.array([True, True, False]))
    assert build.placed(decide(build, policy, nodes, group)) == {1: 4}


@pytest.mark.parametrize("policy", ALL)
def test_no_more_than_the_budget_admits(build, policy):
    nodes = build.nodes((4, 8))
    assert build.placed(decide(build, policy, nodes, build.group(nodes, count=4, affordable=3))) == {0: 3}
    broke = decide(build, policy, nodes, build.group(nodes, count=4, affordable=0))
    assert broke == Decision(())


@pytest.mark.parametrize("policy", ALL)
def test_nodes_to_avoid_are_the_last_resort(build, policy):
    nodes = build.nodes((4, 8), (1, 8))
    avoid = np.array([True, False])
    spared = decide(build, policy, nodes, build.group(nodes, count=3, avoid=avoid))
    assert build.placed(spared) == {1: 1}
    alone = build.nodes((4, 8), (1, 8), offline=[1])
    assert build.placed(decide(build, policy, alone, build.group(alone, count=3, avoid=avoid))) == {0: 3}


@pytest.mark.parametrize("policy", ALL)
def test_a_hopeless_deadline_is_still_placed(build, policy):
    nodes = build.nodes((4, 8))
    late = build.group(nodes, deadline_at=build.now + 1, run_time_s=600.0)
    assert build.placed(decide(build, policy, nodes, late)) == {0: 1}


@pytest.mark.parametrize("policy", ALL)
def test_the_binding_resource_decides_and_memory_is_never_overcommitted(build, policy):
    nodes = build.nodes((16, 8), (2, 64), (16, 64))
    group = build.group(nodes, count=100, demand=(1, 4))
    assert build.placed(decide(build, policy, nodes, group)) == {0: 2, 1: 2, 2: 16}


@pytest.mark.parametrize("policy", ALL)
def test_a_queue_that_fills_one_resource_does_not_keep_off_work_without_it(build, policy):
    nodes = build.nodes((4, 64, 10))
    disk_queue = [(0, (1, 1, 30), 0.05)]
    group = build.group(nodes, count=9, demand=(1, 1), since=build.now - 100)
    assert build.placed(decide(build, policy, nodes, group, running=disk_queue)) == {0: 3}


@pytest.mark.parametrize("policy", ALL)
def test_a_node_with_two_kinds_of_gpu_serves_both(build, policy):
    nodes = build.nodes((8, 64, 0, (2, 1)), (8, 64, 0, (0, 2)), kinds=(build.t4, build.a100))
    either = [(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))]
    decision = decide(build, policy, nodes, build.group(nodes, count=9, demand=either))
    used = {(each.node, each.demand): each.count for each in decision.placements}
    assert used == {(0, 0): 2, (0, 1): 1, (1, 1): 2}
    four = decide(build, policy, nodes, build.group(nodes, count=4, demand=either))
    assert sum(each.count for each in four.placements) == 4
    capped = build.group(nodes, count=9, demand=either, allowed=np.array([[True, True], [False, True]]))
    used = {(each.node, each.demand): each.count for each in decide(build, policy, nodes, capped).placements}
    assert used == {(0, 0): 2, (1, 1): 2}


def test_short_gpu_tasks_queue_ahead_on_each_alternative(build):
    nodes = build.nodes(
        (8, 64, 0, (1, 0)), (8, 64, 0, (0, 1)), (8, 64, 0, (0, 1)), kinds=(build.t4, build.a100)
    )
    either = [(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))]
    group = build.group(nodes, count=99, demand=either, run_time_s=0.05)
    decision = decide(build, "fifo", nodes, group, running=[(2, (1, 1, 0, (0, 1)), 900.0)])
    assert build.placed(decision) == {0: 3, 1: 3}


def test_alternatives_that_cannot_queue_ahead_use_what_is_free(build):
    nodes = build.nodes((8, 64, 0, (1, 0)), (8, 64, 0, (0, 1)), kinds=(build.t4, build.a100))
    either = [(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))]
    group = build.group(
        nodes, count=99, demand=either, allowed=np.array([[True, True], [False, False]]), run_time_s=0.05
    )
    assert build.placed(decide(build, "fifo", nodes, group)) == {0: 3}


@pytest.mark.parametrize("policy", ALL)
def test_higher_priority_takes_the_room(build, policy):
    nodes = build.nodes((4, 64))
    low = build.group(nodes, 0, count=4, priority=20, run_time_s=5.0)
    high = build.group(nodes, 1, count=3, priority=80, run_time_s=500.0)
    decision = decide(build, policy, nodes, low, high)
    assert (build.placed(decision, 1), build.placed(decision, 0)) == ({0: 3}, {0: 1})


@pytest.mark.parametrize("policy", ALL)
def test_a_group_without_any_demand_alternative_is_passed_over(build, policy):
    nodes = build.nodes((4, 64))
    group = build.group(nodes)
    nowhere = build.group(nodes, 1, demand=[])
    assert build.placed(decide(build, policy, nodes, nowhere, group), 0) == {0: 1}
