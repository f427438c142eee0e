"""Optima of toy instances are what trying everything finds, and no rule beats them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.evaluation.optimum import Cost, best_packing, best_schedule
from farlane.lab.evaluation.toys import gaps, toy_packing, toy_queue
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import bounded_slowdowns
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import World
from farlane.testing.sim_worlds import gpu_nodes, pool


def cheapest_by_starts(world: World, cost: Cost) -> float:
    """Try every start on a grid of whole seconds: run times and arrivals are whole, so that one of them is best."""
    tasks, cores = world.tasks, int(world.nodes.capacity[0, 0])
    run, arrival, width = tasks.run_s.astype(int), tasks.arrival.astype(int), tasks.demand[:, 0]
    last = int(arrival.max() + run.sum())
    best = np.inf
    for starts in itertools.product(
        *(range(at, last - length + 1) for at, length in zip(arrival, run, strict=True))
    ):
        used = np.zeros(last, int)
        for start, length, cores_of in zip(starts, run, width, strict=True):
            used[start : start + length] += cores_of
        if used.max() > cores:
            continue
        ends = np.array(starts) + run - arrival
        costs = ends if cost is Cost.COMPLETION else np.maximum(1.0, ends / np.maximum(run, 10.0))
        best = min(best, float(costs.mean()))
    return best


@pytest.mark.parametrize("cost", list(Cost))
@pytest.mark.parametrize("seed", range(5))
def test_an_optimal_schedule_is_what_trying_every_start_finds(seed: int, cost: Cost) -> None:
    random = np.random.default_rng(seed)
    arrivals = sorted(random.integers(0, 3, 3).tolist())
    jobs = [(float(at), float(random.integers(1, 5)), int(random.integers(1, 4))) for at in arrivals]
    world = pool(3, jobs)
    assert best_schedule(world, cost).cost == pytest.approx(cheapest_by_starts(world, cost))


def test_no_rule_beats_the_optimum_and_it_can_be_run() -> None:
    for seed in range(4):
        world = toy_queue(seed, jobs=6)
        best = best_schedule(world, Cost.SLOWDOWN)
        assert (best.starts >= world.tasks.arrival).all()
        for rule in (Rule.FCFS, Rule.SJF, Rule.F1, Rule.WFP3, Rule.SAF):
            for backfill in (False, True):
                state = new_state(world)
                run_queue(world, state, int(rule), backfill)
                assert bounded_slowdowns(world, state).mean() >= best.cost - 1e-9


def most_by_everything(world: World) -> int:
    """Try every node and GPU, or none, for every task."""
    tasks, nodes = world.tasks, world.nodes
    places = [(node, gpu) for node, count in enumerate(nodes.gpus.tolist()) for gpu in range(count)]
    best = 0
    for choice in itertools.product([None, *places], repeat=len(tasks.gpus)):
        free = dict.fromkeys(places, 1000)
        cores = nodes.capacity[:, 0].copy()
        given = 0
        for task, place in enumerate(choice):
            if place is None:
                continue
            free[place] -= int(tasks.gpu_milli[task])
            cores[place[0]] -= tasks.demand[task, 0]
            given += int(tasks.gpu_milli[task])
        if min(free.values()) >= 0 and cores.min() >= 0:
            best = max(best, given)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_an_optimal_packing_is_what_trying_everything_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    tasks = [(int(random.integers(1, 5)), 1, int(random.integers(3, 10)) * 100) for _ in range(6)]
    world = gpu_nodes([1, 2], tasks, cores=8)
    assert best_packing(world) == most_by_everything(world)


def test_whole_gpus_and_models_count() -> None:
    world = gpu_nodes([2, 2], [(1, 2, 1000), (1, 2, 1000), (1, 1, 500)], models=[0, 1])
    assert best_packing(world) == 4000
    only = world._replace(tasks=world.tasks._replace(gpu_models=np.array([1, 1, 3])))
    assert best_packing(only) == 2500
    assert best_packing(gpu_nodes([0], [(1, 1, 500), (1, 0, 0)])) == 0


def test_large_instances_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 8"):
        best_schedule(toy_queue(0, jobs=9), Cost.COMPLETION)
    with pytest.raises(InvalidInput, match="cannot run"):
        best_schedule(pool(2, [(0.0, 1.0, 3)]), Cost.COMPLETION)
    with pytest.raises(InvalidInput, match="at most"):
        best_packing(gpu_nodes([1], [(1, 1, 10)] * 11))


def test_gaps_tell_how_far_policies_are_from_the_optimum() -> None:
    found = gaps(instances=3, jobs=5)
    by_name = {each.policy: each for each in found.queues}
    assert all(each.mean >= 1.0 - 1e-9 for each in found.queues + found.packings)
    assert by_name["SJF"].mean <= by_name["FCFS"].mean
    assert all(0 <= each.optimal <= 3 for each in found.queues)
    world = toy_packing(1)
    assert 0 < best_packing(world) <= int(world.nodes.gpus.sum()) * 1000
