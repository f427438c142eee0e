"""Worlds of clusters with GPUs: Philly's jobs on a pool or on machines, requests with checkpoints, Gavel's kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.gavel import GavelTable
from farlane.lab.traces.genai import GenaiTrace
from farlane.lab.traces.philly import MACHINES, PhillyTrace
from farlane.lab.traces.spot_nodes import SpotNodes
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import CPU, MAX_GPUS, WHOLE_GPU, Floats, Ints, Nodes, Tasks, World

CORE = 1000
"""Of milli-cores, as nodes count them."""


def philly_pool(trace: PhillyTrace, first: int, count: int, gpus: int) -> World:
    """Return some of Philly's jobs on one pool of GPUs: a node whose cores stand for them, as with logs of processors.

    A user's run time is taken to be what it was: Philly asked for none.
    """
    jobs = slice(first, first + count)
    demand = np.zeros((len(trace.submit_s[jobs]), 3), np.int64)
    demand[:, CPU] = np.minimum(trace.gpus[jobs], gpus)
    tasks = plain_tasks(trace.submit_s[jobs], demand)._replace(
        run_s=trace.run_s[jobs], estimate_s=trace.run_s[jobs]
    )
    return World(plain_nodes(np.array([[gpus, 0, 0]])), tasks, no_changes(), np.ones((1, 1)), no_rows())


def philly_cluster(
    trace: PhillyTrace, first: int, count: int, machines: Sequence[tuple[int, int]] = MACHINES
) -> World:
    """Return some of Philly's jobs on machines with GPUs; a job larger than a machine is a gang over several.

    Args:
        trace: the jobs.
        first: of the jobs.
        count: how many of them.
        machines: how many have how many GPUs.

    Raises:
        InvalidInput: there is no machine, or one has more GPUs than is simulated.
    """
    sizes = np.repeat([size for _, size in machines], [many for many, _ in machines]).astype(np.int64)
    if not len(sizes) or not 0 < sizes.max() <= MAX_GPUS:
        raise InvalidInput(f"machines have {list(machines)}; expected some with 1 to {MAX_GPUS} GPUs")
    jobs = slice(first, first + count)
    tasks = _gangs(trace.submit_s[jobs], trace.run_s[jobs], trace.gpus[jobs], int(sizes.max()))
    return World(gpu_nodes(sizes), tasks, no_changes(), np.ones((1, 2)), no_rows())


def gpu_nodes(gpus: Ints, model: Ints | None = None, cores: Ints | None = None) -> Nodes:
    """Return nodes by their GPUs, (n,), one model unless told, with as many cores (CORE each), 4 for each GPU."""
    capacity = np.zeros((len(gpus), 3), np.int64)
    capacity[:, CPU] = CORE * np.maximum(1, 4 * gpus if cores is None else cores)
    model = np.zeros_like(gpus) if model is None else model
    return plain_nodes(capacity)._replace(gpus=gpus, gpu_model=np.where(gpus > 0, model, -1))


def spot_cluster(nodes: SpotNodes) -> Nodes:
    """Return the spot cluster's nodes with their cores; neither memory nor prices of it are published."""
    return gpu_nodes(nodes.gpus, nodes.model, nodes.cores)


def genai_world(
    trace: GenaiTrace, first: int, count: int, nodes: Nodes, checkpoint_bytes: int = 7 * 10**9
) -> World:
    """Return some requests for images, one GPU each, whose checkpoints nodes fetch, and keep while there is room.

    Args:
        trace: the requests.
        first: of them.
        count: how many.
        nodes: with bandwidth and room for models, see `with_caches`.
        checkpoint_bytes: of each checkpoint; the trace does not tell them. One of SDXL in half precision has 7e9.

    Raises:
        InvalidInput: no node has a GPU.
    """
    if not (nodes.gpus > 0).any():
        raise InvalidInput("requests for images need a GPU, and no node has one")
    rows = slice(first, first + count)
    t = len(trace.submit_s[rows])
    tasks = plain_tasks(trace.submit_s[rows], np.zeros((t, 3), np.int64))._replace(
        gpus=np.ones(t, np.int64), gpu_milli=np.full(t, WHOLE_GPU), run_s=trace.run_s[rows],
        estimate_s=trace.run_s[rows], user=trace.user[rows], model=trace.checkpoint[rows],
    )  # fmt: skip
    speed = np.ones((1, int(nodes.gpu_model.max()) + 2))
    return World(
        nodes, tasks, no_changes(), speed, np.full(len(trace.checkpoints), checkpoint_bytes, np.int64)
    )


