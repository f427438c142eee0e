"""How tasks are shared over nodes that have more room than is needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.scheduler.policy import policy_named
from farlane.scheduler.sharing import level


def greedy(room, size, count):
    """One task at a time from where the greatest share is left."""
    left = list(room)
    for _ in range(count):
        at = max(range(len(left)), key=lambda row: (left[row] / size[row], -row))
        left[at] -= 1
    return left


@given(st.data())
def test_level_is_as_even_as_serving_one_task_at_a_time(data):
    size = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=8))
    room = [data.draw(st.integers(0, each)) for each in size]
    if sum(room) == 0:
        room[0] = 1
    count = data.draw(st.integers(0, sum(room) - 1))
    taken = level(np.array(room), np.array(size), count)
    assert taken.sum() == count
    assert (taken >= 0).all()
    assert (taken <= room).all()
    left = [(have - gone) / each for have, gone, each in zip(room, taken.tolist(), size, strict=True)]
    best = [have / each for have, each in zip(greedy(room, size, count), size, strict=True)]
    # No node is left with less than the greedy one's least, short of one task's rounding.
    assert min(left) >= min(best) - max(1 / each for each in size) - 1e-9


def test_level_at_the_scale_of_a_large_network():
    rng = np.random.default_rng(1)
    size = rng.integers(1, 1 << 20, 10_000)
    room = (size * rng.random(10_000)).astype(np.int64) + 1
    size = np.maximum(size, room)
    for count in (1, 9_999, int(room.sum()) // 3, int(room.sum()) - 1):
        taken = level(room, size, count)
        assert taken.sum() == count
        assert (taken >= 0).all()
        assert (taken <= room).all()


def decide(build, policy, nodes, *groups, running=()):
    return build.placed(policy_named(policy).decide(build.view(nodes, *groups, running=running)))


@pytest.mark.parametrize("policy", ["fifo", "shortest-first"])
def test_the_cheapest_nodes_are_filled_first(build, policy):
    nodes = build.nodes((4, 8), (4, 8), (4, 8), price=[30, 10, 20])
    assert decide(build, policy, nodes, build.group(nodes, count=6)) == {1: 4, 2: 2}


def test_equally_cheap_nodes_share_evenly_after_the_cheaper_one_is_full(build):
    nodes = build.nodes((4, 8), (2, 8), (8, 8), price=[20, 10, 20])
    assert decide(build, "fifo", nodes, build.group(nodes, count=8)) == {0: 2, 1: 2, 2: 4}


def test_gpu_prices_count_per_kind(build):
    nodes = build.nodes(
        (8, 8, 0, (2, 0)), (8, 8, 0, (0, 2)), kinds=(build.t4, build.a100), gpu_price=[[50, 0], [0, 40]]
    )
    either = build.group(nodes, count=1, demand=[(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))])
    decision = policy_named("fifo").decide(build.view(nodes, either))
    assert [(each.node, each.demand) for each in decision.placements] == [(1, 1)]
    one_kind = build.group(nodes, count=1, demand=(1, 1, 0, (1, 0)))
    assert decide(build, "fifo", nodes, one_kind) == {0: 1}


def test_best_fit_uses_up_the_node_with_least_left(build):
    nodes = build.nodes((16, 32), (4, 8), (16, 32))
    running = [(2, (12, 24), 60.0)]
    assert decide(build, "best-fit", nodes, build.group(nodes, count=6), running=running) == {1: 4, 2: 2}


def test_best_fit_keeps_gpu_nodes_for_gpu_work(build):
    nodes = build.nodes((8, 16, 0, (4,)), (8, 16, 0, (0,)), kinds=(build.t4,))
    assert decide(build, "best-fit", nodes, build.group(nodes, count=3)) == {1: 3}


def test_best_fit_weighs_each_alternative_by_what_it_leaves(build):
    nodes = build.nodes((8, 16, 0, (4, 0)), (8, 16, 0, (0, 1)), kinds=(build.t4, build.a100))
    either = build.group(nodes, count=1, demand=[(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))])
    # Three quarters of the T4s would be left over, but none of the A100s.
    assert decide(build, "best-fit", nodes, either) == {1: 1}


def test_spread_evens_out_the_free_share(build):
    nodes = build.nodes((4, 8), (8, 16), (4, 8))
    assert decide(build, "spread", nodes, build.group(nodes, count=8)) == {0: 2, 1: 4, 2: 2}
    running = [(0, (3, 1), 60.0)]
    assert decide(build, "spread", nodes, build.group(nodes, count=5), running=running) == {1: 3, 2: 2}


def test_spread_over_alternatives_counts_the_slots_of_each(build):
    nodes = build.nodes((8, 16, 0, (4, 0)), (8, 16, 0, (0, 2)), kinds=(build.t4, build.a100))
    either = build.group(nodes, count=3, demand=[(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))])
    assert decide(build, "spread", nodes, either) == {0: 2, 1: 1}
