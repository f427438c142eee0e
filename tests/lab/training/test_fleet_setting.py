"""Fleets to train on: costs in terms of the hub's own rule, and weights that no other setting notices."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from farlane.errors import InvalidSetting
from farlane.lab.training.config import Config, Imitation, Judging, Network, Ppo, Search
from farlane.lab.training.coordinates import coordinates
from farlane.lab.training.curves import Watcher
from farlane.lab.training.episodes import settings_of
from farlane.lab.training.fleet_setting import (
    OWN,
    FleetSetting,
    ruled,
)
from farlane.lab.training.folder import RunFolder
from farlane.lab.training.run import Run
from farlane.scheduler.learned import network
from farlane.scheduler.learned.features import GLOBAL_FEATURES
from farlane.scheduler.learned.rule_equal import rule_equal
from farlane.scheduler.sim.fleet_scores import OVERALL, fleet_scores, overall
from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.learned_packing import run_learned_packing
from farlane.scheduler.sim.learned_queue import run_learned_queue
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import WHOLE_GPU, Floats, Ints, World
from farlane.testing.sim_worlds import gpu_nodes, mixed_world, pool

ARRAYS = {
    "skip": [
        "slack",
        "due",
        "load",
        "gang",
        "dependents",
        "options",
        "spare_budget",
        "gpus",
        "gpu_share",
    ],
    "pair_skip": ["load", "pace", "cost", "survives", "late", "alike", "soonest", "redone"],
    "node_skip": ["price", "hazard", "rtt", "reputation", "cached"],
}
"""What never varies in queues and in packing."""
SETTING = FleetSetting("mixed", lambda seed: mixed_world(seed, 20))


def test_the_hubs_own_rule_costs_one_and_weights_cost_about_that() -> None:
    world = SETTING.draw(1)
    assert SETTING.rule_name(OWN) == "SHORTEST+PRODUCT+guard"
    assert SETTING.rule_cost(world, 1, OWN) == pytest.approx(1.0)
    assert 0.2 < SETTING.policy_cost(1, network.flatten(rule_equal())) < 5.0


def test_twice_of_all_that_counts_is_about_twice_the_cost() -> None:
    world = SETTING.draw(2)
    own = fleet_scores(world, ruled(world, OWN))
    twice = replace(own, **{name: 2 * getattr(own, name) for name in OVERALL})
    assert 1.5 < overall(twice, own) <= 2.0
    assert overall(replace(own, missed=float("nan")), own) == pytest.approx(1.0)


def test_a_search_of_fleets_alone_needs_nothing_recorded(tmp_path: Path) -> None:
    pytest.importorskip("cma", reason="the lab extra is not installed: pip install 'farlane[lab]'")
    config = Config(
        [Network(nodes=3, hours=0.2), Network(scenario="models", nodes=3, hours=0.2)], rules=1,
        imitation=Imitation(epochs=0), ppo=Ppo(iterations=0), judging=Judging(sequences=1),
        searches=[Search(of="fleets", arrays=ARRAYS, generations=2, population=4, sequences=1)],
    )  # fmt: skip
    settings, data = settings_of(config, tmp_path)
    assert [setting.name for setting in settings] == ["network-calm", "network-models"]
    assert data == []
    folder = RunFolder.create(tmp_path / "run", b"", {})
    with Watcher(Console(file=io.StringIO())) as watcher:
        reached = Run(config, folder, settings, watcher, lambda: 0.0).go()
    assert reached is not None
    assert np.isfinite(reached.losses).all()


def test_contexts_are_those_of_fleets_and_of_hubs(tmp_path: Path) -> None:
    config = Config([Network(scenario="busy", nodes=3, hours=0.2)], rules=1)
    (setting,), _ = settings_of(config, tmp_path)
    vector = network.flatten(rule_equal())
    assert isinstance(setting, FleetSetting)
    both = setting.contexts(5, vector)
    fleets = replace(setting, hub=None).contexts(5, vector)
    assert both[: len(fleets)].tolist() == fleets.tolist()
    assert len(both) > len(fleets) > 0
    assert np.isfinite(both).all()
    churn = GLOBAL_FEATURES.index("churn")
    assert (both[:, churn] > 0.0).all()


def test_a_search_of_fleets_has_to_say_what_it_may_change() -> None:
    with pytest.raises(InvalidSetting, match="name the arrays"):
        coordinates({}, None)


def test_no_game_is_played() -> None:
    with pytest.raises(InvalidSetting, match="leave imitation and ppo out"):
        SETTING.game(SETTING.draw(1), 1, OWN, 8)


def test_queues_and_packing_do_not_notice_what_fleets_have_learnt() -> None:
    random = np.random.default_rng(5)
    before = random.normal(0.0, 0.3, network.SIZE)
    after, free = before.copy(), coordinates(ARRAYS, None)
    after[free] = random.normal(0.0, 5.0, len(free))
    assert len(free) == 22
    queue = pool(8, [(float(at), 5.0 + at % 7, 1 + at % 5) for at in range(25)])
    packing = gpu_nodes([0, 2, 4, 8], [(1 + at % 9, 1 + at % 2, WHOLE_GPU) for at in range(12)])
    for world, run in ((queue, queued), (packing, packed)):
        one, other = run(world, before), run(world, after)
        assert one.tolist() == other.tolist()


def queued(world: World, vector: Floats) -> Floats:
    state = new_state(world)
    run_learned_queue(world, state, network.unflatten(vector), False)
    return state.started


def packed(world: World, vector: Floats) -> Ints:
    state = new_state(world)
    run_learned_packing(world, state, usual_tasks(world.tasks), network.unflatten(vector), np.zeros((1, 1)))
    return state.node
