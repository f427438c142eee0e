"""How much of a fleet was in use over time: exact integrals of what ran and what was online."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.state import DONE, State
from farlane.scheduler.sim.world import CPU, WHOLE_GPU, Floats, World

CPU_LINE, GPU_LINE = range(2)
"""Columns of `busy_shares`."""


def busy_shares(world: World, state: State, edges: Floats) -> Floats:
    """Return which share of online cores and GPUs runs that ended took, between edges: (edges - 1, 2), nan without any.

    Args:
        world: what was simulated.
        state: at the end of the run.
        edges: rising seconds.
    """
    tasks, done = world.tasks, state.status == DONE
    began, ended = state.started[done], state.ends[done]
    taken = np.stack([tasks.demand[done, CPU], tasks.gpus[done] * tasks.gpu_milli[done]], axis=1)
    shares = np.full((len(edges) - 1, 2), np.nan)
    for line, online in enumerate(_online(world)):
        at = np.concatenate([began, ended])
        used = _integral(at, np.concatenate([taken[:, line], -taken[:, line]]), edges)
        there = _integral(*online, edges)
        some = there > 0.0
        shares[some, line] = used[some] / there[some]
    return shares


def _online(world: World) -> list[tuple[Floats, Floats]]:
    """Return when how many cores and GPUs come (or go, below 0): two pairs of (changes,) seconds and amounts."""
    nodes, changes = world.nodes, world.changes
    at = np.concatenate([[-np.inf], changes.at])
    pairs = []
    for amounts in (nodes.capacity[:, CPU], nodes.gpus * WHOLE_GPU):
        sign = np.where(changes.online, 1, -1) * _is_change(world)
        pairs.append((at, np.concatenate([[amounts.sum()], sign * amounts[changes.node]]).astype(np.float64)))
    return pairs


def _is_change(world: World) -> Floats:
    """Return 1 for changes that change something, 0 for a node that comes twice or goes twice: (c,)."""
    online = np.ones(len(world.nodes.gpus), np.bool_)
    result = np.zeros(len(world.changes.at))
    for row, (node, now) in enumerate(zip(world.changes.node, world.changes.online, strict=True)):
        result[row] = online[node] != now
        online[node] = now
    return result


def _integral(at: Floats, change: Floats, edges: Floats) -> Floats:
    """Return the integral, between edges, of a step function that is 0 before its first change: (edges - 1,)."""
    at = np.maximum(at, edges[0])
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(change[order])
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(at))])
    last = np.searchsorted(at, edges, side="right") - 1
    reached = np.where(last < 0, 0.0, area[last] + level[last] * (edges - at[last]))
    return np.diff(reached)
