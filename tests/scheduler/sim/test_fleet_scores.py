"""Scores of runs of a fleet, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import fleet_scores, slowdowns
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.usage import busy_shares
from farlane.scheduler.sim.world import Changes, World
from farlane.testing.sim_worlds import gpu_nodes, mixed_world, pool


def half_used() -> World:
    """Four milli-cores: one task takes half for 20 s; one all, from 20 to 50 s."""
    world = pool(4, [(0, 20, 2), (10, 30, 4)])
    return world._replace(tasks=world.tasks._replace(user=np.array([0, 1])))


def test_times_and_use_by_hand() -> None:
    world = half_used()
    scores = fleet_scores(world, simulate(world, Order.FCFS, Choice.FIRST_FIT))
    assert (scores.completion_mean_s, scores.makespan_s) == (30.0, 50.0)
    assert (scores.wait_mean_s, scores.wait_p95_s) == (5.0, 9.5)
    assert scores.slowdown_mean == pytest.approx((1.0 + 40 / 30) / 2)
    assert scores.cpu_used == pytest.approx((2 * 20 + 4 * 30) / (4 * 50))
    assert math.isnan(scores.gpu_used)
    assert scores.fairness == pytest.approx(1.75**2 / (2 * (1 + 0.75**2)))
    assert scores.as_dict()["tasks"] == 2


def test_use_over_time_counts_only_what_is_online() -> None:
    world = half_used()
    state = simulate(world, Order.FCFS, Choice.FIRST_FIT)
    assert busy_shares(world, state, np.array([0.0, 10, 30, 60]))[:, 0].tolist() == pytest.approx(
        [0.5, 0.75, 2 / 3]
    )
    two = gpu_nodes([2, 2], [(1, 2, 1000)])
    two = two._replace(
        tasks=two.tasks._replace(run_s=np.array([40.0])),
        changes=Changes(np.array([10.0, 15, 30]), np.array([1, 1, 1]), np.array([False, False, True])),
    )
    shares = busy_shares(two, simulate(two, Order.FCFS, Choice.FIRST_FIT), np.array([0.0, 10, 30, 40, 50]))
    assert shares[:, 1].tolist() == [0.5, 1.0, 0.5, 0.0]


def test_deadlines_costs_and_bytes() -> None:
    world = pool(1, [(0, 10, 1), (0, 10, 1), (0, 10, 1)])
    world = world._replace(
        nodes=world.nodes._replace(
            price=np.array([[500.0, 0, 0]]), bandwidth=np.array([10.0]), cache_bytes=np.array([99])
        ),
        tasks=world.tasks._replace(deadline=np.array([20.0, 20, np.inf]), model=np.array([0, -1, 0])),
        model_bytes=np.array([50]),
    )
    scores = fleet_scores(world, simulate(world, Order.FCFS, Choice.FIRST_FIT))
    assert (scores.missed, scores.lateness_mean_s) == (0.5, 5.0)
    assert (scores.moved_bytes, scores.cost) == (50, 0.5 * (15 + 10 + 10))


def test_a_slow_node_counts_as_waiting_does() -> None:
    world = gpu_nodes([1, 1], [(1, 1, 1000), (1, 1, 1000)], models=[0, 1])
    world = world._replace(
        tasks=world.tasks._replace(run_s=np.full(2, 80.0), arrival=np.zeros(2)),
        speed=np.array([[4.0, 1.0, 1.0]]),
    )
    assert slowdowns(world, simulate(world, Order.FCFS, Choice.FIRST_FIT)).tolist() == [1.0, 4.0]


def test_restarts_are_booked_and_what_never_ends_counts_to_the_end() -> None:
    world = pool(2, [(0, 10, 1), (0, 10, 3), (0, 10, 1)])
    world = world._replace(
        changes=Changes(np.array([4.0, 6.0]), np.array([0, 0]), np.array([False, True])),
        tasks=world.tasks._replace(deadline=np.array([np.inf, 5.0, np.inf])),
    )
    scores = fleet_scores(world, simulate(world, Order.FCFS, Choice.FIRST_FIT))
    assert (scores.unfinished, scores.restarts, scores.wasted_s) == (1, 2, 8.0)
    assert (scores.completion_p50_s, scores.missed, scores.lateness_mean_s) == (16.0, 1.0, 11.0)
    assert scores.cpu_used == pytest.approx(20 / 28)


def test_scores_of_a_mixed_run_are_sane() -> None:
    world = mixed_world(seed=1, tasks=80)
    scores = fleet_scores(world, simulate(world, Order.SJF, Choice.SOONEST))
    assert scores.unfinished == 0
    assert 0.0 < scores.cpu_used < 1.0
    assert 0.0 < scores.gpu_used < 1.0
    assert scores.cost > 0.0
    assert 1 / 4 <= scores.fairness <= 1.0


def test_there_are_no_scores_of_nothing_and_none_of_for_ever() -> None:
    with pytest.raises(InvalidInput, match="without tasks"):
        fleet_scores(pool_of_nothing(), simulate(pool_of_nothing(), Order.FCFS, Choice.FIRST_FIT))
    world = gpu_nodes([1], [(1, 1, 1000)])
    with pytest.raises(InvalidInput, match="for ever"):
        fleet_scores(world, simulate(world, Order.FCFS, Choice.FIRST_FIT))


def pool_of_nothing() -> World:
    world = pool(1, [(0, 1, 1)])
    empty = type(world.tasks)(*(column[:0] for column in world.tasks))
    return world._replace(tasks=empty._replace(first_child=np.zeros(1, np.int64)))
