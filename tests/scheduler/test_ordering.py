"""Who is served first, and how waiting changes it."""

from __future__ import annotations

import pytest

from farlane.scheduler.ordering import effective_priority, fifo_order, shortest_order


@pytest.mark.parametrize(
    ("priority", "waited_s", "expected"),
    [
        (50, 0, 50),
        (50, 60, 51),
        (50, 90, 51.5),
        (0, 6000, 100),
        (99, 3600, 100),
        (50, -10, 50),
        (100, 0, 100),
    ],
)
def test_waiting_earns_one_point_a_minute_up_to_the_cap(priority, waited_s, expected):
    assert effective_priority(priority, 1000.0, 1000.0 + waited_s) == expected


def keys(groups):
    return [group.key for group in groups]


def test_fifo_serves_the_higher_effective_priority_first(build):
    nodes = build.nodes((4, 8))
    fresh = build.group(nodes, 0, priority=60)
    low = build.group(nodes, 1, priority=10)
    aged = build.group(nodes, 2, priority=50, since=build.now - 660)
    assert keys(fifo_order(build.view(nodes, fresh, low, aged))) == [2, 0, 1]


def test_fifo_breaks_ties_by_deadline_then_age_then_key(build):
    nodes = build.nodes((4, 8))
    groups = [
        build.group(nodes, 3),
        build.group(nodes, 2),
        build.group(nodes, 5, since=build.now - 20),
        build.group(nodes, 4, deadline_at=build.now + 900),
        build.group(nodes, 1, deadline_at=build.now + 90),
    ]
    assert keys(fifo_order(build.view(nodes, *groups))) == [1, 4, 5, 2, 3]


def test_shortest_first_serves_least_seconds_times_share_first(build):
    nodes = build.nodes((8, 16), (4, 8))
    groups = [
        build.group(nodes, 0, demand=(1, 1), run_time_s=80.0),  # 80 s x 1/8
        build.group(nodes, 1, demand=(4, 1), run_time_s=10.0),  # 10 s x 4/8
        build.group(nodes, 2, demand=(1, 8), run_time_s=4.0),  # 4 s x 8/16
        build.group(nodes, 3, demand=(1, 1), timeout_s=20.0),  # unknown: 20 s x 1/8
    ]
    assert keys(shortest_order(build.view(nodes, *groups))) == [2, 3, 1, 0]


def test_shortest_first_counts_the_least_alternative_and_puts_the_impossible_last(build):
    nodes = build.nodes((8, 16, 0, (4, 1)), kinds=(build.t4, build.a100))
    either = build.group(nodes, 0, demand=[(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))], run_time_s=8.0)  # 8 s x 1/4
    half = build.group(nodes, 1, demand=(4, 1), run_time_s=6.0)  # 6 s x 1/2
    nowhere = build.group(nodes, 2, demand=[], run_time_s=0.1)
    assert keys(shortest_order(build.view(nodes, half, nowhere, either))) == [0, 1, 2]


def test_waiting_lifts_a_long_task_over_fresh_short_ones_within_ten_minutes(build):
    nodes = build.nodes((8, 16))
    short = build.group(nodes, 0, run_time_s=1.0)
    for waited_s, first in ((0, 0), (300, 0), (600, 1)):
        long = build.group(nodes, 1, run_time_s=1000.0, since=build.now - waited_s)
        assert keys(shortest_order(build.view(nodes, short, long)))[0] == first


def test_shortest_first_without_nodes_still_orders(build):
    nodes = build.nodes()
    groups = [build.group(nodes, 0, run_time_s=5.0), build.group(nodes, 1, run_time_s=1.0)]
    assert keys(shortest_order(build.view(nodes, *groups))) == [1, 0]
