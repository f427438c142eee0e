"""Small worlds for tests of the simulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, Changes, World


def pool(
    cores: int, jobs: Sequence[tuple[float, float, int]], estimates: Sequence[float] | None = None
) -> World:
    """Return one node and jobs of (arrival, run time, cores)."""
    arrival, run_s, demand = zip(*jobs, strict=True)
    columns = np.zeros((len(jobs), 3), np.int64)
    columns[:, CPU] = demand
    tasks = plain_tasks(np.array(arrival, float), columns)._replace(
        run_s=np.array(run_s, float), estimate_s=np.array(estimates or run_s, float)
    )
    return World(plain_nodes(np.array([[cores, 0, 0]])), tasks, no_changes(), np.ones((1, 1)), no_rows())


def gpu_nodes(
    gpus: Sequence[int],
    tasks: Sequence[tuple[int, int, int]],
    cores: int = 100,
    models: Sequence[int] | None = None,
) -> World:
    """Return nodes by their numbers of GPUs, and tasks of (cores, GPUs, thousandths of each) that never end."""
    n, t = len(gpus), len(tasks)
    count = np.array(gpus, np.int64)
    model = np.zeros(n, np.int64) if models is None else np.array(models, np.int64)
    nodes = plain_nodes(np.full((n, 3), cores))._replace(gpus=count, gpu_model=np.where(count > 0, model, -1))
    columns = np.zeros((t, 3), np.int64)
    columns[:, CPU] = [task[0] for task in tasks]
    wanted = np.array([task[1] for task in tasks], np.int64)
    share = np.array([task[2] for task in tasks], np.int64)
    packed = plain_tasks(np.arange(t, dtype=float), columns)._replace(
        gpus=wanted,
        gpu_milli=np.where(wanted == 1, share, WHOLE_GPU * (wanted > 0)),
        run_s=np.full(t, np.inf),
    )
    kinds = max(1, int(model.max()) + 1)
    return World(nodes, packed, no_changes(), np.ones((1, kinds + 1)), no_rows())


def mixed_world(seed: int, tasks: int) -> World:
    """Return a small network of everything: nodes of three kinds that come and go, models, gangs, dependencies."""
    random = np.random.default_rng(seed)
    n, t = 6, tasks
    gpus = np.array([0, 1, 2, 4, 4, 8])
    nodes = plain_nodes(np.full((n, 3), 1 << 40))._replace(
        capacity=np.stack([gpus * 4000 + 8000, np.full(n, 64 << 30), np.full(n, 1 << 40)], axis=1),
        gpus=gpus, gpu_model=np.array([-1, 0, 0, 1, 1, 1]), vram=np.where(gpus > 2, 40 << 30, 16 << 30),
        bandwidth=random.uniform(1e7, 1e8, n), cache_bytes=np.full(n, 20 << 30), price=random.uniform(0, 1, (n, 3)),
        rtt_s=random.uniform(0, 0.2, n), hazard=random.uniform(0, 1e-3, n),
    )  # fmt: skip
    gang = np.arange(t)
    for head in range(10, t - 4, 25):
        gang[head : head + 3] = head
    arrival = np.sort(random.uniform(0, 600, t))[gang]
    wanted = random.choice([0, 1, 1, 1, 2], t)[gang]
    demand = np.stack(
        [random.choice([1000, 4000], t), random.choice([1 << 30, 8 << 30], t), np.zeros(t)], axis=1
    )
    columns = plain_tasks(arrival, demand.astype(np.int64))._replace(
        gpus=wanted, gpu_milli=np.where(wanted == 1, random.choice([250, 500, 1000], t), WHOLE_GPU * (wanted > 1)),
        kind=random.integers(0, 2, t)[gang], run_s=random.lognormal(3.5, 1.0, t), user=random.integers(0, 4, t),
        model=random.integers(-1, 5, t), priority=random.integers(0, 60, t),
        deadline=arrival + random.uniform(60, 900, t), gang=gang,
    )  # fmt: skip
    columns = columns._replace(estimate_s=columns.run_s * random.uniform(0.8, 3.0, t))
    pairs = [(at, at + 7) for at in range(0, t - 7, 9) if gang[at] == at and gang[at + 7] == at + 7]
    parents, first = np.zeros(t, np.int64), np.zeros(t + 1, np.int64)
    for parent, child in pairs:
        parents[child] += 1
        first[parent + 1 :] += 1
    columns = columns._replace(
        parents=parents, first_child=first, children=np.array([child for _, child in pairs])
    )
    at = np.sort(random.uniform(0, 900, 6))
    changes = Changes(at, np.array([1, 1, 3, 3, 4, 4]), np.array([False, True] * 3))
    speed = np.array([[1.0, 2.0, 0.2], [1.0, 4.0, 0.5]])
    return World(nodes, columns, changes, speed, np.full(5, 6 << 30))
