"""Trainings as Gavel's experiments draw them: kinds by how many GPUs they take, durations over three decades.

Source: Narayanan et al., Heterogeneity-aware cluster scheduling policies for deep learning workloads, OSDI 2020,
section 7.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.gpu_worlds import gavel_world
from farlane.lab.traces.gavel import GavelTable
from farlane.scheduler.sim.world import World

GPUS_WANTED = {1: 0.70, 2: 0.10, 4: 0.15, 8: 0.05}
"""Share of jobs by GPUs, as on Philly; those of which the table has no kind are left out."""
SHORT = 0.8
"""Share of jobs that take 10^1.5 to 10^3 minutes on the reference; the others take 10^3 to 10^4."""


def gavel_jobs(
    table: GavelTable,
    nodes: Sequence[tuple[str, int, int]],
    reference: str,
    *,
    jobs: int,
    an_hour: float,
    seed: int,
) -> World:
    """Return trainings that arrive at random on a cluster of several models of GPUs.

    Args:
        table: the throughputs.
        nodes: how many of each model, and with how many GPUs each.
        reference: the model on which durations are drawn, such as `v100`.
        jobs: how many there are.
        an_hour: how many arrive in an hour, on average (a Poisson process).
        seed: equal ones give equal worlds.

    Raises:
        InvalidInput: there are no jobs, none arrives, or the table has no kind that runs on the reference and that some
            node could hold.
    """
    if jobs < 1 or not an_hour > 0.0:
        raise InvalidInput(f"{jobs} jobs, {an_hour} an hour, make no work: both must be above 0")
    random = np.random.default_rng(seed)
    runs = (
        table.alone[:, table.models.index(reference)] > 0.0
        if reference in table.models
        else np.zeros(0, bool)
    )
    largest = max((size for _, count, size in nodes if count), default=0)
    by_size = {
        gpus: [row for row, kind in enumerate(table.kinds) if kind.gpus == gpus and runs.size and runs[row]]
        for gpus in GPUS_WANTED
        if gpus <= largest
    }
    sizes = [gpus for gpus, rows in by_size.items() if rows]
    if not sizes:
        raise InvalidInput(f"no kind of training runs on '{reference}' and fits on a node of {largest} GPUs")
    weight = np.array([GPUS_WANTED[gpus] for gpus in sizes])
    chosen = random.choice(sizes, jobs, p=weight / weight.sum())
    kind = np.array([random.choice(by_size[int(gpus)]) for gpus in chosen], np.int64)
    exponent = np.where(
        random.random(jobs) < SHORT, random.uniform(1.5, 3.0, jobs), random.uniform(3.0, 4.0, jobs)
    )
    arrival = np.cumsum(random.exponential(3600.0 / an_hour, jobs))
    return gavel_world(table, nodes, reference, kind, arrival, 60.0 * 10.0**exponent)
