"""Small worlds for tests of the simulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, World


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
