"""Histories as worlds of the simulator, for training on your own past; and worlds as histories, to replay."""

from __future__ import annotations

import numpy as np

from farlane.domain.ids import NodeId
from farlane.domain.jobs import CommandWork, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import Capacity, GpuKind, GpuRequest, Resources
from farlane.domain.units import CREDIT
from farlane.errors import InvalidInput
from farlane.lab.history import Change, History, PastJob
from farlane.lab.replay_report import arrivals
from farlane.scheduler.sim.plain import no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import (
    ANY_GPU,
    CPU,
    DISK,
    MAX_GPU_MODELS,
    MEMORY,
    WHOLE_GPU,
    Changes,
    Floats,
    Ints,
    Nodes,
    Tasks,
    World,
)

PLENTY = 1 << 40
"""Of what no task asks for, a node has so much."""
MODEL = "gpu-"
_RUN = CommandWork("true")


def world_of(history: History) -> tuple[World, Ints]:
    """Return a history as a world, and which of its tasks each row is: (t,).

    The world begins with the first job, at 0. Who may run what (organisations, labels, Python) is not in it; tasks that
    were stopped run until then.

    Raises:
        InvalidInput: a node has several kinds of GPU, or there are more kinds than are told apart.
    """
    kinds = tuple(dict.fromkeys(kind for spec in history.nodes for kind, _ in spec.capacity.gpus))
    several = [spec.name for spec in history.nodes if len(spec.capacity.gpus) > 1]
    if several or len(kinds) > MAX_GPU_MODELS:
        raise InvalidInput(f"a node of a world has one kind of GPU; {', '.join(several[:3])} have several")
    arrived = arrivals(history) - history.begin
    order = np.argsort(arrived, kind="stable")
    changes = _changes(history)
    world = World(
        _nodes(history, kinds, changes), _tasks(history, kinds, arrived, order), changes,
        np.ones((1, len(kinds) + 1)), no_rows(),
    )  # fmt: skip
    return world, order


def history_of_world(world: World) -> History:
    """Return a world as a history that the hub's reactor can replay: each task is a job.

    Raises:
        InvalidInput: it has what the hub does not do (shares of GPUs, gangs) or a history does not say (models to load,
            speeds, tasks that wait for others).
    """
    _check(world)
    tasks, nodes = world.tasks, world.nodes
    begin = float(min(0.0, tasks.arrival.min(initial=0.0)))
    asked = tasks.demand.sum(axis=0) > 0
    capacity = np.where(asked, nodes.capacity, PLENTY)
    specs = tuple(node_spec(nodes, capacity[row].tolist(), row) for row in range(len(nodes.gpus)))
    online = [True] * len(specs)
    changes = [Change(begin, row, True) for row in range(len(specs))]
    for at, node, there in zip(*world.changes, strict=True):
        if online[node] != there:
            online[node] = bool(there)
            changes.append(Change(float(at), int(node), bool(there)))
    every = int(sum(1 << model for model in set(nodes.gpu_model.tolist()) if model >= 0))
    jobs = tuple(_past_job(tasks, every, row) for row in range(len(tasks.arrival)))
    return History(specs, tuple(changes), jobs)


def _nodes(history: History, kinds: tuple[GpuKind, ...], changes: Changes) -> Nodes:
    specs = history.nodes
    sizes = [spec.capacity for spec in specs]
    capacity = np.array([(each.cpu_milli, each.memory_bytes, each.disk_bytes) for each in sizes], np.int64)
    gpus = np.array([sum(count for _, count in each.gpus) for each in sizes], np.int64)
    model = np.array([kinds.index(each.gpus[0][0]) if each.gpus else -1 for each in sizes], np.int64)
    vram = np.array([each.gpus[0][0].vram_bytes if each.gpus else 0 for each in sizes], np.int64)
    price = np.array(
        [
            (
                spec.rates.core_second,
                spec.rates.gib_second,
                spec.rates.gpu_rate(spec.capacity.gpus[0][0]) if spec.capacity.gpus else 0,
            )
            for spec in specs
        ],
        np.float64,
    )
    span = max(1.0, float(changes.at.max(initial=0.0)))
    left = np.bincount(changes.node[~changes.online & (changes.at > 0)], minlength=len(specs))
    return plain_nodes(capacity)._replace(
        gpus=gpus, gpu_model=model, vram=vram, price=price / CREDIT, hazard=left / span
    )


