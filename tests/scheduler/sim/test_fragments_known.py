"""What is known of fragments is what reckoning afresh gives, whatever happened since."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.fragments import added_fragments, usual_tasks
from farlane.scheduler.sim.fragments_known import forget_node, learn_fragments, nothing_known
from farlane.scheduler.sim.placing import fits, fitting_nodes, place
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import MAX_GPUS, World
from farlane.testing.sim_worlds import gpu_nodes


def mixed_world() -> World:
    random = np.random.default_rng(11)
    tasks = [
        (int(random.integers(1, 30)), int(g), int(random.integers(1, 5)) * 200)
        for g in random.integers(0, 4, 60)
    ]
    world = gpu_nodes([0, 1, 2, 4, 8, 8], tasks, models=[0, 0, 1, 1, 0, 2])
    masks = random.integers(1, 8, len(tasks))
    return world._replace(tasks=world.tasks._replace(gpu_models=masks))


def test_nodes_that_fit_are_those_that_fit_one_by_one() -> None:
    world = mixed_world()
    state = new_state(world)
    state.online[3] = False
    rows = np.zeros(6, np.int64)
    for task in range(len(world.tasks.arrival)):
        expected = [node for node in range(6) if fits(world, state, task, node)]
        count = fitting_nodes(world, state, task, rows)
        assert rows[:count].tolist() == expected
        if expected:
            place(world, state, task, expected[task % len(expected)], -1)


def test_what_is_known_is_what_reckoning_afresh_gives() -> None:
    world = mixed_world()
    state, usual, known = new_state(world), usual_tasks(world.tasks), nothing_known(world)
    rows, room, placed = np.zeros(6, np.int64), np.zeros(MAX_GPUS, np.int64), 0
    for task in range(len(world.tasks.arrival)):
        count = fitting_nodes(world, state, task, rows)
        row = learn_fragments(world, state, usual, known, task, rows, count)
        for node in rows[:count].tolist():
            afresh = added_fragments(world, state, usual, task, node, room)
            assert afresh == (known.added[row, node], known.gpu[row, node])
        if count:
            best = int(rows[task % count])
            place(world, state, task, best, int(known.gpu[row, best]))
            forget_node(known, best)
            placed += 1
    assert placed > 20
    assert known.task_class.max() + 1 < len(world.tasks.arrival)
