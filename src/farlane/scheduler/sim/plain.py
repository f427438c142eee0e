"""Plain worlds: columns of nodes and tasks that are filled with what asks for nothing and changes nothing."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.world import ANY_GPU, Bools, Changes, Floats, Ints, Nodes, Tasks


def plain_nodes(capacity: Ints) -> Nodes:
    """Return nodes of some capacity, (n, 3): no GPUs, free, near, steady; models come at once and do not stay."""
    n = len(capacity)
    nothing, zeros = np.zeros(n, np.int64), np.zeros(n)
    return Nodes(
        capacity=capacity.astype(np.int64), gpus=nothing, gpu_model=nothing - 1, vram=nothing,
        bandwidth=np.full(n, np.inf), cache_bytes=nothing, price=np.zeros((n, 3)), rtt_s=zeros, hazard=zeros,
        reputation=np.ones(n),
    )  # fmt: skip


def plain_tasks(arrival: Floats, demand: Ints) -> Tasks:
    """Return tasks of some demand, (t, 3), that arrive in order, end at once, and ask for nothing else."""
    t = len(arrival)
    nothing, zeros = np.zeros(t, np.int64), np.zeros(t)
    return Tasks(
        arrival=arrival, demand=demand, gpus=nothing, gpu_milli=nothing, gpu_models=np.full(t, ANY_GPU), vram=nothing,
        run_s=zeros, kind=nothing, estimate_s=zeros, user=nothing, model=nothing - 1, parents=nothing,
        first_child=np.zeros(t + 1, np.int64), children=no_rows(), priority=nothing, deadline=np.full(t, np.inf),
        budget=np.full(t, np.inf), gang=np.arange(t),
    )  # fmt: skip


def no_changes() -> Changes:
    """Return that no node comes or goes."""
    at: Floats = np.zeros(0)
    online: Bools = np.zeros(0, np.bool_)
    return Changes(at, no_rows(), online)


def no_rows() -> Ints:
    """Return an empty column."""
    return np.zeros(0, np.int64)
