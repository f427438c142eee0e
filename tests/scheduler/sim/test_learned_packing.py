"""The compiled node head gives the network's numbers, and a network that is FGD packs as FGD does."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned import features, network
from farlane.scheduler.sim.fragments import added_fragments, usual_tasks
from farlane.scheduler.sim.learned_packing import (
    fleet_of,
    forced_columns,
    node_columns,
    packing_scores,
    pair_columns,
    run_learned_packing,
)
from farlane.scheduler.sim.packing import Packing, run_packing
from farlane.scheduler.sim.scores import gpu_allocation
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import MAX_GPUS, World
from farlane.testing.sim_worlds import gpu_nodes


def world(seed: int) -> World:
    random = np.random.default_rng(seed)
    tasks = []
    for _ in range(60):
        gpus = int(random.choice([0, 1, 1, 1, 2, 4]))
        share = int(random.choice([200, 500, 700, 1000])) if gpus == 1 else 1000
        tasks.append((int(random.integers(1, 30)), gpus, share))
    return gpu_nodes([0, 2, 4, 4, 8, 8], tasks, models=[0, 0, 1, 1, 0, 1])


def test_the_loops_give_the_scores_of_the_network() -> None:
    random = np.random.default_rng(2)
    weights = network.unflatten(random.normal(0.0, 0.5, network.SIZE))
    made = world(1)
    state, usual = new_state(made), usual_tasks(made.tasks)
    fleet, rows = fleet_of(made, usual), np.array([2, 4, 5])
    for task in (0, 3, 7):
        room = np.zeros(MAX_GPUS, np.int64)
        added = np.array([added_fragments(made, state, usual, task, node, room)[0] for node in rows.tolist()])
        x = features.task_features(forced_columns(made, fleet, task, 0.5))
        g = features.global_features(forced_columns(made, fleet, task, 0.5), x, 0.5, 0.0, 6, 0.0)
        p = features.pair_features(pair_columns(made, state, fleet, task, rows, added))
        y = features.node_features(node_columns(made, state, fleet, rows))
        assert np.isfinite(p).all()
        expected = network.node_scores(weights, p, y, network.embeddings(weights, x)[0], g)
        found = packing_scores(made, state, fleet, weights, task, rows, added, 0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_network_that_is_least_fragments_packs_as_the_rule_does() -> None:
    skip = np.zeros(len(features.PAIR_FEATURES))
    skip[features.PAIR_FEATURES.index("fragments")] = -1.0
    weights = network.random_weights(0)._replace(pair_skip=skip)
    for seed in range(3):
        made = world(seed)
        usual, noise = usual_tasks(made.tasks), np.random.default_rng(seed).random((60, 6))
        ours, rule = new_state(made), new_state(made)
        assert run_learned_packing(made, ours, usual, weights, noise) == run_packing(
            made, rule, usual, int(Packing.FGD_EXACT), noise
        )
        assert gpu_allocation(made, ours) == gpu_allocation(made, rule)
        np.testing.assert_array_equal(ours.node, rule.node)