def with_caches(nodes: Nodes, cache_bytes: int, bytes_per_s: float) -> Nodes:
    """Return nodes that keep so many bytes of models each, and fetch them so quickly."""
    n = len(nodes.gpus)
    return nodes._replace(
        cache_bytes=np.full(n, cache_bytes, np.int64), bandwidth=np.full(n, float(bytes_per_s))
    )


def gavel_speeds(table: GavelTable, models: Sequence[str], reference: str) -> Floats:
    """Return how fast each kind runs on some models of GPUs against one of them: (kinds, models + 1).

    A kind that does not run on the reference is measured against its fastest model; without GPU none runs.

    Raises:
        InvalidInput: the table has no such model.
    """
    unknown = [name for name in (*models, reference) if name not in table.models]
    if unknown:
        raise InvalidInput(f"no throughputs of {', '.join(unknown)}; there are {', '.join(table.models)}")
    steps = table.alone[:, [table.models.index(name) for name in models]]
    standard = table.alone[:, table.models.index(reference)]
    standard = np.where(standard > 0, standard, table.alone.max(axis=1))
    standard = np.where(standard > 0, standard, 1.0)
    return np.hstack([steps / standard[:, None], np.zeros((len(steps), 1))])


def gavel_world(
    table: GavelTable,
    nodes: Sequence[tuple[str, int, int]],
    reference: str,
    kind: Ints,
    arrival_s: Floats,
    run_s: Floats,
) -> World:
    """Return trainings on a cluster of several models of GPUs.

    Args:
        table: the throughputs.
        nodes: how many of each model, and with how many GPUs each.
        reference: the model on which run times are given.
        kind: (t,) rows of the table.
        arrival_s: (t,) seconds, rising.
        run_s: (t,) seconds each takes on the reference.

    Raises:
        InvalidInput: as `gavel_speeds`.
    """
    models = tuple(dict.fromkeys(name for name, _, _ in nodes))
    speed = gavel_speeds(table, models, reference)
    many = [count for _, count, _ in nodes]
    gpus = np.repeat([size for _, _, size in nodes], many).astype(np.int64)
    model = np.repeat([models.index(name) for name, _, _ in nodes], many).astype(np.int64)
    t = len(kind)
    wanted = np.array([each.gpus for each in table.kinds], np.int64)[kind]
    tasks = plain_tasks(arrival_s, np.zeros((t, 3), np.int64))._replace(
        gpus=wanted, gpu_milli=np.full(t, WHOLE_GPU), run_s=run_s, estimate_s=run_s, kind=kind
    )
    return World(gpu_nodes(gpus, model), tasks, no_changes(), speed, no_rows())


def _gangs(submit_s: Floats, run_s: Floats, gpus: Ints, largest: int) -> Tasks:
    """Return each job as the tasks it takes on nodes of at most `largest` GPUs: whole ones, and one with the rest."""
    members = -(-gpus // largest)
    job = np.repeat(np.arange(len(gpus)), members)
    first = np.cumsum(members) - members
    place = np.arange(len(job)) - first[job]
    wanted = np.minimum(largest, gpus[job] - place * largest)
    t = len(job)
    return plain_tasks(submit_s[job], np.zeros((t, 3), np.int64))._replace(
        gpus=wanted, gpu_milli=np.full(t, WHOLE_GPU), run_s=run_s[job], estimate_s=run_s[job], gang=first[job]
    )
