"""Whether a world means something: one check before anything runs, since compiled loops trust what they are given."""

from __future__ import annotations

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.world import (
    MAX_GPU_MODELS,
    MAX_GPUS,
    WHOLE_GPU,
    Bools,
    Changes,
    Nodes,
    Tasks,
    World,
)

MAX_PRIORITY = 100


def check_world(world: World) -> World:
    """Return a world that makes sense.

    Raises:
        InvalidInput: columns of different lengths or types, amounts below 0 or nan, rows that do not exist, gangs that
            are not adjacent, tasks that wait for each other. The message names the column and its first bad row.
    """
    _lengths(world)
    if world.speed.ndim != 2 or world.speed.shape[1] < 1 or world.speed.shape[0] < 1:
        raise InvalidInput("speed has no kinds or no models: it needs (kinds, models of GPUs + 1)")
    _require(
        "speed", (world.speed >= 0.0).all(axis=1) & np.isfinite(world.speed).all(axis=1), "0 or above, finite"
    )
    _require("model_bytes", world.model_bytes >= 0, "0 or above")
    _nodes(world.nodes, world.speed.shape[1] - 1)
    _tasks(world.tasks, world.speed.shape[0], len(world.model_bytes))
    _gangs(world.tasks)
    _dependencies(world.tasks)
    _changes(world.changes, len(world.nodes.gpus))
    return world


def _lengths(world: World) -> None:
    """Every column has a row for each node, task or change, and numbers of the type that loops expect."""
    n, t, c = len(world.nodes.gpus), len(world.tasks.arrival), len(world.changes.at)
    shapes: dict[str, tuple[int, ...]] = {
        "nodes.capacity": (n, 3), "nodes.price": (n, 3), "tasks.demand": (t, 3), "tasks.first_child": (t + 1,),
        "tasks.children": np.shape(world.tasks.children),
    }  # fmt: skip
    for part, rows in (("nodes", n), ("tasks", t), ("changes", c)):
        columns = getattr(world, part)
        for name, column in zip(columns._fields, columns, strict=True):
            expected = shapes.get(f"{part}.{name}", (rows,))
            if not isinstance(column, np.ndarray) or column.shape != expected:
                raise InvalidInput(f"{part}.{name} is {np.shape(column)}, and must be {expected}")
            if column.dtype not in (np.int64, np.float64, np.bool_):
                raise InvalidInput(
                    f"{part}.{name} is of {column.dtype}: columns are of int64, float64 or bool"
                )


def _nodes(nodes: Nodes, models: int) -> None:
    _require("nodes.capacity", (nodes.capacity >= 0).all(axis=1), "0 or above")
    _require("nodes.gpus", (nodes.gpus >= 0) & (nodes.gpus <= MAX_GPUS), f"0 to {MAX_GPUS}")
    known = (nodes.gpu_model >= -1) & (nodes.gpu_model < min(models, MAX_GPU_MODELS))
    _require("nodes.gpu_model", known, f"-1, or below the {models} models that speeds are of")
    _require("nodes.gpu_model", (nodes.gpus == 0) | (nodes.gpu_model >= 0), "a model where there are GPUs")
    _require("nodes.vram", nodes.vram >= 0, "0 or above")
    _require("nodes.bandwidth", nodes.bandwidth > 0.0, "above 0 bytes a second")
    _require("nodes.cache_bytes", nodes.cache_bytes >= 0, "0 or above")
    _require(
        "nodes.price", (nodes.price >= 0.0).all(axis=1) & np.isfinite(nodes.price).all(axis=1), "0 or above"
    )
    for name in ("rtt_s", "hazard"):
        column = getattr(nodes, name)
        _require(f"nodes.{name}", (column >= 0.0) & np.isfinite(column), "0 or above, finite")
    _require("nodes.reputation", (nodes.reputation >= 0.0) & (nodes.reputation <= 1.0), "0 to 1")


