"""Toy instances whose optimum is known exactly, and how far each policy is from it on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farlane.lab.evaluation.optimum import Cost, best_packing, best_schedule
from farlane.lab.evaluation.rivals import Kind, LearnedPolicy, rules_of
from farlane.lab.evaluation.runs import packing_state, queue_state
from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.scores import bounded_slowdowns, gpu_allocation
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, World

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Gap:
    """How far a policy is from the optimum: mean and worst ratio, at least 1, and on how many instances it is there."""

    policy: str
    mean: float
    worst: float
    optimal: int


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps of queues, in average bounded slowdown without backfill, and of packing, in GPUs given away; best first."""

    instances: int
    queues: tuple[Gap, ...]
    packings: tuple[Gap, ...]


def toy_queue(seed: int, jobs: int = 7, cores: int = 8) -> World:
    """Return jobs that come faster than the pool can run them: run times 1 s to 1,000 s, up to all of it wide."""
    random = np.random.default_rng(seed)
    demand = np.zeros((jobs, 3), np.int64)
    demand[:, CPU] = random.integers(1, cores + 1, jobs)
    run = np.round(10.0 ** random.uniform(0.0, 3.0, jobs))
    arrival = np.sort(np.round(random.uniform(0.0, 0.3 * run.sum(), jobs)))
    tasks = plain_tasks(arrival, demand)._replace(run_s=run, estimate_s=run, user=np.arange(jobs))
    return World(plain_nodes(np.array([[cores, 0, 0]])), tasks, no_changes(), np.ones((1, 1)), no_rows())


def toy_packing(seed: int, tasks: int = 9) -> World:
    """Return three nodes of 1, 2 and 2 GPUs and tasks that ask for more than there is."""
    random = np.random.default_rng(seed)
    gpus = np.array([1, 2, 2], np.int64)
    nodes = plain_nodes(np.tile([12, 0, 0], (3, 1)))._replace(gpus=gpus, gpu_model=np.zeros(3, np.int64))
    wanted = random.choice([1, 1, 1, 2], tasks).astype(np.int64)
    share = random.integers(2, 11, tasks) * 100
    demand = np.zeros((tasks, 3), np.int64)
    demand[:, CPU] = random.integers(1, 7, tasks)
    packed = plain_tasks(np.arange(tasks, dtype=np.float64), demand)._replace(
        gpus=wanted, gpu_milli=np.where(wanted == 1, share, WHOLE_GPU), run_s=np.full(tasks, np.inf)
    )
    return World(nodes, packed, no_changes(), np.ones((1, 2)), no_rows())


def gaps(ours: LearnedPolicy | None = None, *, instances: int = 50, jobs: int = 7) -> Gaps:
    """Return how far every rule, and a network where one is given, is from the optimum of toy instances."""
    learned = () if ours is None else (ours,)
    queues: dict[str, list[float]] = {}
    packings: dict[str, list[float]] = {}
    for seed in range(instances):
        world = toy_queue(seed, jobs)
        best = best_schedule(world, Cost.SLOWDOWN).cost
        for policy in (*learned, *rules_of(Kind.QUEUE)):
            cost = float(bounded_slowdowns(world, queue_state(world, policy, False)).mean())
            queues.setdefault(policy.name, []).append(cost / best)
        packing = toy_packing(seed)
        most, usual = best_packing(packing), usual_tasks(packing.tasks)
        total = int(packing.nodes.gpus.sum()) * WHOLE_GPU
        for policy in (*learned, *rules_of(Kind.PACKING)):
            given = gpu_allocation(packing, packing_state(packing, policy, usual, seed)) * total
            packings.setdefault(policy.name, []).append(most / max(given, 1.0))
    return Gaps(instances, _sorted(queues), _sorted(packings))


def _sorted(ratios: dict[str, list[float]]) -> tuple[Gap, ...]:
    found = [_gap(name, values) for name, values in ratios.items()]
    return tuple(sorted(found, key=lambda gap: gap.mean))


def _gap(name: str, values: Sequence[float]) -> Gap:
    return Gap(name, float(np.mean(values)), max(values), sum(value <= 1.0 + _SAME for value in values))
