"""Packing: where each rule puts tasks, and what a task takes and gives back."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.packing import Packing, run_packing
from farlane.scheduler.sim.state import DROPPED, State, new_state
from farlane.scheduler.sim.world import World
from farlane.testing.sim_worlds import gpu_nodes

BY_ROW = np.zeros((1, 1))


def pack(world: World, rule: Packing) -> State:
    state = new_state(world)
    run_packing(world, state, usual_tasks(world.tasks), int(rule), BY_ROW)
    return state


def test_shares_go_to_the_tightest_gpu_that_has_room() -> None:
    state = pack(gpu_nodes([2], [(1, 1, 600), (1, 1, 700), (1, 1, 300)]), Packing.FIRST_FIT)
    assert state.gpu_free[0, :2].tolist() == [400, 0]


def test_whole_gpus_are_never_made_of_shares() -> None:
    state = pack(gpu_nodes([2], [(1, 1, 500), (1, 1, 600), (1, 1, 1000)]), Packing.FIRST_FIT)
    assert state.marks[DROPPED] == 1


def test_best_fit_fills_the_node_with_the_least_left() -> None:
    state = pack(gpu_nodes([8, 2, 4], [(1, 1, 1000), (1, 1, 1000)]), Packing.BEST_FIT)
    assert state.node.tolist() == [1, 1]


def test_fgd_keeps_whole_gpus_for_those_who_need_them() -> None:
    """One GPU is half taken: a share goes there, though the other node comes first."""
    world = gpu_nodes([1, 1], [(1, 1, 500), (1, 1, 1000), (1, 1, 500)])
    state = pack(world, Packing.FGD)
    assert state.marks[DROPPED] == 0
    assert state.node[0] == state.node[2]


def test_a_task_goes_only_to_models_that_it_can_use() -> None:
    world = gpu_nodes([1, 1], [(1, 1, 1000)], models=[0, 1])
    world = world._replace(tasks=world.tasks._replace(gpu_models=np.array([0b10])))
    assert pack(world, Packing.FIRST_FIT).node.tolist() == [1]


@pytest.mark.parametrize("rule", list(Packing))
def test_no_rule_packs_more_than_there_is(rule: Packing) -> None:
    random = np.random.default_rng(3)
    tasks = [
        (int(random.integers(1, 20)), int(g), int(random.integers(1, 11)) * 100)
        for g in random.integers(0, 4, 80)
    ]
    state = pack(gpu_nodes([0, 1, 2, 4, 8], tasks), rule)
    assert state.free.min() >= 0
    assert (state.gpu_free >= 0).all()
    assert (state.gpu_free <= 1000).all()


def test_room_that_comes_back_is_seen() -> None:
    """Tasks that end give their GPUs back: fragments that were known before are forgotten."""
    world = gpu_nodes([1, 1], [(1, 1, 500), (1, 1, 500), (1, 1, 1000), (1, 1, 500), (1, 1, 1000)])
    tasks = world.tasks._replace(
        run_s=np.array([2.5, 2.5, np.inf, np.inf, np.inf]), arrival=np.arange(5.0) * 1.0
    )
    state = pack(world._replace(tasks=tasks), Packing.FGD)
    assert state.node.tolist() == [0, 0, 1, 0, -1]
    assert state.marks[DROPPED] == 1
