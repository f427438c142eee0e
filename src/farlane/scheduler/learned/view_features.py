"""From a hub's view to what the network sees of its tasks, of the whole and of its nodes.

A group stands for its `count` like tasks: means and sums over tasks weigh groups by it. What a hub does not know is
taken as training's neutral value: no hazard, full reputation, no gangs and no dependents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.learned.features import NodeColumns, TaskColumns, node_features, task_features
from farlane.scheduler.ordering import MAX_PRIORITY, duration_bound
from farlane.scheduler.queue_ahead import remaining_s
from farlane.scheduler.view import CPU, FIRST_GPU, MEMORY, Bools, Floats, Group, View

Matrix = NDArray[np.float32]

BANDWIDTH = 100e6
"""Bytes a second at which a node is taken to fetch a model: a hub does not measure it."""
UNBOUNDED = 1 << 40
"""A group that may have so many more leases is bounded by no budget."""
NO_OPENING_S = 1e5
"""Until room is expected where no lease in force explains why there is none."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What the network sees of a view's groups, G of them, in its order, and of the whole.

    x: (G, T) float32 features; g: (F,) float32 of the whole; share: (G,) float32 of all waiting tasks, summing to 1.
    """

    x: Matrix
    g: Matrix
    share: Matrix


@dataclass(frozen=True, slots=True)
class _Demands:
    """One alternative of each group, that of the least dominant share; (G,) each.

    share: of all that is online; column: of which resource; lacking: how much more of it than any node has free;
    fits: 1 where some alternative fits somewhere now.
    """

    share: Floats
    column: NDArray[np.int64]
    lacking: Floats
    fits: Floats


def task_view(view: View) -> TaskView:
    """Return what the network sees of a view's groups and of the whole; empty matrices where nothing waits."""
    groups = view.groups
    counts = np.array([max(1, group.count) for group in groups], np.float64)
    columns = task_columns(view)
    x = task_features(columns)
    share = counts / counts.sum() if len(counts) else counts
    g = whole(view, columns, x, counts)
    return TaskView(x.astype(np.float32), g.astype(np.float32), share.astype(np.float32))


def task_columns(view: View) -> TaskColumns:
    """Return the columns of a view's groups."""
    groups, now = view.groups, view.now
    demands = _demands(view)
    request = _column(groups, lambda group: group.timeout_s)
    expected = np.minimum(_column(groups, duration_bound), request)
    since = _column(groups, lambda group: group.since)
    free, total = _pool(view)
    free_share = np.divide(free, total, out=np.zeros_like(free), where=total > 0)
    gpus = _column(groups, lambda group: float(group.demands[:, FIRST_GPU:].sum(axis=1).max(initial=0)))
    deadline = _column(groups, lambda group: np.inf if group.deadline_at is None else group.deadline_at)
    return TaskColumns(
        request_s=request,
        expected_s=expected,
        wait_s=np.maximum(now - since, 0.0),
        share=demands.share,
        free=free_share[demands.column],
        opening_s=_opening_s(view, demands),
        fits=demands.fits,
        rank=_rank(since),
        known=_column(groups, lambda group: group.run_time_s is not None),
        priority=_column(groups, lambda group: group.priority) / MAX_PRIORITY,
        slack_s=deadline - now - expected,
        load_s=_column(groups, lambda group: _load_s(view, group)),
        gang=np.ones(len(groups)),
        dependents=np.zeros(len(groups)),
        options=_options(view),
        spare_budget=_column(groups, _spare_budget),
        gpus=gpus / max(1.0, float(view.nodes.capacity[:, FIRST_GPU:].sum(axis=1).max(initial=0))),
        gpu_share=np.minimum(gpus, 1.0),
    )


