"""How many short tasks may queue on a node beyond what is free, and who may not."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.policy import policy_named, validate
from farlane.scheduler.queue_ahead import MAX_AHEAD, ahead


@pytest.mark.parametrize(
    ("run_time_s", "rtt_s", "expected"),
    [
        (0.001, 0.0, 100.0),
        (0.05, 0.0, 2.0),
        (0.1, 0.0, 0.0),
        (0.1, 0.05, 1.5),
        (0.2, 0.0, 0.0),
        (3600.0, 0.3, 0.0),
        (0.0, 0.0, MAX_AHEAD),
        (1e-5, 0.05, MAX_AHEAD),
    ],
)
def test_depth_is_the_window_in_task_times_and_none_below_one(run_time_s, rtt_s, expected):
    assert ahead(run_time_s, np.array([0.1 + rtt_s]))[0] == pytest.approx(expected)


def decide(build, nodes, *groups, running=()):
    view = build.view(nodes, *groups, running=running)
    return validate(view, policy_named("fifo").decide(view))


def test_short_tasks_queue_ahead_in_proportion_to_capacity(build):
    nodes = build.nodes((4, 64), (4, 64), (8, 64))
    many = build.group(nodes, count=10_000, run_time_s=0.01)
    assert build.placed(decide(build, nodes, many)) == {0: 44, 1: 44, 2: 88}
    few = build.group(nodes, count=96, run_time_s=0.01)
    assert build.placed(decide(build, nodes, few)) == {0: 24, 1: 24, 2: 48}


def test_a_node_that_has_less_queued_gets_more(build):
    nodes = build.nodes((4, 64), (4, 64))
    running = [(0, (24, 1), 0.05)]
    group = build.group(nodes, count=32, run_time_s=0.01)
    assert build.placed(decide(build, nodes, group, running=running)) == {0: 4, 1: 28}


def test_a_longer_round_trip_earns_a_longer_queue(build):
    nodes = build.nodes((1, 64), rtt_s=0.4)
    assert build.placed(decide(build, nodes, build.group(nodes, count=99, run_time_s=0.05))) == {0: 11}


@pytest.mark.parametrize("run_time_s", [None, 0.1, 30.0])
def test_unknown_and_long_run_times_get_what_fits(build, run_time_s):
    nodes = build.nodes((4, 64), (2, 64))
    group = build.group(nodes, count=100, run_time_s=run_time_s)
    assert build.placed(decide(build, nodes, group)) == {0: 4, 1: 2}


def test_a_full_queue_takes_no_more(build):
    nodes = build.nodes((4, 64))
    group = build.group(nodes, count=100, run_time_s=0.05)
    assert build.placed(decide(build, nodes, group, running=[(0, (12, 1), 0.05)])) == {}
    assert build.placed(decide(build, nodes, group, running=[(0, (9, 1), 0.05)])) == {0: 3}


def test_nothing_queues_behind_long_running_work(build):
    nodes = build.nodes((4, 64), (4, 64))
    running = [(0, (4, 1), 3600.0), (1, (3, 1), 3600.0)]
    group = build.group(nodes, count=1000, run_time_s=0.01)
    assert build.placed(decide(build, nodes, group, running=running)) == {1: 11}


def test_overdue_work_counts_as_long_once_it_is_late_enough(build):
    nodes = build.nodes((4, 64))
    group = build.group(nodes, count=1000, run_time_s=0.01)
    assert build.placed(decide(build, nodes, group, running=[(0, (4, 1), -0.05)])) == {0: 40}
    assert build.placed(decide(build, nodes, group, running=[(0, (4, 1), -30.0)])) == {}


@pytest.mark.parametrize("learnt_first", [True, False])
def test_nothing_queues_behind_long_work_placed_in_the_same_round(build, learnt_first):
    nodes = build.nodes((4, 64), (4, 64))
    only_first = np.array([True, False])
    long = build.group(nodes, 1, count=4, priority=90, run_time_s=600.0, eligible=only_first)
    short = build.group(nodes, 2, count=1000, priority=50, run_time_s=0.01)
    # A short group before the long one makes the board work out what is usable before the long one is placed.
    early = build.group(nodes, 0, count=1, priority=95, run_time_s=0.01, eligible=~only_first)
    groups = (early, long, short) if learnt_first else (long, short)
    decision = decide(build, nodes, *groups)
    assert build.placed(decision, 1) == {0: 4}
    assert set(build.placed(decision, 2)) == {1}


def test_lower_groups_do_not_queue_ahead_where_a_higher_one_waits(build):
    nodes = build.nodes((4, 64), (4, 64))
    queued = [(0, (40, 1), 0.05), (1, (40, 1), 0.05)]
    only_first = np.array([True, False])
    high = build.group(nodes, 0, count=50, priority=90, run_time_s=600.0, eligible=only_first)
    short = build.group(nodes, 1, count=1000, run_time_s=0.005)
    assert set(build.placed(decide(build, nodes, short, running=queued), 1)) == {0, 1}
    assert set(build.placed(decide(build, nodes, high, short, running=queued), 1)) == {1}


def test_two_waiting_groups_keep_both_their_nodes_clear(build):
    nodes = build.nodes((4, 64), (4, 64), (4, 64))
    queued = [(0, (40, 1), 0.05), (1, (40, 1), 0.05)]
    first = build.group(nodes, 0, priority=90, eligible=np.array([True, False, False]))
    second = build.group(nodes, 1, priority=80, eligible=np.array([False, True, False]))
    short = build.group(nodes, 2, count=10_000, run_time_s=0.005)
    assert set(build.placed(decide(build, nodes, first, second, short, running=queued), 2)) == {2}


def test_a_whole_node_waits_for_the_queue_to_drain(build):
    nodes = build.nodes((4, 64))
    large = build.group(nodes, count=1, demand=(4, 1), run_time_s=0.05)
    assert build.placed(decide(build, nodes, large, running=[(0, (16, 1), 0.05)])) == {}
    assert build.placed(decide(build, nodes, large, running=[(0, (8, 1), 0.05)])) == {0: 1}
