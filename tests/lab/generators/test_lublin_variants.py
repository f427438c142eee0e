"""Queues by parameters of chance: each within its range, with as much work as was drawn, and equal for equal seeds."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.lab.generators.lublin_variants import (
    OFFERED,
    RANGES,
    varied_lublin_world,
    varied_settings,
    with_load,
)
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.world import CPU, World


def offered(world: World) -> float:
    tasks = world.tasks
    work = (tasks.run_s * tasks.demand[:, CPU]).sum()
    return float(work / (world.nodes.capacity[0, CPU] * (tasks.arrival[-1] - tasks.arrival[0])))


def test_parameters_lie_within_their_ranges_and_differ() -> None:
    drawn = [varied_settings(seed) for seed in range(50)]
    for name, (low, high) in RANGES.items():
        values = np.array([getattr(settings, name) for settings in drawn])
        assert (low <= values).all()
        assert (values <= high).all()
        assert values.std() > 0.1 * (high - low)
    assert len({settings.processors for settings in drawn}) == 4
    assert {settings.requests for settings in drawn} == {True, False}


def test_as_much_work_arrives_as_was_drawn() -> None:
    worlds = [varied_lublin_world(200, seed) for seed in range(10, 30)]
    loads = np.array([offered(world) for world in worlds])
    assert (OFFERED[0] - 1e-9 <= loads).all()
    assert (loads <= OFFERED[1] + 1e-9).all()
    assert loads.std() > 0.1
    for world in worlds:
        check_world(world)


def test_equal_seeds_give_equal_worlds() -> None:
    one, other = varied_lublin_world(100, 7), varied_lublin_world(100, 7)
    np.testing.assert_array_equal(one.tasks.arrival, other.tasks.arrival)
    np.testing.assert_array_equal(one.tasks.run_s, other.tasks.run_s)


def test_a_single_job_keeps_its_arrival() -> None:
    world = varied_lublin_world(1, 3)
    assert with_load(world, 2.0) is world
    with pytest.raises(Exception, match="no queue"):
        varied_lublin_world(0, 3)
