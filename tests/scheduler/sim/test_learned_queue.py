"""The compiled task head gives the network's numbers, and a network that is a rule runs a queue as the rule does."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.learned import features, network
from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.learned_queue import pool_columns, queue_scores, run_learned_queue
from farlane.scheduler.sim.placing import TIGHTEST, place, unqueue
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.state import QUEUED, State, new_state
from farlane.scheduler.sim.world import World
from farlane.testing.sim_worlds import pool


def worlds(count: int) -> list[World]:
    random = np.random.default_rng(1)
    made = []
    for _ in range(count):
        arrival = np.sort(random.uniform(0, 2000, 60))
        jobs = [(at, random.integers(1, 900) * 1.0, int(random.integers(1, 17))) for at in arrival.tolist()]
        made.append(pool(16, jobs, [job[1] * 1.5 for job in jobs]))
    return made


def scored(seed: int) -> network.Weights:
    random = np.random.default_rng(seed)
    return network.unflatten(random.normal(0.0, 0.5, network.SIZE))


def halfway(world: World) -> State:
    state = new_state(world)
    for _ in range(8):
        advance(world, state)
    place(world, state, unqueue(state, 2), 0, TIGHTEST)
    while state.marks[QUEUED] < 12:
        advance(world, state)
    return state


@pytest.mark.parametrize("passing", [False, True])
def test_the_loops_give_the_scores_of_the_network(passing: bool) -> None:
    weights = scored(3)
    for world in worlds(3):
        state = halfway(world)
        columns = pool_columns(world, state)
        x = features.task_features(columns)
        g = features.global_features(columns, x, 1.0, float(passing), 1, 0.0)
        embedded = network.embeddings(weights, x)
        pooled = network.pool(embedded, np.ones(len(x)))
        expected = network.task_scores(weights, x, g, embedded, pooled)
        np.testing.assert_allclose(queue_scores(world, state, weights, passing), expected, rtol=1e-9)


@pytest.mark.parametrize("backfill", [False, True])
def test_a_network_that_is_smallest_area_first_runs_as_the_rule_does(backfill: bool) -> None:
    skip = np.zeros(len(features.TASK_FEATURES))
    skip[features.TASK_FEATURES.index("request")], skip[features.TASK_FEATURES.index("size")] = -5.0, -3.0
    weights = network.random_weights(0)._replace(skip=skip)
    for world in worlds(3):
        ours, rule = new_state(world), new_state(world)
        run_learned_queue(world, ours, weights, backfill)
        run_queue(world, rule, int(Rule.SAF), backfill)
        np.testing.assert_array_equal(ours.started, rule.started)


def test_features_have_the_columns_that_are_named() -> None:
    state = halfway(worlds(1)[0])
    columns = pool_columns(worlds(1)[0], state)
    x = features.task_features(columns)
    assert x.shape[1] == len(features.TASK_FEATURES)
    assert len(features.global_features(columns, x, 1.0, 0.0, 1, 0.0)) == len(features.GLOBAL_FEATURES)
    assert (np.abs(x) <= 2.0).all()
    opening = x[:, features.TASK_FEATURES.index("opening")]
    fits = x[:, features.TASK_FEATURES.index("fits")]
    np.testing.assert_array_equal(opening > 0.0, fits == 0.0)


def test_history_by_hand() -> None:
    """The first user ran 10 and 1000 s, asking for 2000 and 3000; now it waits with both requests, and a stranger."""
    jobs = [
        (0.0, 10.0, 4),
        (0.0, 1000.0, 4),
        (20.0, 5000.0, 4),
        (1500.0, 9.0, 4),
        (1500.0, 9.0, 4),
        (1500.0, 9.0, 4),
    ]
    world = pool(8, jobs, [2000.0, 3000.0, 9000.0, 2000.0, 3000.0, 3000.0])
    tasks = world.tasks._replace(user=np.array([0, 0, 0, 0, 0, 1]), demand=world.tasks.demand.copy())
    world = world._replace(tasks=tasks)
    state = new_state(world)
    for at in range(3):
        while state.marks[QUEUED] == 0:
            advance(world, state)
        place(world, state, unqueue(state, 0), 0, TIGHTEST)
        assert np.isfinite(state.started[at])
    while state.marks[QUEUED] < 3:
        advance(world, state)
    of = pool_columns(world, state)
    assert 10.0**of.usual == pytest.approx([10.0, 1000.0, 1000.0])
    assert 10.0**of.owner_usual == pytest.approx([100.0, 100.0, 1000.0])
    assert 10.0**of.owner_quick == pytest.approx([2 / 0.101, 2 / 0.101, 1000.0])
    assert 10.0**of.asked_usual == pytest.approx([10.0, 1000.0, 1000.0])
    assert of.runs.tolist() == [2, 2, 0]
    assert of.crowd.tolist() == [2, 2, 1]
    assert of.running.tolist() == [1, 1, 0]
    assert of.elapsed_s == pytest.approx([1480.0, 1480.0, 0.0])


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(Exception, match="weights in one vector"):
        network.unflatten(np.zeros(3))
