"""The made-up network: equal seeds, equal worlds; what was asked for is in it; it runs to its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.errors import InvalidInput, NotFound
from farlane.lab.generators.global_network import capacity, global_network, online_s
from farlane.lab.generators.machines import GENERATE, GPUS, HOUR, PREPARE, TRAIN, speeds
from farlane.lab.generators.settings import SCENARIOS, NetworkSettings, scenario
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import fleet_scores
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.world import WHOLE_GPU, Changes, World

SMALL = NetworkSettings(nodes=10, hours=3.0, load=0.4, users=5, models=12)


@pytest.fixture(scope="module")
def small() -> World:
    return global_network(SMALL, seed=3)


def same(one: World, other: World) -> bool:
    parts = [(one.nodes, other.nodes), (one.tasks, other.tasks), (one.changes, other.changes)]
    return all(np.array_equal(a, b) for pair in parts for a, b in zip(*pair, strict=True))


def test_equal_seeds_give_equal_worlds_and_others_do_not(small: World) -> None:
    assert same(small, global_network(SMALL, seed=3))
    assert not same(small, global_network(SMALL, seed=4))


def test_more_load_leaves_the_nodes_as_they_are(small: World) -> None:
    more = global_network(replace(SMALL, load=1.0), seed=3)
    assert np.array_equal(more.nodes.price, small.nodes.price)
    assert np.array_equal(more.changes.at, small.changes.at)
    assert len(more.tasks.arrival) > len(small.tasks.arrival)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_are_sound_worlds(name: str) -> None:
    check_world(global_network(replace(scenario(name), nodes=8, hours=1.0), seed=1))


def test_as_much_work_arrives_as_was_asked_for(small: World) -> None:
    tasks = small.tasks
    work = float((tasks.run_s * tasks.gpus * tasks.gpu_milli).sum()) / WHOLE_GPU
    wanted = SMALL.load * capacity(small.nodes, small.changes, SMALL.hours * HOUR)
    assert 1.0 <= work / wanted < 1.5  # the last job of each kind is whole


def test_all_kinds_of_work_are_there(small: World) -> None:
    tasks = small.tasks
    assert set(tasks.kind.tolist()) == {GENERATE, TRAIN, PREPARE}
    assert (tasks.gang != np.arange(len(tasks.gang))).any()
    assert tasks.parents.max() > 1
    assert np.isfinite(tasks.deadline).any()
    assert np.isfinite(tasks.budget).any()
    assert (tasks.gpus[tasks.kind == PREPARE] == 0).all()
    assert 0.0 <= tasks.arrival[0] <= tasks.arrival[-1] <= SMALL.hours * HOUR


def test_popular_models_are_asked_for_most() -> None:
    world = global_network(
        replace(SMALL, inference=1.0, sweeps=0.0, tuning=0.0, pipelines=0.0, load=1.0), seed=1
    )
    uses = np.sort(np.bincount(world.tasks.model[world.tasks.model >= 0], minlength=12))[::-1]
    assert uses[:3].sum() > uses[3:].sum() / 2
    assert (world.tasks.kind == GENERATE).all()


def test_more_arrives_by_day_than_by_night() -> None:
    one = replace(SMALL, hours=24.0, diurnal=1.0, users=1, load=0.15, sweeps=0.0, tuning=0.0, pipelines=0.0)
    arrival = np.unique(global_network(one, seed=2).tasks.arrival) / HOUR
    counts, _ = np.histogram(arrival, bins=24, range=(0, 24))
    smooth = np.convolve(np.tile(counts, 3), np.ones(8), "same")[24:48]
    assert smooth.max() > 2 * smooth.min()


def test_a_quicker_card_is_quicker_at_everything_that_runs_on_it() -> None:
    table = speeds()
    assert table.shape == (3, len(GPUS) + 1)
    assert (table[:, 0] == 1.0).all()
    assert table[TRAIN].argmax() == table[GENERATE].argmax() == len(GPUS) - 1


def test_time_online_by_hand() -> None:
    changes = Changes(np.array([0.0, 5, 8, 30]), np.array([1, 0, 1, 0]), np.array([False, False, True, True]))
    assert online_s(3, changes, 20.0).tolist() == [5.0, 12.0, 20.0]
    assert online_s(3, changes, 40.0).tolist() == [15.0, 32.0, 40.0]


def test_a_network_runs_to_its_end() -> None:
    world = global_network(replace(SMALL, nodes=5, hours=1.0), seed=3)
    scores = fleet_scores(world, simulate(world, Order.SHORTEST, Choice.SURVIVING, patience_s=7200.0))
    assert scores.unfinished <= scores.tasks * 0.02
    assert scores.moved_bytes > 0
    assert 0.0 < scores.gpu_used < 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0}, {"load": 0.0}, {"load": float("nan")}, {"home": 0.9, "datacentre": 0.2}, {"hours": -1.0},
        {"inference": 0.0, "sweeps": 0.0, "tuning": 0.0, "pipelines": 0.0}, {"deadlines": 1.5}, {"model_gib": 0.0},
        {"popularity": -1.0}, {"failure_hours": 0.0},
    ],
)  # fmt: skip
def test_settings_of_no_network_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="settings are of no network"):
        NetworkSettings(**wrong)  # type: ignore[arg-type]


def test_scenarios_have_names() -> None:
    with pytest.raises(NotFound, match="calm, busy"):
        scenario("quiet")
