"""What happens by itself: arrivals, ends, what waits for them, nodes that come and go, models that are fetched."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.placing import TIGHTEST, fits, load_s, place, unqueue
from farlane.scheduler.sim.queueing import first_fit, run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.state import (
    ACTIVE,
    BLOCKED,
    FINISHED,
    HELD_GPU,
    LOADED,
    QUEUED,
    QUEUED_S,
    READY,
    RESTARTED,
    RESTARTS,
    TOUCHED,
    WASTED_S,
    State,
    new_state,
)
from farlane.scheduler.sim.world import Changes, World
from farlane.testing.sim_worlds import gpu_nodes, pool


def run(world: World) -> State:
    state = new_state(world)
    run_queue(world, state, int(Rule.FCFS), False)
    return state


def after(world: World, parents: dict[int, list[int]]) -> World:
    """Return a world in which tasks wait for others."""
    count = len(world.tasks.arrival)
    waits = np.array([len(parents.get(task, [])) for task in range(count)], np.int64)
    children = [[child for child, known in parents.items() if task in known] for task in range(count)]
    first = np.concatenate([[0], np.cumsum([len(each) for each in children])]).astype(np.int64)
    flat = np.array([child for each in children for child in each], np.int64)
    return world._replace(tasks=world.tasks._replace(parents=waits, first_child=first, children=flat))


def test_a_task_waits_for_all_that_it_needs() -> None:
    world = after(pool(4, [(0, 5, 1), (0, 9, 1), (1, 1, 1)]), {2: [0, 1]})
    state = new_state(world)
    for _ in range(3):
        advance(world, state)
    assert state.status.tolist() == [READY, READY, BLOCKED]
    assert run(world).started.tolist() == [0, 0, 9]


def test_what_is_needed_may_be_done_before_it_is_asked_for() -> None:
    assert run(after(pool(4, [(0, 1, 1), (5, 1, 1)]), {1: [0]})).started.tolist() == [0, 5]


def test_what_ran_on_a_node_that_goes_starts_over_where_there_is_room() -> None:
    world = gpu_nodes([0, 0], [(1, 0, 0), (1, 0, 0)])
    world = world._replace(
        tasks=world.tasks._replace(arrival=np.zeros(2), run_s=np.array([10.0, 20.0])),
        changes=Changes(np.array([4.0, 30.0]), np.array([0, 0]), np.array([False, True])),
    )
    state = run(world)
    assert state.marks[RESTARTS] == 2
    assert state.started.tolist() == [4, 4]
    assert state.node.tolist() == [1, 1]
    assert state.online.tolist() == [True, True]
    assert state.free.tolist() == world.nodes.capacity.tolist()


def test_on_a_node_that_goes_others_are_left_alone() -> None:
    world = gpu_nodes([0, 0], [(60, 0, 0), (60, 0, 0)])
    world = world._replace(
        tasks=world.tasks._replace(arrival=np.zeros(2), run_s=np.array([10.0, 8.0])),
        changes=Changes(np.array([4.0, 5.0]), np.array([1, 1]), np.array([False, True])),
    )
    state = run(world)
    assert (state.ends.tolist(), state.marks[FINISHED]) == ([10, 13], 2)


def models(world: World, wanted: list[int], sizes: list[int], cache: int) -> World:
    """Return a world whose tasks need models, which come at 10 bytes a second."""
    n = len(world.nodes.gpus)
    return world._replace(
        tasks=world.tasks._replace(model=np.array(wanted, np.int64)),
        nodes=world.nodes._replace(bandwidth=np.full(n, 10.0), cache_bytes=np.full(n, cache, np.int64)),
        model_bytes=np.array(sizes, np.int64),
    )


def test_a_model_is_fetched_once_and_kept() -> None:
    world = models(pool(1, [(0, 1, 1), (0, 1, 1), (0, 1, 1)]), [0, 0, -1], [50], cache=100)
    assert run(world).ends.tolist() == [6, 7, 8]


def test_the_model_that_was_not_used_for_longest_goes_first() -> None:
    world = models(pool(1, [(0, 1, 1)] * 5), [0, 1, 0, 2, 0], [40, 40, 40], cache=80)
    state = run(world)
    assert state.ends.tolist() == [5, 10, 11, 16, 17]  # model 1 made room for model 2
    assert load_s(world, state, 1, 0) == 4.0


def test_models_come_one_after_the_other_and_who_needs_one_that_is_on_its_way_waits_for_it() -> None:
    state = run(models(pool(9, [(0, 1, 1), (0, 1, 1), (2, 1, 1)]), [0, 1, 1], [50, 30], cache=100))
    assert state.ends.tolist() == [6, 9, 9]
    assert state.counts[:, LOADED].tolist() == [50, 30, 0]


def test_what_a_node_has_on_its_disk_is_there_when_it_comes_back_but_not_what_was_on_its_way() -> None:
    world = models(pool(9, [(0, 1, 1), (6, 1, 1), (30, 1, 1), (30, 1, 1)]), [0, 1, 0, 1], [50, 30], cache=100)
    world = world._replace(changes=Changes(np.array([8.0, 20.0]), np.array([0, 0]), np.array([False, True])))
    state = new_state(world)
    while advance(world, state):
        while state.marks[QUEUED] and state.online[0]:
            place(world, state, unqueue(state, 0), 0, TIGHTEST)
    assert state.ends.tolist() == [6, 24, 31, 31]
    assert state.counts[:, LOADED].tolist() == [50, 60, 0, 0]
    assert (state.counts[1, RESTARTED], state.times[1, WASTED_S], state.times[1, QUEUED_S]) == (1, 2, 12)


def test_a_gang_loses_all_its_members_with_one() -> None:
    world = gpu_nodes([1, 1], [(1, 1, 1000), (1, 1, 1000)])
    world = world._replace(
        tasks=world.tasks._replace(
            arrival=np.zeros(2), run_s=np.array([10.0, 20.0]), gang=np.zeros(2, np.int64)
        ),
        changes=Changes(np.array([4.0, 5.0]), np.array([0, 0]), np.array([False, True])),
    )
    state = run(world)
    assert state.counts[:, RESTARTED].tolist() == [1, 1]
    assert state.times[:, WASTED_S].tolist() == [4, 4]
    assert state.served.tolist() == [4 + 4 + 10 + 20]  # one of one GPU of the largest node
    assert state.held[0, HELD_GPU] == 0
    assert state.marks[TOUCHED] == 2


def test_a_model_larger_than_the_cache_is_fetched_and_kept_alone() -> None:
    world = models(pool(1, [(0, 1, 1)] * 2), [0, 0], [200], cache=80)
    assert run(world).ends.tolist() == [21, 22]


def test_what_a_node_lacks_keeps_a_task_from_it() -> None:
    world = gpu_nodes([0, 2], [(1, 2, 0), (1, 3, 0), (200, 0, 0)])
    state = new_state(world)
    assert [first_fit(world, state, task) for task in range(3)] == [1, -1, -1]
    state.online[1] = False
    assert not fits(world, state, 0, 1)


def test_a_task_that_takes_several_gpus_gets_them_whole_and_gives_them_back() -> None:
    world = gpu_nodes([4], [(1, 3, 0)])
    world = world._replace(tasks=world.tasks._replace(run_s=np.ones(1)))
    state = new_state(world)
    advance(world, state)
    place(world, state, unqueue(state, 0), 0, TIGHTEST)
    assert (state.status[0], state.gpu_free[0, :4].tolist()) == (ACTIVE, [0, 0, 0, 1000])
    while advance(world, state):
        pass
    assert state.gpu_free[0, :4].tolist() == [1000] * 4
    assert state.marks[QUEUED] == 0