def _tasks(tasks: Tasks, kinds: int, models: int) -> None:
    _require("tasks.arrival", (tasks.arrival >= 0.0) & np.isfinite(tasks.arrival), "0 or above, finite")
    rising = np.concatenate([[True], np.diff(tasks.arrival) >= 0.0])[: len(tasks.arrival)]
    _require("tasks.arrival", rising, "in the order of arrival")
    _require("tasks.demand", (tasks.demand >= 0).all(axis=1), "0 or above")
    _require("tasks.gpus", (tasks.gpus >= 0) & (tasks.gpus <= MAX_GPUS), f"0 to {MAX_GPUS}")
    share = np.where(tasks.gpus == 1, (tasks.gpu_milli > 0) & (tasks.gpu_milli <= WHOLE_GPU), True)
    whole = np.where(tasks.gpus > 1, tasks.gpu_milli == WHOLE_GPU, True)
    none = np.where(tasks.gpus == 0, tasks.gpu_milli >= 0, True)
    _require("tasks.gpu_milli", share & whole & none, f"1 to {WHOLE_GPU} of one GPU, {WHOLE_GPU} of several")
    _require("tasks.vram", tasks.vram >= 0, "0 or above")
    _require("tasks.run_s", tasks.run_s >= 0.0, "0 or above")
    _require("tasks.estimate_s", tasks.estimate_s >= 0.0, "0 or above")
    _require(
        "tasks.kind", (tasks.kind >= 0) & (tasks.kind < kinds), f"one of the {kinds} kinds that speeds are of"
    )
    _require("tasks.user", tasks.user >= 0, "0 or above")
    _require(
        "tasks.model", (tasks.model >= -1) & (tasks.model < models), f"-1, or one of the {models} models"
    )
    _require(
        "tasks.priority", (tasks.priority >= 0) & (tasks.priority <= MAX_PRIORITY), f"0 to {MAX_PRIORITY}"
    )
    _require("tasks.deadline", ~np.isnan(tasks.deadline), "seconds, inf for none")
    _require("tasks.budget", tasks.budget >= 0.0, "0 or above, inf for any")


def _gangs(tasks: Tasks) -> None:
    """Each gang is named by its first row, and its rows are neighbours that arrive together."""
    t = len(tasks.gang)
    rows = np.arange(t)
    _require("tasks.gang", (tasks.gang >= 0) & (tasks.gang <= rows), "a row, its own or one before it")
    before = tasks.gang[np.maximum(rows - 1, 0)]
    adjacent = (tasks.gang == rows) | ((tasks.gang == before) & (rows > 0))
    _require("tasks.gang", adjacent, "that of the row before it, or its own row: members are adjacent")
    together = tasks.arrival == tasks.arrival[tasks.gang]
    _require("tasks.gang", together, "of tasks that arrive at one time")


def _dependencies(tasks: Tasks) -> None:
    """Children are rows, each as often as its parents are counted, and none waits for itself."""
    t, e = len(tasks.arrival), len(tasks.children)
    first = tasks.first_child
    if first[0] != 0 or first[-1] != e or (np.diff(first) < 0).any():
        raise InvalidInput(f"tasks.first_child must rise from 0 to {e}, the number of tasks.children")
    _require("tasks.children", (tasks.children >= 0) & (tasks.children < t), f"one of the {t} tasks")
    counted = np.bincount(tasks.children, minlength=t)[:t]
    _require("tasks.parents", tasks.parents == counted, "as many as name the task among their children")
    parent = np.repeat(np.arange(t), np.diff(first))
    left = _left_in_circles(parent, tasks.children, tasks.parents)
    if left:
        raise InvalidInput(f"{left} tasks wait for each other in a circle: dependencies must have an order")


def _left_in_circles(parent: np.ndarray, child: np.ndarray, parents: np.ndarray) -> int:
    """Return how many tasks never have all their parents behind them, taking away generation after generation."""
    left, done = parents.copy(), np.zeros(len(parents), np.bool_)
    while True:
        free: Bools = (left == 0) & ~done
        if not free.any():
            return int((~done).sum())
        done |= free
        gone = free[parent]
        left -= np.bincount(child[gone], minlength=len(parents))
        parent, child = parent[~gone], child[~gone]


def _changes(changes: Changes, nodes: int) -> None:
    _require("changes.at", (changes.at >= 0.0) & np.isfinite(changes.at), "0 or above, finite")
    rising = np.concatenate([[True], np.diff(changes.at) >= 0.0])[: len(changes.at)]
    _require("changes.at", rising, "in the order of time")
    _require("changes.node", (changes.node >= 0) & (changes.node < nodes), f"one of the {nodes} nodes")


def _require(name: str, holds: Bools | np.bool_, expected: str) -> None:
    rows = np.atleast_1d(holds)
    if not rows.all():
        row = int(np.flatnonzero(~rows)[0])
        raise InvalidInput(f"{name} of row {row} must be {expected}", column=name, row=row)
