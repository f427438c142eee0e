"""Queues as games: they go as the simulator's runs do, and rewards sum to the slowdown."""

from __future__ import annotations

import numpy as np
import pytest
from tests.lab.training.small import queue

from farlane.lab.training.queue_setting import QueueGame
from farlane.lab.training.shown import COLUMNS, shown
from farlane.scheduler.learned.features import TASK_FEATURES
from farlane.scheduler.learned.network import SIZE, flatten, random_weights
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import SHORT_S
from farlane.scheduler.sim.state import State, new_state


def played(backfill: bool, rule: int, width: int) -> tuple[QueueGame, float, int]:
    setting = queue(backfill=backfill)
    game = setting.game(setting.draw(5), 5, rule, width)
    total, decisions = 0.0, 0
    while game.see() is not None:
        total += game.choose(game.taught())
        decisions += 1
    return game, total, decisions


@pytest.mark.parametrize("backfill", [False, True])
@pytest.mark.parametrize("rule", [Rule.F1, Rule.WFP3, Rule.SAF_HISTORY])
def test_a_game_that_follows_a_rule_is_that_rules_run(backfill: bool, rule: Rule) -> None:
    game, _, decisions = played(backfill, int(rule), width=3)
    world = queue().draw(5)
    state = new_state(world)
    run_queue(world, state, int(rule), backfill)
    found: State = game.state
    np.testing.assert_array_equal(found.started, state.started)
    assert 5 < decisions <= 24


@pytest.mark.parametrize("backfill", [False, True])
def test_rewards_sum_to_minus_the_unclipped_slowdown_less_that_of_running(backfill: bool) -> None:
    game, total, _ = played(backfill, int(Rule.SJF), width=64)
    world = queue().draw(5)
    wait, run = game.state.started - world.tasks.arrival, world.tasks.run_s
    bounded = np.maximum(run, SHORT_S)
    assert -total == pytest.approx((wait / bounded).sum(), rel=1e-12)
    assert -total == pytest.approx(((wait + run) / bounded - run / bounded).sum(), rel=1e-12)
    assert total < -10


def test_what_is_seen_is_padded_and_masked() -> None:
    setting = queue()
    game = setting.game(setting.draw(5), 5, int(Rule.SJF), 4)
    seen = game.see()
    assert seen is not None
    assert seen.rows.shape == (4, COLUMNS)
    assert not seen.mask[-1]  # waiting is no choice in this setting
    count = int(seen.mask.sum())
    assert 2 <= count <= 4
    assert (seen.rows[count:] == 0).all()
    assert seen.rows[:count, : len(TASK_FEATURES)].any(axis=1).all()


def test_a_random_choice_of_candidates_keeps_the_one_that_must_be_there() -> None:
    random = np.random.default_rng(0)
    for kept in range(10):
        found = shown(10, 4, kept, random)
        assert kept in found
        assert len(set(found.tolist())) == 4
        assert found.max() < 10
    assert shown(3, 4, 1, random).tolist() == [0, 1, 2]


def test_costs_of_rules_and_of_weights() -> None:
    setting = queue()
    world = setting.draw(7)
    costs = {rule: setting.rule_cost(world, 7, rule) for rule in setting.rules}
    assert costs[int(Rule.SJF)] < costs[int(Rule.FCFS)]
    nothing = setting.policy_cost(7, np.zeros(SIZE))
    assert nothing == costs[int(Rule.FCFS)]  # of equal scores the first in the queue goes
    skip = np.zeros(len(TASK_FEATURES))
    skip[TASK_FEATURES.index("request")] = -1.0
    short_first = flatten(random_weights(0)._replace(skip=skip))
    assert setting.policy_cost(7, short_first) == costs[int(Rule.SJF)]
