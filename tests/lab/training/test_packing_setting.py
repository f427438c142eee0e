"""Packing as a game: it goes as the simulator's runs do, and rewards sum to what is in use at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from farlane.lab.training.packing_setting import PackingGame, PackingSetting
from farlane.lab.training.rollout import NODE
from farlane.lab.training.shown import COLUMNS
from farlane.scheduler.learned.features import PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import SIZE, flatten, random_weights
from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.packing import Packing
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import ANY_GPU, WHOLE_GPU, Ints, Tasks, World


@dataclass(frozen=True)
class Pods:
    """Tasks of a share of a GPU to two on six nodes of two GPUs, more than fit."""

    count: int = 40

    def __call__(self, seed: int) -> World:
        random = np.random.default_rng(seed)
        demand: Ints = np.zeros((self.count, 3), np.int64)
        demand[:, 0] = random.integers(1, 9, self.count) * 1000
        milli = random.choice([300, 500, 700, 1000, 1000], self.count)
        gpus = np.where(milli == WHOLE_GPU, random.integers(1, 3, self.count), 1)
        tasks = plain_tasks(np.arange(self.count, dtype=np.float64), demand)._replace(
            gpus=gpus, gpu_milli=milli, gpu_models=np.full(self.count, ANY_GPU),
            run_s=np.full(self.count, np.inf),
        )  # fmt: skip
        nodes = plain_nodes(np.tile([32_000, 0, 0], (6, 1)))
        return World(
            nodes._replace(gpus=np.full(6, 2), gpu_model=np.zeros(6, np.int64)),
            tasks,
            no_changes(),
            np.ones((1, 2)),
            no_rows(),
        )


def setting() -> PackingSetting:
    return PackingSetting("pods", listed, lead=0.5)


def listed(seed: int) -> tuple[World, Tasks]:
    return Pods()(seed), Pods()(0).tasks


def test_a_game_that_follows_the_teacher_is_the_rules_run() -> None:
    world = Pods()(3)
    game = PackingGame(world, usual_tasks(listed(3)[1]), width=6, seed=1)
    total = 0.0
    while (seen := game.see()) is not None:
        assert seen.kind == NODE
        assert seen.rows.shape == (6, COLUMNS)
        assert seen.about.shape == (len(TASK_FEATURES),)
        total += game.choose(game.taught())
    assert game.cost() == pytest.approx(setting().rule_cost(world, 3, int(Packing.FGD)))
    assert 1.0 - game.cost() == pytest.approx(total)


def test_the_network_scores_as_the_rule_that_its_weights_spell() -> None:
    skip = np.zeros(len(PAIR_FEATURES))
    skip[PAIR_FEATURES.index("fragments")] = -1.0
    fewest = flatten(random_weights(0)._replace(pair_skip=skip))
    costs = [setting().policy_cost(seed, fewest) for seed in range(4)]
    exact = [setting().rule_cost(Pods()(seed), seed, int(Packing.FGD_EXACT)) for seed in range(4)]
    chance = [setting().policy_cost(seed, np.zeros(SIZE)) for seed in range(4)]
    assert np.mean(costs) == pytest.approx(np.mean(exact), abs=0.05)
    assert np.mean(costs) < np.mean(chance)


def test_an_episode_that_the_same_weights_began_comes_to_the_same() -> None:
    weights = flatten(random_weights(1)._replace(pair_skip=np.linspace(-1, 1, len(PAIR_FEATURES))))
    for seed in range(3):
        assert setting().policy_cost(seed, weights, weights) == setting().policy_cost(seed, weights)
    others = [setting().policy_cost(seed, weights, np.zeros(SIZE)) for seed in range(5)]
    assert others != [setting().policy_cost(seed, weights) for seed in range(5)]
