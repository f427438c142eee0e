"""The Gymnasium environment: it is one by Gymnasium's own checks, and pays what the episode is judged by."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="the lab extra is not installed: pip install 'farlane[lab]'")

from gymnasium.utils.env_checker import check_env
from tests.lab.training.small import queue

from farlane.errors import InvalidInput
from farlane.lab.gym_env import SchedulingEnv
from farlane.scheduler.sim.rules import Rule


def test_gymnasium_finds_nothing_wrong() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check_env(SchedulingEnv([queue()], width=8), skip_render_check=True)
    # Features are ratios and logarithms: they have no bounds that could be told.
    assert [str(each.message) for each in found if "infinity" not in str(each.message)] == []


def test_an_episode_pays_and_tells_what_it_is_judged_by() -> None:
    env = SchedulingEnv([queue("a"), queue("b", backfill=True)], width=32)
    observation, info = env.reset(seed=3, options={"setting": "b"})
    total, ended, steps = 0.0, False, 0
    while not ended:
        assert (info["mask"] == observation["mask"]).all()
        first = np.int64(np.argmax(observation["mask"]))
        observation, reward, ended, truncated, info = env.step(first)
        total += reward
        steps += 1
        assert not truncated
    assert info["setting"] == "b"
    assert info["return"] == pytest.approx(total)
    drawn = int(np.random.default_rng(np.random.SeedSequence(3)).integers(10_000, 1 << 62))
    world = queue().draw(drawn)
    assert info["cost"] == queue(backfill=True).rule_cost(world, drawn, int(Rule.FCFS))
    assert not observation["mask"].any()
    with pytest.raises(InvalidInput, match="call reset first"):
        env.step(np.int64(0))


def test_what_the_mask_forbids_counts_as_the_first_that_it_allows() -> None:
    env = SchedulingEnv([queue()], width=8)
    env.reset(seed=1)
    *_, info = env.step(np.int64(8))
    assert info["masked"]


def test_wrong_use_is_told() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        SchedulingEnv([])
    with pytest.raises(InvalidInput, match="one of small"):
        SchedulingEnv([queue()]).reset(options={"setting": "large"})
