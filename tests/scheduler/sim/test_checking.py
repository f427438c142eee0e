"""Worlds that mean nothing are refused, and the message says what is wrong with which row."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.world import Changes, World
from farlane.testing.sim_worlds import gpu_nodes, mixed_world, pool


def empty(part: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    return [column[:0] for column in part]


def test_sound_worlds_pass() -> None:
    for world in (mixed_world(seed=2, tasks=60), pool(2, [(0, 1, 1)]), gpu_nodes([2], [(1, 1, 300)])):
        assert check_world(world) is world


def test_worlds_without_tasks_or_nodes_pass_and_run() -> None:
    world = pool(2, [(0, 1, 1)])
    idle = world._replace(
        tasks=type(world.tasks)(*empty(world.tasks))._replace(first_child=np.zeros(1, np.int64))
    )
    bare = world._replace(nodes=type(world.nodes)(*empty(world.nodes)))
    for each, finished in ((idle, 0), (bare, 0), (world, 1)):
        check_world(each)
        for order in Order:
            state = simulate(each, order, Choice.BEST_FIT, guard=True, patience_s=9.0)
            assert state.marks[4] == finished


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("demand", 3, -1, "tasks.demand of row 3 must be 0 or above"),
        ("arrival", 2, np.nan, "tasks.arrival of row 2"),
        ("arrival", 4, 0.0, "in the order of arrival"),
        ("gpus", 1, 17, "0 to 16"),
        ("gpu_milli", 11, 1001, "tasks.gpu_milli of row 11"),
        ("run_s", 5, np.nan, "tasks.run_s of row 5"),
        ("kind", 5, 2, "one of the 2 kinds"),
        ("user", 5, -2, "tasks.user of row 5"),
        ("model", 7, 5, "one of the 5 models"),
        ("priority", 7, 101, "0 to 100"),
        ("deadline", 7, np.nan, "inf for none"),
        ("budget", 7, -0.5, "inf for any"),
        ("gang", 9, 4, "adjacent"),
        ("gang", 9, 30, "one before it"),
        ("gang", 1, 0, "arrive at one time"),
        ("parents", 0, 1, "among their children"),
        ("children", 0, 60, "one of the 60 tasks"),
    ],
)
def test_tasks_that_mean_nothing_are_refused(column: str, row: int, value: float, said: str) -> None:
    world = mixed_world(seed=2, tasks=60)
    tasks = world.tasks._replace(gpus=np.ones(60, np.int64), gpu_milli=np.full(60, 500))
    changed = getattr(tasks, column).copy()
    changed[row] = value
    with pytest.raises(InvalidInput, match=said):
        check_world(world._replace(tasks=tasks._replace(**{column: changed})))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("capacity", -1, "nodes.capacity of row 0"), ("gpu_model", 2, "2 models"), ("gpu_model", -1, "where there are"),
        ("bandwidth", 0.0, "above 0"), ("price", np.inf, "nodes.price"), ("hazard", np.nan, "nodes.hazard"),
        ("reputation", 1.1, "0 to 1"), ("gpus", 17, "0 to 16"), ("vram", -1, "nodes.vram"), ("cache_bytes", -1, "c"),
    ],
)  # fmt: skip
def test_nodes_that_mean_nothing_are_refused(column: str, value: float, said: str) -> None:
    world = mixed_world(seed=2, tasks=20)
    changed = getattr(world.nodes, column).copy()
    changed[...] = value
    with pytest.raises(InvalidInput, match=said):
        check_world(world._replace(nodes=world.nodes._replace(**{column: changed})))


def changed(world: World, **parts: object) -> World:
    return world._replace(**parts)


def test_columns_of_other_lengths_and_types_are_refused() -> None:
    world = mixed_world(seed=2, tasks=20)
    short = world.tasks._replace(user=world.tasks.user[:5])
    with pytest.raises(InvalidInput, match=r"tasks.user is \(5,\), and must be \(20,\)"):
        check_world(world._replace(tasks=short))
    with pytest.raises(InvalidInput, match="int32"):
        check_world(world._replace(tasks=world.tasks._replace(user=world.tasks.user.astype(np.int32))))
    with pytest.raises(InvalidInput, match="first_child must rise"):
        check_world(world._replace(tasks=world.tasks._replace(first_child=world.tasks.first_child + 1)))


def test_speeds_models_and_changes_that_mean_nothing_are_refused() -> None:
    world = mixed_world(seed=2, tasks=20)
    for wrong, said in (
        ({"speed": np.full((2, 3), -1.0)}, "speed of row 0"),
        ({"speed": np.zeros((0, 3))}, "no kinds"),
        ({"model_bytes": np.full(5, -1)}, "model_bytes of row 0"),
        (
            {"changes": Changes(np.array([2.0, 1.0]), np.zeros(2, np.int64), np.ones(2, np.bool_))},
            "order of time",
        ),
        ({"changes": Changes(np.array([np.nan]), np.zeros(1, np.int64), np.ones(1, np.bool_))}, "changes.at"),
        ({"changes": Changes(np.array([1.0]), np.array([6]), np.ones(1, np.bool_))}, "one of the 6 nodes"),
    ):
        with pytest.raises(InvalidInput, match=said):
            check_world(changed(world, **wrong))


def test_tasks_that_wait_for_each_other_are_refused() -> None:
    world = pool(2, [(0, 1, 1), (0, 1, 1), (0, 1, 1)])
    tasks = world.tasks._replace(
        parents=np.array([1, 1, 0]), first_child=np.array([0, 1, 2, 2]), children=np.array([1, 0])
    )
    with pytest.raises(InvalidInput, match="2 tasks wait for each other"):
        check_world(world._replace(tasks=tasks))