def whole(view: View, of: TaskColumns, x: Floats, counts: Floats) -> Floats:
    """Return what the network sees of the whole, (F,): `features.global_features` with each group as its tasks.

    With one task a group both agree.
    """
    free, total = _pool(view)
    gpus = float(total[FIRST_GPU:].sum())
    g = np.zeros(13)
    g[1] = float(free[FIRST_GPU:].sum()) / gpus if gpus else 0.0
    g[7] = 1.0
    g[9] = np.log10(1.0 + int(view.nodes.online.sum())) / 4.0
    if not len(counts):
        return g
    weight = counts / counts.sum()
    mean = float(weight @ x[:, 1])
    g[0] = weight @ of.free
    g[2] = np.log10(1.0 + counts.sum()) / 3.0
    g[3] = np.log10(1.0 + counts @ (of.expected_s * of.share)) / 5.0
    g[4] = np.log10(1.0 + counts @ (of.request_s * of.share)) / 5.0
    g[5] = weight @ x[:, 2]
    g[6] = np.sqrt(weight @ (x[:, 1] - mean) ** 2)
    g[8] = weight @ of.fits
    g[11], g[12] = weight @ x[:, 3], mean
    return g


def node_columns(view: View) -> NodeColumns:
    """Return the columns of a view's nodes."""
    nodes = view.nodes
    capacity, free = nodes.capacity, np.maximum(nodes.free, 0)
    gpus = capacity[:, FIRST_GPU:].sum(axis=1)
    count = len(nodes.ids)
    return NodeColumns(
        cpu=_of(free[:, CPU], capacity[:, CPU]),
        memory=_of(free[:, MEMORY], capacity[:, MEMORY]),
        gpu=_of(free[:, FIRST_GPU:].sum(axis=1), gpus),
        gpus=gpus / max(1, int(gpus.max(initial=0))),
        idle=(nodes.free == capacity).all(axis=1).astype(np.float64),
        wanted=_wanted(view),
        price=_node_prices(view),
        hazard=np.zeros(count),
        rtt_s=nodes.rtt_s,
        reputation=np.ones(count),
        cached=np.zeros(count),
    )


def node_view(view: View) -> Matrix:
    """Return what the network sees of a view's nodes, (n, N) float32."""
    if not len(view.nodes.ids):
        return np.zeros((0, 11), np.float32)
    return node_features(node_columns(view)).astype(np.float32)


def address(array: NDArray[Any] | None) -> tuple[int, ...]:
    """Return what tells arrays of one view apart without looking into them: groups of like tasks share masks."""
    if array is None:
        return ()
    where: tuple[int, bool] = array.__array_interface__["data"]
    return (where[0], *array.shape)


def _column(groups: tuple[Group, ...], value: Callable[[Group], float]) -> Floats:
    return np.array([value(group) for group in groups], np.float64)


def _pool(view: View) -> tuple[Floats, Floats]:
    """Return what is free of each resource and what there is, of all nodes that are online: (3 + g,) each."""
    online = view.nodes.online.astype(np.float64)
    free = online @ np.maximum(view.nodes.free, 0)
    return free, online @ view.nodes.capacity


def _demands(view: View) -> _Demands:
    groups = view.groups
    width = view.nodes.capacity.shape[1]
    owners = np.repeat(np.arange(len(groups)), [len(group.demands) for group in groups])
    rows = np.concatenate([np.zeros((0, width), np.int64), *(group.demands for group in groups)])
    total = _pool(view)[1]
    shares = np.minimum(rows / np.maximum(total, 1.0), 1.0)
    column = np.argmax(shares, axis=1) if len(rows) else np.zeros(0, np.int64)
    dominant = shares[np.arange(len(rows)), column]
    # The least dominant alternative of each group: sorted by group and share, the first of each. A group without any
    # could take all there is.
    order = np.lexsort((dominant, owners))
    first = order[np.diff(owners[order], prepend=-1) > 0]
    most = view.nodes.free[view.nodes.online].max(axis=0, initial=0)
    share, of, lacking = np.ones(len(groups)), np.zeros(len(groups), np.int64), np.zeros(len(groups))
    share[owners[first]], of[owners[first]] = dominant[first], column[first]
    lacking[owners[first]] = rows[first, column[first]] - most[column[first]]
    return _Demands(share, of, lacking, _fits(view, most))


