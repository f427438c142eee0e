"""Runs of a fleet under rules, by hand and against what must hold whatever the rule."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.scheduler.sim.choices import Choice, expected_cost
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.orders import Order, chains
from farlane.scheduler.sim.placing import possible
from farlane.scheduler.sim.state import (
    BLOCKED,
    DONE,
    FINISHED,
    GONE,
    HELD_GPU,
    RESTARTED,
    State,
    new_state,
)
from farlane.scheduler.sim.world import WHOLE_GPU, Changes, World
from farlane.testing.sim_worlds import gpu_nodes, mixed_world, pool

MINUTE = 60.0


def fcfs(world: World, choice: Choice = Choice.FIRST_FIT, *, guard: bool = False) -> State:
    return simulate(world, Order.FCFS, choice, guard=guard)


def test_what_does_not_fit_holds_up_nobody() -> None:
    state = fcfs(pool(4, [(0, 10, 3), (1, 5, 4), (2, 20, 1)]))
    assert state.started.tolist() == [0, 22, 2]


def test_with_a_guard_others_pass_only_if_they_do_not_delay_the_first_that_is_blocked() -> None:
    jobs = [(0.0, 10.0, 3), (1.0, 5.0, 4), (2.0, 20.0, 1), (3.0, 7.0, 1)]
    assert fcfs(pool(4, jobs), guard=True).started.tolist() == [0, 10, 15, 3]


def test_others_may_take_what_a_hold_leaves_over() -> None:
    state = fcfs(pool(5, [(0, 10, 3), (1, 5, 4), (2, 20, 1)]), guard=True)
    assert state.started.tolist() == [0, 10, 2]


def test_a_hold_that_was_used_up_lets_nobody_else_pass() -> None:
    state = fcfs(pool(5, [(0, 10, 3), (1, 5, 4), (2, 20, 1), (3, 20, 1)]), guard=True)
    assert state.started.tolist() == [0, 10, 2, 15]


def test_who_waited_too_long_goes_first_and_has_a_node_held() -> None:
    jobs = [(0.0, 10.0, 3), (1.0, 50.0, 4), *((float(at), 10.0, 1) for at in range(2, 60, 3))]
    never = simulate(pool(4, jobs), Order.SJF, Choice.FIRST_FIT)
    soon = simulate(pool(4, jobs), Order.SJF, Choice.FIRST_FIT, patience_s=20.0)
    assert never.started[1] > 60
    assert soon.started[1] < 40


@pytest.mark.parametrize(
    ("order", "first"),
    [
        (Order.FCFS, 1), (Order.SJF, 2), (Order.SAF, 3), (Order.EDF, 4), (Order.PRIORITY, 5), (Order.SHORTEST, 5),
        (Order.HRRN, 2), (Order.WFP3, 2), (Order.LAS, 6), (Order.SRTF, 2), (Order.DOMINANT_SHARE, 1),
    ],
)  # fmt: skip
def test_each_order_puts_another_one_first(order: Order, first: int) -> None:
    """All wait for the first to end; the last is of a user who had nothing yet."""
    jobs = [(0, 9, 8), (1, 60, 8), (2, 3, 8), (2, 20, 1), (2, 70, 8), (2, 70, 8), (2, 70, 8), (2, 70, 8)]
    world = pool(8, [(float(at), float(run), cores) for at, run, cores in jobs])
    tasks = world.tasks._replace(
        deadline=np.array([np.inf, 900, 900, 900, 80, 900, 900, 900]),
        priority=np.array([0, 0, 0, 0, 0, 50, 0, 0]),
        user=np.array([0, 0, 0, 0, 0, 0, 1, 0]),
    )
    state = simulate(world._replace(tasks=tasks), order, Choice.FIRST_FIT)
    after = np.flatnonzero(state.started == 9.0)
    assert first in after.tolist()
    assert len(after) == 1


def test_dominant_share_gives_room_to_who_holds_least_of_the_network() -> None:
    world = pool(4, [(0, 10, 1), (0, 9, 3), (1, 5, 1), (2, 5, 1), (2, 5, 1)])
    world = world._replace(tasks=world.tasks._replace(user=np.array([0, 1, 0, 0, 1])))
    assert simulate(world, Order.DOMINANT_SHARE, Choice.FIRST_FIT).started.tolist() == [0, 0, 9, 9, 9]
    world = world._replace(tasks=world.tasks._replace(demand=world.tasks.demand * np.array([2, 1, 1])))
    # Of eight cores: user 0 holds two, user 1 six of them; then one each of two.
    wide = world._replace(nodes=world.nodes._replace(capacity=np.array([[8, 0, 0]])))
    assert simulate(wide, Order.DOMINANT_SHARE, Choice.FIRST_FIT).started.tolist() == [0, 0, 9, 9, 9]


def test_srtf_looks_at_all_that_is_left_of_a_pipeline() -> None:
    world = pool(1, [(0, 1, 1), (0, 5, 1), (0, 4, 1), (0, 30, 1)])
    tasks = world.tasks._replace(
        parents=np.array([0, 0, 0, 1]), first_child=np.array([0, 0, 0, 1, 1]), children=np.array([3])
    )
    world = world._replace(tasks=tasks)
    assert chains(world, tasks.estimate_s).tolist() == [1, 5, 34, 30]
    assert simulate(world, Order.SRTF, Choice.FIRST_FIT).started.tolist() == [0, 1, 6, 10]


def priced(prices: list[float], speeds: list[float], tasks: int, *, budget: float = np.inf) -> World:
    """Return nodes of one GPU each, all of other models, and tasks of 10 s at speed 1 that take a whole one."""
    models = list(range(len(prices)))
    world = gpu_nodes([1] * len(prices), [(1, 1, WHOLE_GPU)] * tasks, models=models)
    price = np.zeros((len(prices), 3))
    price[:, 2] = prices
    return world._replace(
        nodes=world.nodes._replace(price=price),
        tasks=world.tasks._replace(
            run_s=np.full(tasks, 10.0), estimate_s=np.full(tasks, 10.0), arrival=np.zeros(tasks),
            budget=np.full(tasks, budget),
        ),
        speed=np.array([[*speeds, 1.0]]),
    )  # fmt: skip


def test_cheapest_weighs_what_a_second_costs_with_how_many_it_takes() -> None:
    world = priced([1.0, 1.5, 4.0], [1.0, 2.0, 4.0], 1)
    assert [expected_cost(world, new_state(world), 0, node) for node in range(3)] == [10.0, 7.5, 10.0]
    assert fcfs(world, Choice.CHEAPEST).node.tolist() == [1]
    assert fcfs(world, Choice.FASTEST).node.tolist() == [2]
    assert fcfs(world, Choice.SOONEST).ends.tolist() == [2.5]


def test_nothing_starts_where_it_should_cost_more_than_its_budget() -> None:
    world = priced([1.0, 1.5, 4.0], [1.0, 2.0, 4.0], 3, budget=8.0)
    state = fcfs(world, Choice.FASTEST)
    assert state.node.tolist() == [1, 1, 1]
    assert state.ends.tolist() == [5, 10, 15]


def test_what_no_budget_pays_for_is_given_up_with_all_that_waits_for_it() -> None:
    world = priced([9.0], [1.0], 2, budget=8.0)
    tasks = world.tasks._replace(
        budget=np.array([8.0, np.inf]), parents=np.array([0, 1]), first_child=np.array([0, 1, 1]),
        children=np.array([1]),
    )  # fmt: skip
    assert fcfs(world._replace(tasks=tasks)).status.tolist() == [GONE, BLOCKED]


def test_a_model_that_came_for_another_makes_a_node_affordable() -> None:
    """The second could not pay for fetching it; the first does."""
    world = priced([1.0], [1.0], 2)
    world = world._replace(
        nodes=world.nodes._replace(bandwidth=np.array([10.0]), cache_bytes=np.array([100])),
        tasks=world.tasks._replace(
            model=np.zeros(2, np.int64), budget=np.array([4.0, np.inf]), gpu_milli=np.array([300, 300])
        ),
        model_bytes=np.array([50]),
    )
    state = fcfs(world)
    assert state.started.tolist() == [15, 0]


def test_locality_goes_where_the_model_is_and_the_product_if_it_is_not_dear() -> None:
    world = priced([1.0, 1.2, 1.3], [1.0, 1.0, 1.0], 1)
    world = world._replace(
        nodes=world.nodes._replace(bandwidth=np.full(3, 10.0), cache_bytes=np.full(3, 100)),
        tasks=world.tasks._replace(model=np.zeros(1, np.int64)),
        model_bytes=np.array([50]),
    )
    for choice, at, expected in (
        (Choice.LOCALITY, 2, 2), (Choice.PRODUCT, 2, 0), (Choice.PRODUCT, 1, 1), (Choice.FIRST_FIT, 2, 0),
    ):  # fmt: skip
        assert placed_with_model_at(world, choice, at) == expected


def placed_with_model_at(world: World, choice: Choice, node: int) -> int:
    """Return where the last task goes when an earlier one has brought the model to one node alone."""
    both = gpu_nodes([1, 1, 1], [(1, 1, WHOLE_GPU)] * 2, models=[0, 1, 2]).tasks
    tasks = both._replace(
        arrival=np.array([0.0, 99.0]), run_s=np.full(2, 10.0), estimate_s=np.full(2, 10.0),
        model=np.zeros(2, np.int64), gpu_models=np.array([1 << node, both.gpu_models[0]]),
    )  # fmt: skip
    return int(fcfs(world._replace(tasks=tasks), choice).node[1])


def test_hazard_counts_where_survival_does() -> None:
    world = priced([1.0, 1.0], [1.0, 0.9], 1)
    world = world._replace(nodes=world.nodes._replace(hazard=np.array([0.1, 0.0])))
    assert fcfs(world, Choice.SOONEST).node.tolist() == [0]
    assert fcfs(world, Choice.SURVIVING).node.tolist() == [1]


def test_spread_and_best_fit_are_opposites_and_tetris_goes_where_there_is_most_of_what_it_needs() -> None:
    world = gpu_nodes([0, 0, 0], [(1, 0, 0)], cores=4)
    world = world._replace(nodes=world.nodes._replace(capacity=np.array([[4, 9, 0], [8, 9, 0], [6, 90, 0]])))
    memory = world._replace(tasks=world.tasks._replace(demand=np.array([[1, 5, 0]])))
    assert fcfs(world, Choice.BEST_FIT).node.tolist() == [0]
    assert fcfs(world, Choice.TETRIS).node.tolist() == [1]
    assert fcfs(memory, Choice.TETRIS).node.tolist() == [2]
    busy = world._replace(tasks=gpu_nodes([0], [(3, 0, 0), (1, 0, 0), (1, 0, 0)]).tasks)
    assert fcfs(busy, Choice.BEST_FIT).node.tolist() == [0, 0, 2]
    assert sorted(fcfs(busy, Choice.SPREAD).node.tolist()) == [0, 1, 2]


def gang(world: World, heads: list[int]) -> World:
    return world._replace(tasks=world.tasks._replace(gang=np.array(heads)))


def test_a_gang_starts_at_one_moment_or_not_at_all_and_ends_with_its_slowest() -> None:
    world = gang(priced([1, 1], [1.0, 2.0], 4), [0, 1, 1, 3])
    state = fcfs(world)
    assert state.started.tolist() == [0, 10, 10, 0]
    assert state.node[1] != state.node[2]
    assert state.ends.tolist() == [10, 20, 20, 5]
    assert state.held[0, HELD_GPU] == 0


def test_a_gang_that_needs_more_than_there_is_takes_nothing_from_others() -> None:
    state = fcfs(gang(priced([1, 1], [1.0, 1.0], 4), [0, 0, 0, 3]))
    assert state.status.tolist() == [GONE, GONE, GONE, DONE]
    assert state.started[3] == 0


def test_nodes_are_held_for_a_gang() -> None:
    world = gang(priced([1, 1], [1.0, 1.0], 5), [0, 1, 1, 3, 4])
    tasks = world.tasks._replace(
        arrival=np.array([0.0, 1.0, 1.0, 2.0, 3.0]), run_s=np.array([10.0, 4.0, 4.0, 20.0, 6.0]),
        estimate_s=np.array([10.0, 4.0, 4.0, 20.0, 6.0]),
    )  # fmt: skip
    assert fcfs(world._replace(tasks=tasks), guard=True).started.tolist() == [0, 10, 10, 14, 3]
    assert fcfs(world._replace(tasks=tasks)).started.tolist() == [0, 22, 22, 2, 10]


def test_a_gang_whose_node_goes_starts_over_as_a_whole() -> None:
    world = gang(priced([1, 1, 1], [1.0, 1.0, 1.0], 2), [0, 0])
    world = world._replace(changes=Changes(np.array([4.0]), np.array([0]), np.array([False])))
    state = fcfs(world)
    assert (state.started.tolist(), state.counts[:, RESTARTED].tolist()) == ([4, 4], [1, 1])
    assert sorted(state.node.tolist()) == [1, 2]


def test_a_round_trip_is_part_of_every_run() -> None:
    world = pool(1, [(0, 10, 1)])
    state = fcfs(world._replace(nodes=world.nodes._replace(rtt_s=np.array([0.5]))))
    assert state.ends.tolist() == [10.5]


def test_patience_must_be_a_time() -> None:
    with pytest.raises(InvalidInput, match="above 0"):
        simulate(pool(1, [(0, 1, 1)]), Order.FCFS, Choice.FIRST_FIT, patience_s=0.0)
    with pytest.raises(InvalidInput, match="above 0"):
        simulate(pool(1, [(0, 1, 1)]), Order.FCFS, Choice.FIRST_FIT, patience_s=float("nan"))


RULES = [(order, Choice(int(order)), bool(int(order) % 2)) for order in Order]
RULES += [(Order.HRRN, choice, True) for choice in Choice]


@pytest.mark.parametrize(("order", "choice", "guard"), RULES)
def test_whatever_the_rule_nothing_is_lost_and_nobody_takes_more_than_there_is(
    order: Order, choice: Choice, guard: bool
) -> None:
    world = mixed_world(seed=int(order) * 20 + int(choice), tasks=70)
    state = simulate(world, order, choice, guard=guard, patience_s=5 * MINUTE)
    assert state.marks[FINISHED] == 70
    assert state.free.tolist() == world.nodes.capacity.tolist()
    assert state.held.tolist() == np.zeros_like(state.held).tolist()
    assert_exact(world, state)


def assert_exact(world: World, state: State) -> None:
    """Assert of the last attempts: possible, in time, one moment a gang, parents first, never more than there is."""
    tasks, nodes = world.tasks, world.nodes
    assert all(possible(world, task, int(node)) for task, node in enumerate(state.node))
    assert (state.started >= tasks.arrival).all()
    assert (state.started == state.started[tasks.gang]).all()
    for parent in range(len(tasks.arrival)):
        for child in tasks.children[tasks.first_child[parent] : tasks.first_child[parent + 1]]:
            assert state.started[child] >= state.ends[parent]
    for at in np.unique(state.started):
        running = (state.started <= at) & (state.ends > at)
        for node in range(len(nodes.gpus)):
            here = running & (state.node == node)
            assert (tasks.demand[here].sum(axis=0) <= nodes.capacity[node]).all()
            assert (tasks.gpus * tasks.gpu_milli)[here].sum() <= nodes.gpus[node] * WHOLE_GPU


def test_shapes_that_fit_nowhere_are_not_forgotten() -> None:
    """The same whether what is known of a shape serves many units or each is a shape of its own."""
    world = mixed_world(seed=5, tasks=120)
    quick = simulate(world, Order.SJF, Choice.BEST_FIT)
    slow = tried_one_by_one(world)
    assert quick.started.tolist() == slow


def tried_one_by_one(world: World) -> list[float]:
    """Return when tasks start if each of them is a shape of its own: a memory demand that only it has."""
    demand = world.tasks.demand + np.arange(len(world.tasks.gpus))[:, None] * np.array([0, 1, 0])
    state = simulate(world._replace(tasks=world.tasks._replace(demand=demand)), Order.SJF, Choice.BEST_FIT)
    return [float(at) for at in state.started]
