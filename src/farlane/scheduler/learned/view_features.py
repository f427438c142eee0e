"""From a hub's view to what the network sees of its tasks, of the whole and of its nodes.

A group stands for its `count` like tasks: means and sums over tasks weigh groups by it. What a hub does not know is
taken as training's neutral value: full reputation, no gangs and no dependents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.habits import SHORTEST_S
from farlane.scheduler.learned.features import (
    GLOBAL_FEATURES,
    NODE_FEATURES,
    NodeColumns,
    TaskColumns,
    node_features,
    task_features,
)
from farlane.scheduler.ordering import MAX_PRIORITY
from farlane.scheduler.queue_ahead import remaining_s
from farlane.scheduler.view import CPU, FIRST_GPU, MEMORY, Floats, Group, History, View

Matrix = NDArray[np.float32]

BANDWIDTH = 100e6
"""Bytes a second at which a node is taken to fetch a model: a hub does not measure it."""
UNBOUNDED = 1 << 40
"""A group that may have so many more leases is bounded by no budget."""
NO_OPENING_S = 1e5
"""Until room is expected where no lease in force explains why there is none."""
_CELLS = 1 << 18
"""Groups x nodes that are compared at once."""


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
    fits: 1 where some alternative fits somewhere now, caps on its price aside; gpus: the most of any alternative.
    """

    share: Floats
    column: NDArray[np.int64]
    lacking: Floats
    fits: Floats
    gpus: Floats


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
    groups = view.groups
    told = np.array([_told(group) for group in groups], np.float64).reshape(len(groups), 7).T
    timeout, duration, since, known, priority, deadline, spare = told
    demands = _demands(view)
    expected = np.minimum(duration, timeout)
    free, total = _pool(view)
    free_share = np.divide(free, total, out=np.zeros_like(free), where=total > 0)
    most = float(view.nodes.capacity[:, FIRST_GPU:].sum(axis=1).max(initial=1))
    return TaskColumns(
        request_s=timeout,
        expected_s=expected,
        wait_s=np.maximum(view.now - since, 0.0),
        share=demands.share,
        free=free_share[demands.column],
        opening_s=_opening_s(view, demands),
        fits=demands.fits,
        rank=_rank(since),
        known=known,
        priority=priority / MAX_PRIORITY,
        slack_s=deadline - view.now - expected,
        load_s=_load_s(view),
        gang=np.ones(len(groups)),
        dependents=np.zeros(len(groups)),
        options=_options(view),
        spare_budget=spare,
        gpus=demands.gpus / most,
        gpu_share=np.minimum(demands.gpus, 1.0),
        **_histories(groups, timeout)._asdict(),
    )


def _histories(groups: tuple[Group, ...], timeout: Floats) -> History:
    """Return the columns of groups' histories; what is asked for is expected of one without."""
    asked = np.log10(np.maximum(timeout, SHORTEST_S))
    unknown = (0.0, 1.0, 0.0, 0.0)
    rows = [
        (*(asked[at],) * 6, *unknown) if group.history is None else group.history
        for at, group in enumerate(groups)
    ]
    return History(*np.array(rows, np.float64).reshape(len(groups), len(History._fields)).T)


def _told(group: Group) -> tuple[float, ...]:
    """Return a group's own numbers: one tuple, since a view may have thousands of groups."""
    known = group.run_time_s is not None
    return (
        group.timeout_s,
        group.timeout_s if group.run_time_s is None else group.run_time_s,
        group.since,
        known,
        group.priority,
        np.inf if group.deadline_at is None else group.deadline_at,
        np.inf if group.affordable >= UNBOUNDED else group.affordable / max(1, group.count) - 1.0,
    )


def whole(view: View, of: TaskColumns, x: Floats, counts: Floats) -> Floats:
    """Return what the network sees of the whole, (F,): `features.global_features` with each group as its tasks.

    With one task a group both agree.
    """
    free, total = _pool(view)
    gpus = float(total[FIRST_GPU:].sum())
    g = np.zeros(len(GLOBAL_FEATURES))
    g[1] = float(free[FIRST_GPU:].sum()) / gpus if gpus else 0.0
    g[7] = 1.0
    online = view.nodes.online
    g[9] = np.log10(1.0 + int(online.sum())) / 4.0
    g[10] = min(3600.0 * float(view.nodes.hazard[online].mean()), 1.0) if online.any() else 0.0
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
    g[13] = weight @ (x[:, 29] - np.maximum(x[:, 0], 0.2))
    g[14], g[15] = weight @ x[:, 0], weight @ x[:, 25]
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
        hazard=nodes.hazard * 3600.0,
        rtt_s=nodes.rtt_s,
        reputation=np.ones(count),
        cached=np.zeros(count),
    )


def node_view(view: View) -> Matrix:
    """Return what the network sees of a view's nodes, (n, N) float32."""
    if not len(view.nodes.ids):
        return np.zeros((0, len(NODE_FEATURES)), np.float32)
    return node_features(node_columns(view)).astype(np.float32)


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
    possible = np.flatnonzero((rows <= most).all(axis=1))
    gpus = np.zeros(len(groups))
    np.maximum.at(gpus, owners, rows[:, FIRST_GPU:].sum(axis=1).astype(np.float64))
    return _Demands(share, of, lacking, _fits(view, owners[possible], rows[possible]), gpus)


def _fits(view: View, owners: NDArray[np.int64], rows: NDArray[np.int64]) -> Floats:
    """Return 1 for the groups of which a task could start at once on some node: (G,).

    Args:
        view: of this round.
        owners: (a,) rows of groups, rising, with an alternative each that may fit.
        rows: (a, 3 + g) those demands.
    """
    groups, free = view.groups, np.ascontiguousarray(view.nodes.free.T)
    fits = np.zeros(len(groups))
    at_once = max(1, _CELLS // max(1, len(view.nodes.ids)))
    for start in range(0, len(owners), at_once):
        part, demand = owners[start : start + at_once], rows[start : start + at_once]
        able = np.array([groups[at].eligible for at in part.tolist()])
        able &= view.nodes.online
        for column in np.flatnonzero(demand.any(axis=0)):
            able &= free[column] >= demand[:, column, None]
        fits[part[able.any(axis=1)]] = 1.0
    return fits


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


def _load_s(view: View) -> Floats:
    """Return how long the nearest node would fetch what a task needs: (G,) seconds."""
    load = np.zeros(len(view.groups))
    for at, group in enumerate(view.groups):
        if group.missing is not None and (able := group.eligible & view.nodes.online).any():
            load[at] = float(group.missing[able].min()) / BANDWIDTH
    return load


def _options(view: View) -> Floats:
    """Return the share of nodes that could ever run a task: (G,); groups of like tasks share their masks."""
    nodes = max(1, len(view.nodes.ids))
    masks = {id(group.eligible): group.eligible for group in view.groups}
    share = {key: int(np.count_nonzero(mask)) / nodes for key, mask in masks.items()}
    return np.array([share[id(group.eligible)] for group in view.groups], np.float64)


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
