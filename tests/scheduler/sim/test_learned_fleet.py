"""The network runs a fleet: its numbers are the network's, a network that is a rule runs as the rule, guards hold."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.learned import features, network
from farlane.scheduler.learned.choices import MAX_WAIT_S
from farlane.scheduler.learned.rule_equal import rule_equal
from farlane.scheduler.ordering import PATIENCE_S
from farlane.scheduler.sim import learned_turns
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import NOTHING_USUAL, simulate
from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.learned_crowd import group_columns, whole
from farlane.scheduler.sim.learned_fleet import run_learned_fleet, simulate_learned
from farlane.scheduler.sim.learned_groups import COUNT, HEAD, SCORE, SIZED, Groups, groups_of
from farlane.scheduler.sim.learned_packing import fleet_of
from farlane.scheduler.sim.learned_pairs import node_columns, pair_columns, pair_scores
from farlane.scheduler.sim.learned_turns import rank_groups
from farlane.scheduler.sim.orders import FCFS, Order, fix_numbers
from farlane.scheduler.sim.placing import fitting_nodes, place
from farlane.scheduler.sim.rounds import next_moment, open_round
from farlane.scheduler.sim.state import DONE, FINISHED, State, new_state
from farlane.scheduler.sim.waiting import MEMBERS_READY, Waiting, new_waiting
from farlane.scheduler.sim.world import MAX_GPUS, NEVER, World
from farlane.testing.sim_worlds import mixed_world, pool

WEIGHTS = network.unflatten(np.random.default_rng(3).normal(0.0, 0.5, network.SIZE))


def waiting_room(world: World) -> tuple[State, Waiting, Groups]:
    """Return a world after six minutes in which two tasks run and nobody else was started."""
    state, waiting = new_state(world), new_waiting(world)
    fix_numbers(world, state, waiting, Order.FCFS)
    groups = groups_of(world, waiting)
    for task, node in ((0, 1), (1, 4)):
        waiting.units[task, MEMBERS_READY] = -1
        place(world, state, task, node, -1)
        groups.runs[groups.marks[0]] = task
        groups.marks[0] += 1
    while state.clock[0] < 360.0:
        next_moment(world, state)
        open_round(world, state, waiting, FCFS, NEVER, False)
    return state, waiting, groups


def test_the_loops_give_the_scores_of_the_network() -> None:
    world = mixed_world(seed=1, tasks=60)
    world = world._replace(
        tasks=world.tasks._replace(run_s=np.full(60, 900.0), estimate_s=np.full(60, 900.0))
    )
    state, waiting, groups = waiting_room(world)
    g = rank_groups(world, state, waiting, groups, WEIGHTS)
    rows = np.flatnonzero(groups.counts[:, COUNT])
    of = group_columns(world, state, waiting, groups, rows, rows)
    x = features.task_features(of)
    weight = (groups.counts[rows, COUNT] * groups.counts[rows, SIZED]).astype(np.float64)
    embedded = network.embeddings(WEIGHTS, x)
    pooled = network.pool(embedded, weight / weight.sum())
    assert np.isfinite(x).all()
    assert np.isfinite(g).all()
    np.testing.assert_allclose(
        groups.numbers[rows, SCORE], network.task_scores(WEIGHTS, x, g, embedded, pooled), rtol=1e-9
    )
    around = pooled @ WEIGHTS.pooled + g @ WEIGHTS.context + WEIGHTS.bias
    assert learned_turns.score_waiting(WEIGHTS, g, around) == pytest.approx(
        network.wait_score(WEIGHTS, g, pooled)
    )
    assert_pairs(world, state, groups, g, int(rows[3]))


def assert_pairs(world: World, state: State, groups: Groups, g: np.ndarray, group: int) -> None:
    """Assert of one group's task that the node head's scores are those of the network on the same columns."""
    usual, task, every = usual_tasks(world.tasks), int(groups.counts[group, HEAD]), np.zeros(6, np.int64)
    nodes = every[: fitting_nodes(world, state, task, every)]
    fleet, room = fleet_of(world, usual), np.zeros(MAX_GPUS, np.int64)
    found, gpus = pair_scores(world, state, usual, fleet, groups, WEIGHTS, g, task, nodes, room)
    none, _ = pair_scores(world, state, NOTHING_USUAL, fleet, groups, WEIGHTS, g, task, nodes, room)
    p = features.pair_features(pair_columns(world, state, fleet, groups, task, nodes, np.zeros(len(nodes))))
    of_all = features.node_features(node_columns(world, state, fleet, groups, np.arange(6)))
    expected = network.node_scores(WEIGHTS, p, of_all[nodes], groups.inner[group], g)
    np.testing.assert_allclose(none, expected, rtol=1e-9)
    assert len(nodes) > 2
    assert np.isfinite(p).all()
    assert (found != none).any()
    assert (gpus < MAX_GPUS).all()


def test_the_whole_is_that_of_training_where_each_group_is_one_task() -> None:
    world = mixed_world(seed=2, tasks=60)
    state, waiting, groups = waiting_room(world)
    rank_groups(world, state, waiting, groups, WEIGHTS)
    rows = np.flatnonzero(groups.counts[:, COUNT])
    of = group_columns(world, state, waiting, groups, rows, rows)
    x, count = features.task_features(of), len(rows)
    found = whole(world, state, of, x, np.ones(count), count)
    churn = 3600.0 * world.nodes.hazard[state.online].mean()
    online = int(state.online.sum())
    expected = features.global_features(of, x, float(found[1]), 1.0, online, float(churn))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_columns_by_hand() -> None:
    """Two like jobs of four processors wait for one of three that has run for 2 of 10 s; a third user's is short."""
    jobs = [(0.0, 10.0, 3), (1.0, 5.0, 4), (1.0, 5.0, 4), (2.0, 20.0, 1)]
    world = pool(4, jobs, estimates=[10.0, 8.0, 8.0, 30.0])
    tasks = world.tasks._replace(
        priority=np.array([0, 50, 50, 0]), deadline=np.array([np.inf, 110.0, 110.0, np.inf])
    )
    world = world._replace(tasks=tasks)
    state, waiting = new_state(world), new_waiting(world)
    fix_numbers(world, state, waiting, Order.FCFS)
    groups = groups_of(world, waiting)
    next_moment(world, state)
    waiting.units[0, MEMBERS_READY] = -1
    place(world, state, 0, 0, -1)
    groups.marks[0] = 1
    for _ in range(2):
        next_moment(world, state)
        open_round(world, state, waiting, FCFS, NEVER, False)
    rank_groups(world, state, waiting, groups, rule_equal())
    rows = np.flatnonzero(groups.counts[:, COUNT])
    of = group_columns(world, state, waiting, groups, rows, rows)
    assert groups.counts[rows, COUNT].tolist() == [2, 1]
    assert of.request_s.tolist() == [8, 30]
    assert of.wait_s.tolist() == [1, 0]
    assert of.share.tolist() == [1, 0.25]
    assert of.free.tolist() == [0.25, 0.25]
    assert of.fits.tolist() == [0, 1]
    assert of.opening_s.tolist() == [8, 0]
    assert of.rank.tolist() == [0, 1]
    assert of.priority.tolist() == [0.5, 0]
    assert of.slack_s.tolist() == [100, np.inf]
    assert of.crowd.tolist() == [3, 3]
    assert of.running.tolist() == [1, 1]
    assert of.elapsed_s == pytest.approx([2, 2])
    assert 10.0**of.usual == pytest.approx([10, 30])
    assert of.runs.tolist() == [0, 0]


