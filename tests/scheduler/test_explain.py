"""One dominant reason, a reason for each node, and what would fix it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.errors import NotFound
from farlane.scheduler.eligibility import first_obstacle
from farlane.scheduler.explain import explain
from farlane.scheduler.ordering import shortest_order
from farlane.scheduler.policy import policy_named
from farlane.scheduler.situation import Reason
from farlane.scheduler.view import Decision, Reservation


def why(view, key=0, obstacles=None, policy="fifo", **more):
    decision = policy_named(policy).decide(view)
    return explain(view, key, obstacles or [None] * len(view.nodes.ids), decision, **more)


def reasons(explanation):
    return [each.reason for each in explanation.per_node]


def test_an_unknown_group_is_not_found(build):
    with pytest.raises(NotFound, match="group 3"):
        why(build.view(build.nodes((4, 8))), 3)


def test_a_passed_deadline_comes_before_everything_else(build):
    nodes = build.nodes()
    found = why(build.view(nodes, build.group(nodes, deadline_at=build.now - 90)))
    assert (found.reason, found.dominant) == (Reason.DEADLINE, "the deadline passed 1m30s ago")
    assert "later deadline" in found.fix


def test_a_deadline_still_to_come_is_no_reason(build):
    nodes = build.nodes()
    found = why(build.view(nodes, build.group(nodes, deadline_at=build.now + 90)))
    assert (found.reason, found.dominant) == (Reason.NO_NODES, "the network has no nodes")
    assert "farlane join" in found.fix


def ineligible(build, spec, *nodes):
    rows = build.nodes(*[(8, 16)] * len(nodes))
    group = build.group(rows, eligible=np.zeros(len(nodes), np.bool_), affordable=0)
    return why(build.view(rows, group), obstacles=[first_obstacle(spec, node) for node in nodes])


def test_the_most_frequent_obstacle_is_told_of_the_nearest_node(build):
    nodes = [
        build.node_spec("alpha", memory_gib=8),
        build.node_spec("beta", memory_gib=16),
        build.node_spec("gamma", python="3.12"),
    ]
    found = ineligible(build, build.job_spec(memory_gib=64), *nodes)
    assert found.reason is Reason.NOT_ELIGIBLE
    assert found.dominant == (
        "no node could run this: needs 64 GiB of memory; beta has 16 GiB (memory: 2 of 3 nodes)"
    )
    assert found.fix == "ask for at most 16 GiB of memory, or add a node with 64 GiB"
    assert reasons(found) == [Reason.NOT_ELIGIBLE] * 3
    assert found.per_node[2].message == "the function was pickled by Python 3.11; gamma runs 3.12"


def test_an_obstacle_common_to_all_is_told_without_a_count(build):
    found = ineligible(build, build.job_spec(cores=64), build.node_spec())
    assert found.dominant == "no node could run this: needs 64 cores; alpha has 8 cores"


def test_a_spent_budget(build):
    nodes = build.nodes((4, 8), (4, 8))
    found = why(build.view(nodes, build.group(nodes, affordable=0)))
    assert found.reason is Reason.BUDGET
    assert "raise the budget" in found.fix
    dear = build.group(nodes, eligible=np.array([False, False]))
    found = why(build.view(nodes, dear))
    assert (found.reason, reasons(found)) == (Reason.BUDGET, [Reason.BUDGET] * 2)


def test_offline_nodes_are_named_up_to_three(build):
    nodes = build.nodes((4, 8), (4, 8), (4, 8), (4, 8), (1, 8), offline=[0, 1, 2, 3])
    view = build.view(nodes, build.group(nodes, demand=(2, 1)))
    spec = build.job_spec(cores=2)
    obstacles = [None, None, None, None, first_obstacle(spec, build.node_spec(cores=1))]
    found = why(view, obstacles=obstacles)
    assert found.dominant == "every node that could run this is offline or draining (n0, n1, n2, ...)"
    assert reasons(found) == [Reason.OFFLINE] * 4 + [Reason.NOT_ELIGIBLE]
    one = build.nodes((4, 8), offline=[0])
    assert why(build.view(one, build.group(one))).dominant.endswith("(n0)")


def test_a_group_that_starts_says_so(build):
    nodes = build.nodes((4, 8), (4, 8))
    found = why(build.view(nodes, build.group(nodes, count=4)), policy="best-fit")
    assert (found.reason, found.dominant) == (Reason.STARTING, "4 tasks started in this round")
    assert reasons(found) == [Reason.STARTING, Reason.FREE]
    assert found.per_node[0].message == "4 tasks started here"


def test_room_that_no_decision_has_used_yet_means_the_next_round(build):
    nodes = build.nodes((4, 8), (4, 8))
    found = explain(build.view(nodes, build.group(nodes, count=4)), 0, [None, None], Decision(()))
    assert (found.reason, found.dominant) == (Reason.STARTING, "there is room on 2 of 2 nodes")
    assert reasons(found) == [Reason.FREE] * 2


def test_a_full_network_tells_who_is_ahead_and_when_there_is_room(build):
    nodes = build.nodes((4, 8), (1, 8))
    running = [(0, (3.5, 1), 20.0), (1, (1, 1), 90.0)]
    ahead = build.group(nodes, 1, count=7, priority=60, demand=(2, 1), eligible=np.array([True, False]))
    mine = build.group(nodes, 0, count=2)
    found = why(build.view(nodes, ahead, mine, running=running))
    assert (found.reason, found.ahead, found.expected_at) == (Reason.BUSY, 7, build.now + 90.0)
    assert found.dominant == (
        "all nodes that could run this are full, 7 tasks ahead; room is expected in 1m30s"
    )
    assert reasons(found) == [Reason.BUSY, Reason.BUSY]
    assert found.per_node[0].message == "full: needs 1 core, 0.5 cores free"
    short = replace(mine, run_time_s=5.0)
    assert why(build.view(nodes, ahead, short, running=running), order=shortest_order).ahead == 7


def test_a_group_that_started_in_part_waits_for_the_rest(build):
    nodes = build.nodes((4, 8), rtt_s=0.0)
    found = why(build.view(nodes, build.group(nodes, count=5, run_time_s=30.0)))
    assert found.dominant == (
        "4 tasks started in this round, 1 task wait: all nodes that could run this are full, 0 tasks ahead; "
        "room is expected in 30.0 s"
    )


def test_without_leases_in_force_nothing_tells_when(build):
    nodes = build.nodes((4, 8))
    nodes.free[0] = 0
    found = why(build.view(nodes, build.group(nodes)))
    assert (found.expected_at, found.dominant) == (
        None,
        "all nodes that could run this are full, 0 tasks ahead",
    )


def test_waiting_behind_a_reservation(build):
    nodes = build.nodes((4, 64))
    large = build.group(nodes, 0, priority=60, demand=(4, 1))
    small = build.group(nodes, 1, count=5)
    view = build.view(nodes, large, small, running=[(0, (2, 1), 30.0)])
    found = why(view, 1)
    assert (found.reason, found.expected_at) == (Reason.RESERVED, build.now + 30.0)
    assert found.dominant == "the nodes with room are reserved; j1 is next there in 30.0 s"
    assert found.fix == "declare a run time or time-out below 30.0 s, raise the priority, or add a node"
    assert found.per_node[0].message == (
        "has room, but j1 is next here in 30.0 s and a task started now might delay it"
    )
    assert why(view, 0).expected_at == build.now + 30.0


def test_an_avoided_node_says_so(build):
    nodes = build.nodes((4, 8), (4, 8))
    group = build.group(nodes, count=9, avoid=np.array([True, False]))
    assert reasons(why(build.view(nodes, group))) == [Reason.AVOIDED, Reason.STARTING]


@pytest.mark.parametrize(
    ("running", "message"),
    [
        ((0, (1, 7.5), 9.0), "full: needs 1 GiB of memory, 512 MiB of memory free"),
        ((0, (1, 1, 9.5), 9.0), "full: needs 1 GiB of disk, 512 MiB of disk free"),
        ((0, (3.9, 1), 9.0), "full: needs 0.25 cores, 0.1 cores free"),
        ((0, (1, 1, 0, (1, 0)), 9.0), "full: needs 1 x T4, 0 x T4 free"),
    ],
)
def test_a_full_node_names_what_is_short(build, running, message):
    nodes = build.nodes((4, 8, 10, (1, 0)), kinds=(build.t4, build.a100))
    either = [(0.25, 1, 1, (1, 0)), (0.25, 1, 1, (0, 1))]
    view = build.view(nodes, build.group(nodes, demand=either), running=[running])
    assert why(view).per_node[0].message == message


def test_a_task_started_twice_over_on_one_node_counts_once(build):
    nodes = build.nodes((8, 64, 0, (1, 1)), kinds=(build.t4, build.a100))
    either = [(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))]
    found = why(build.view(nodes, build.group(nodes, count=2, demand=either)))
    assert found.per_node[0].message == "2 tasks started here"


def test_a_reservation_of_its_own_tells_when(build):
    nodes = build.nodes((4, 8))
    view = build.view(nodes, build.group(nodes), running=[(0, (4, 1), 30.0)])
    decision = Decision((), (Reservation(0, 0, build.now + 12.0),))
    assert explain(view, 0, [None], decision).expected_at == build.now + 12.0


def test_what_others_started_is_not_counted(build):
    nodes = build.nodes((4, 8), (4, 8))
    other = build.group(nodes, 1, count=4, priority=90, eligible=np.array([True, False]))
    found = why(build.view(nodes, other, build.group(nodes, count=4)))
    assert found.dominant == "4 tasks started in this round"
    assert reasons(found) == [Reason.BUSY, Reason.STARTING]