def _fits(view: View, most: NDArray[np.int64]) -> Floats:
    """Return 1 for the groups of which a task could start at once on some node: (G,)."""
    known: dict[tuple[tuple[int, ...], ...], bool] = {}
    found = np.zeros(len(view.groups))
    for at, group in enumerate(view.groups):
        like = (address(group.demands), address(group.eligible), address(group.allowed))
        if like not in known:
            known[like] = _fits_somewhere(view, group, most)
        found[at] = known[like]
    return found


def _fits_somewhere(view: View, group: Group, most: NDArray[np.int64]) -> bool:
    free = view.nodes.free
    for option, demand in enumerate(group.demands):
        if (demand > most).any():
            continue
        able: Bools = group.eligible & view.nodes.online
        if group.allowed is not None:
            able &= group.allowed[option]
        for column in np.flatnonzero(demand):
            able &= free[:, column] >= demand[column]
        if able.any():
            return True
    return False


def _opening_s(view: View, demands: _Demands) -> Floats:
    """Return until when as much as is lacking is expected to be released, anywhere: (G,) seconds, 0 where it fits."""
    opening = np.zeros(len(view.groups))
    blocked = np.flatnonzero(demands.fits == 0)
    if not len(blocked):
        return opening
    left = remaining_s(view.running, view.now)
    order = np.argsort(left)
    left = np.append(left[order], NO_OPENING_S)
    for column in np.unique(demands.column[blocked]):
        of = blocked[demands.column[blocked] == column]
        released = np.cumsum(view.running.demand[order, column])
        opening[of] = left[np.searchsorted(released, np.maximum(demands.lacking[of], 1.0))]
    return opening


def _rank(since: Floats) -> Floats:
    """Return 0 for the oldest to 1 for the newest; as old is as high."""
    if len(since) < 2:
        return np.zeros(len(since))
    return np.searchsorted(np.sort(since), since) / (len(since) - 1.0)


def _load_s(view: View, group: Group) -> float:
    if group.missing is None:
        return 0.0
    able = group.eligible & view.nodes.online
    return float(group.missing[able].min()) / BANDWIDTH if able.any() else 0.0


def _options(view: View) -> Floats:
    known: dict[tuple[int, ...], float] = {}
    nodes = max(1, len(view.nodes.ids))
    for group in view.groups:
        like = address(group.eligible)
        if like not in known:
            known[like] = int(np.count_nonzero(group.eligible)) / nodes
    return np.array([known[address(group.eligible)] for group in view.groups], np.float64)


def _spare_budget(group: Group) -> float:
    if group.affordable >= UNBOUNDED:
        return np.inf
    return group.affordable / max(1, group.count) - 1.0


def _of(part: NDArray[Any], all_of_it: NDArray[Any]) -> Floats:
    share: Floats = np.divide(part, all_of_it, out=np.zeros(len(part)), where=all_of_it > 0)
    return share


def _wanted(view: View) -> Floats:
    """Return which share of the GPUs that waiting tasks ask for could be of a node's kinds: (n,)."""
    kinds = len(view.nodes.gpu_kinds)
    wanted, total = np.zeros(kinds), 0.0
    for group in view.groups:
        gpus = group.demands[:, FIRST_GPU:]
        asked = group.count * int(gpus.max(initial=0))
        if asked:
            total += asked
            wanted[(gpus > 0).any(axis=0)] += asked
    if not total:
        return np.zeros(len(view.nodes.ids))
    has = view.nodes.capacity[:, FIRST_GPU:] > 0
    share: Floats = np.where(has, wanted / total, 0.0).max(axis=1, initial=0.0)
    return share


def _node_prices(view: View) -> Floats:
    """Return what an hour of each whole node costs, up to a factor: (n,)."""
    nodes = view.nodes
    cost: Floats = nodes.core_second * (nodes.capacity[:, CPU] / 1000.0)
    cost += nodes.gib_second * (nodes.capacity[:, MEMORY] / 2.0**30)
    cost += (nodes.gpu_second * nodes.capacity[:, FIRST_GPU:]).sum(axis=1)
    return cost