def even(seed: int, tasks: int) -> World:
    """Return a mixed world of nodes that are alike but for their GPUs' model, in which every task is alone."""
    world = mixed_world(seed, tasks)
    nodes = world.nodes._replace(
        capacity=np.array([[24000, 64 << 30, 1 << 40]] * 6), gpus=np.full(6, 4),
        gpu_model=np.array([0, 0, 1, 1, 0, 1]),
    )  # fmt: skip
    alone, run_s = np.arange(tasks), np.maximum(world.tasks.run_s, 5.0)
    columns = world.tasks._replace(
        gang=alone, user=alone, run_s=run_s, estimate_s=np.maximum(world.tasks.estimate_s, 8.0),
        priority=np.full(tasks, 50),
    )  # fmt: skip
    return world._replace(nodes=nodes, tasks=columns)


@pytest.mark.parametrize("guard", [False, True])
def test_a_network_that_is_smallest_area_and_best_fit_runs_as_the_rules_do(guard: bool) -> None:
    for seed in range(2):
        world = even(seed, 50)
        rule = simulate(world, Order.SHORTEST, Choice.BEST_FIT, guard=guard)
        ours = simulate_learned(world, rule_equal(), guard=guard)
        assert ours.started.tolist() == rule.started.tolist()
        assert ours.node.tolist() == rule.node.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_weights_nothing_is_lost(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed:
        monkeypatch.setattr(learned_turns, "SCORED", 5 * seed)
    world = mixed_world(seed, tasks=45)
    weights = network.unflatten(np.random.default_rng(seed).normal(0.0, 0.5, network.SIZE))
    state, waiting = new_state(world), new_waiting(world)
    usual = usual_tasks(world.tasks) if seed else NOTHING_USUAL
    started = run_learned_fleet(world, state, waiting, usual, weights, guard=bool(seed))
    assert started >= state.marks[FINISHED] - (world.tasks.gang != np.arange(45)).sum()
    assert (state.status == DONE).all()
    assert state.free.tolist() == world.nodes.capacity.tolist()
    assert (state.started == state.started[world.tasks.gang]).all()


def test_the_same_weights_give_the_same_run() -> None:
    world = mixed_world(4, tasks=25)
    one, other = (simulate_learned(world, WEIGHTS) for _ in range(2))
    assert one.started.tolist() == other.started.tolist()


def waiting_always() -> network.Weights:
    return rule_equal()._replace(wait_bias=np.array([1e6]))


def test_waiting_by_choice_is_bounded_and_ends_where_nothing_runs() -> None:
    """The first starts at once. The second may wait, for at most a minute; what happens next then lets it start."""
    jobs = [(0.0, 200.0, 1), (1.0, 5.0, 1), (20.0, 5.0, 4), (90.0, 1.0, 1)]
    state = simulate_learned(pool(4, jobs), waiting_always(), guard=False)
    assert state.started.tolist() == [0, 90, 201, 200]
    assert state.started[1] - 1.0 >= MAX_WAIT_S
    never = simulate_learned(pool(4, jobs), rule_equal(), guard=False)
    assert never.started.tolist() == [0, 1, 200, 90]


def test_what_has_a_deadline_does_not_wait_by_choice() -> None:
    world = pool(4, [(0.0, 200.0, 1), (1.0, 5.0, 1)])
    due = world._replace(tasks=world.tasks._replace(deadline=np.array([np.inf, 60.0])))
    assert simulate_learned(world, waiting_always()).started.tolist() == [0, 200]
    assert simulate_learned(due, waiting_always()).started.tolist() == [0, 1]


def test_what_has_waited_long_goes_first_whatever_its_score() -> None:
    """Long work of the highest priority never wins by score against short work of its own band, but by age."""
    short = [(float(at), 120.0, 1) for at in range(0, 23_000, 30)]
    world = pool(4, sorted([*short, (1.0, 400.0, 4)]))
    long = int(np.flatnonzero(world.tasks.run_s == 400.0)[0])
    world = world._replace(tasks=world.tasks._replace(priority=np.full(len(world.tasks.arrival), 100)))
    state = simulate_learned(world, rule_equal(), guard=False)
    assert PATIENCE_S <= state.started[long] - 1.0 < PATIENCE_S + 240.0