def _tasks(history: History, kinds: tuple[GpuKind, ...], arrived: Floats, order: Ints) -> Tasks:
    rows = np.repeat(np.arange(len(history.jobs)), [job.tasks for job in history.jobs])[order]
    specs = [job.spec for job in history.jobs]
    wanted = [spec.resources for spec in specs]
    demand = np.array([(each.cpu_milli, each.memory_bytes, each.disk_bytes) for each in wanted], np.int64)
    gpus = np.array([each.gpu.count if each.gpu else 0 for each in wanted], np.int64)
    masks = np.array([_mask(each.gpu, kinds) for each in wanted], np.int64)
    publishers = {name: row for row, name in enumerate(dict.fromkeys(spec.publisher for spec in specs))}
    estimate = np.array(
        [(spec.timeout_ms if spec.estimate_ms is None else spec.estimate_ms) / 1000 for spec in specs]
    )
    stopped = np.array([np.inf if job.stopped_at is None else job.stopped_at for job in history.jobs])
    run_s = np.concatenate([job.run_s for job in history.jobs])[order]
    ends = stopped[rows] - history.begin - arrived[order]
    deadline = np.array([np.inf if spec.deadline_at is None else spec.deadline_at for spec in specs])
    budget = np.array([np.inf if spec.budget is None else spec.budget / CREDIT for spec in specs])
    return plain_tasks(arrived[order], demand[rows])._replace(
        gpus=gpus[rows], gpu_milli=np.where(gpus[rows] > 0, WHOLE_GPU, 0), gpu_models=masks[rows],
        vram=np.array([each.gpu.min_vram_bytes if each.gpu else 0 for each in wanted], np.int64)[rows],
        run_s=np.where(np.isinf(run_s), np.maximum(ends, 0.0), run_s), estimate_s=estimate[rows],
        user=np.array([publishers[spec.publisher] for spec in specs], np.int64)[rows],
        priority=np.array([spec.priority for spec in specs], np.int64)[rows],
        deadline=deadline[rows] - history.begin, budget=budget[rows],
    )  # fmt: skip


def _mask(wanted: GpuRequest | None, kinds: tuple[GpuKind, ...]) -> int:
    if wanted is None or (wanted.model is None and not wanted.min_vram_bytes):
        return ANY_GPU
    return sum(1 << row for row, kind in enumerate(kinds) if wanted.accepts(kind))


def _changes(history: History) -> Changes:
    """Return comings and goings from the beginning on; a world's nodes are there until one says that they go."""
    first = {}
    found: list[tuple[float, int, bool]] = []
    for change in history.changes:
        at = change.at - history.begin
        if change.node not in first:
            first[change.node] = at
            if at > 0:
                found.append((0.0, change.node, False))
        if at > 0:
            found.append((at, change.node, change.online))
    found += [(0.0, row, False) for row in range(len(history.nodes)) if row not in first]
    found.sort(key=lambda each: each[0])
    return Changes(
        np.array([at for at, _, _ in found], np.float64), np.array([row for _, row, _ in found], np.int64),
        np.array([there for _, _, there in found], np.bool_),
    )  # fmt: skip


def _check(world: World) -> None:
    tasks = world.tasks
    lacking = {
        "shares of GPUs": bool(((tasks.gpus > 0) & (tasks.gpu_milli != WHOLE_GPU)).any()),
        "gangs": bool((tasks.gang != np.arange(len(tasks.gang))).any()),
        "models to load": bool((tasks.model >= 0).any()),
        "speeds": bool((world.speed != 1.0).any()),
        "tasks that wait for others": bool((tasks.parents > 0).any()),
    }
    found = [name for name, there in lacking.items() if there]
    if found:
        raise InvalidInput(f"the hub's reactor cannot replay this world: it has {', '.join(found)}")


def node_spec(nodes: Nodes, capacity: list[int], row: int) -> NodeSpec:
    """Return a node of a world as it would register, with so much of each resource."""
    gpus: tuple[tuple[GpuKind, int], ...] = ()
    core, gib, gpu = (round(float(price) * CREDIT) for price in nodes.price[row])
    if nodes.gpus[row]:
        kind = GpuKind(f"{MODEL}{nodes.gpu_model[row]}", int(nodes.vram[row]))
        gpus = ((kind, int(nodes.gpus[row])),)
    size = Capacity(capacity[CPU], capacity[MEMORY], capacity[DISK], gpus)
    return NodeSpec(NodeId(f"n{row}"), f"n{row}", "", size, "", "", RateVector(core, gib, (("*", gpu),)))


def _past_job(tasks: Tasks, every: int, row: int) -> PastJob:
    gpu = None
    if tasks.gpus[row]:
        mask = int(tasks.gpu_models[row]) & every
        if mask != every and mask.bit_count() != 1:
            raise InvalidInput(
                f"task {row} can use some models of GPUs: a job names one, or takes any; it cannot be replayed"
            )
        model = None if mask == every else f"{MODEL}{mask.bit_length() - 1}"
        gpu = GpuRequest(int(tasks.gpus[row]), model, int(tasks.vram[row]))
    cpu, memory, disk = (int(amount) for amount in tasks.demand[row])
    run_s, estimate_s = float(tasks.run_s[row]), float(tasks.estimate_s[row])
    deadline, budget = float(tasks.deadline[row]), float(tasks.budget[row])
    limit_s = max(estimate_s, run_s if np.isfinite(run_s) else 0.0, 0.001)
    spec = JobSpec(
        name=f"task {row}", command=_RUN, resources=Resources(max(1, cpu), max(1, memory), disk, gpu),
        priority=int(tasks.priority[row]), timeout_ms=round(limit_s * 1000),
        estimate_ms=max(1, round(estimate_s * 1000)), publisher=f"user {tasks.user[row]}",
        deadline_at=None if np.isinf(deadline) else deadline,
        budget=None if np.isinf(budget) else round(budget * CREDIT),
    )  # fmt: skip
    arrival = float(tasks.arrival[row])
    return PastJob(spec, arrival, ((arrival, 1),), np.array([run_s]), counted=(True,), name=f"task {row}")
