"""What the network sees of one group's task on each of some places, also when some of its tasks are there already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.scheduler.board import Board
from farlane.scheduler.learned.features import PairColumns, pair_features, redone_s, whole_s
from farlane.scheduler.learned.view_features import BANDWIDTH, Matrix
from farlane.scheduler.ordering import duration_bound
from farlane.scheduler.sharing import Places, prices
from farlane.scheduler.view import CPU, FIRST_GPU, MEMORY, Floats, Group, Ints, View

USUAL = 8
"""Kinds of waiting tasks that count as usual, the most frequent first."""
_CPU_SHARE, _MEMORY_SHARE, _GPU_SHARE, _IDLE = 0, 1, 2, 4


@dataclass(frozen=True, slots=True)
class Usual:
    """The most frequent kinds of waiting tasks, c of them.

    share: (c,) of all that wait; cpu: (c, 1) milli-cores; gpus: (g, c, 1) of each kind of GPU that would do, more than
    anybody has where it would not.
    """

    share: Floats
    cpu: Floats
    gpus: Floats


def usual(view: View) -> Usual | None:
    """Return the most frequent kinds of waiting tasks; None where nobody has GPUs."""
    if not view.nodes.capacity[:, FIRST_GPU:].any():
        return None
    counts: dict[tuple[int, ...], int] = {}
    for group in view.groups:
        if len(group.demands):
            most = group.demands.max(axis=0).tolist()
            kind = (most[CPU], *most[FIRST_GPU:])
            counts[kind] = counts.get(kind, 0) + group.count
    often = sorted(counts, key=lambda kind: (-counts[kind], kind))[:USUAL]
    total = max(1, sum(counts.values()))
    wanted = np.array(often, np.float64).reshape(len(often), view.nodes.capacity.shape[1] - FIRST_GPU + 1)
    gpus = np.where(wanted[:, 1:] > 0, wanted[:, 1:], np.inf)
    share = np.array([counts[kind] / total for kind in often], np.float64)
    return Usual(share, wanted[:, :1], gpus.T[:, :, None])


def fragments(kinds: Usual, free: Floats) -> Floats:
    """Return the free GPUs of each node that a usual task could not use, as expected: (n,).

    Args:
        kinds: the usual tasks.
        free: (3 + g, n) of each resource.

    Source: F(node) of Weng et al. 2023 (FGD), for whole GPUs.
    """
    runs = (free[FIRST_GPU:, None] >= kinds.gpus).any(axis=0) & (free[CPU] >= kinds.cpu)
    stranded: Floats = (1.0 - kinds.share @ runs) * np.maximum(free[FIRST_GPU:].sum(axis=0), 0.0)
    return stranded


class Pairing:
    """One group and places for it; features of one more task on each place.

    What does not change with what is placed is computed once.
    """

    def __init__(self, board: Board, group: Group, places: Places, kinds: Usual | None, y: Matrix) -> None:
        self._group, self._kinds = group, kinds
        rows, nodes = places.node, board.view.nodes
        self._y = y[rows]
        self._single = len(group.demands) == 1
        wanted = group.demands[:1] if self._single else group.demands[places.option]
        self._free, self._wanted = board.free[:, rows].astype(np.float64), wanted.T.astype(np.float64)
        capacity = board.capacity[:, rows].astype(np.float64)
        self._size = np.maximum(capacity[[CPU, MEMORY]], 1.0)
        self._gpus = capacity[FIRST_GPU:].sum(axis=0)
        self._largest_cpu = float(board.capacity[CPU].max(initial=1))
        self._largest_gpus = float(board.capacity[FIRST_GPU:].sum(axis=0).max(initial=1))
        self._asks = bool(group.demands[:, FIRST_GPU:].any())
        by_option = [prices(nodes, demand, rows) for demand in group.demands.tolist()]
        price = by_option[0] if self._single else np.choose(places.option, by_option)
        self._run_s = duration_bound(group)
        self._cost = price * min(self._run_s, 1e9)
        missing, alike = group.missing, group.alike
        self._load_s = np.zeros(len(rows)) if missing is None else missing[rows] / BANDWIDTH
        self._hazard = nodes.hazard[rows]
        whole = whole_s(np.full(len(rows), self._run_s), self._load_s)
        self._best = np.array(
            [np.argmin(self._cost), np.argmin(self._load_s), np.argmin(redone_s(whole, self._hazard))]
        )
        self._alike = np.zeros(len(rows)) if alike is None else alike[rows].astype(np.float64)
        self._slack_s = np.inf if group.deadline_at is None else group.deadline_at - board.view.now

    def features(self, at: Ints, given: Ints) -> tuple[Matrix, Matrix]:
        """Return features of one more task on places, and of their nodes: (q, P) and (q, N) float32.

        Args:
            at: (q,) indices of places.
            given: (q,) how many tasks of the group are there beyond what the board knows.
        """
        # The cheapest place and those that end soonest come along: costs and ends are told relative to theirs.
        at, given = np.append(at, self._best), np.append(given, (0, 0, 0))
        wanted = self._wanted if self._single else self._wanted[:, at]
        now = self._free[:, at] - wanted * given
        p = pair_features(self._columns(at, given, now, now - wanted)).astype(np.float32)[:-3]
        return p, self._nodes(at[:-3], now[:, :-3])

    def _columns(self, at: Ints, given: Ints, now: Floats, after: Floats) -> PairColumns:
        cpu, memory = np.maximum(after[CPU], 0.0), np.maximum(after[MEMORY], 0.0)
        gpu, has, none = np.maximum(after[FIRST_GPU:].sum(axis=0), 0.0), self._gpus[at], np.zeros(len(at))
        left_gpu = gpu / np.maximum(has, 1.0)
        added = none
        if self._kinds is not None and len(with_gpus := np.flatnonzero(has)):
            added = np.zeros(len(at))
            before, later = now[:, with_gpus], after[:, with_gpus]
            added[with_gpus] = fragments(self._kinds, later) - fragments(self._kinds, before)
        return PairColumns(
            fragments=added,
            left_cpu=cpu / self._size[0, at],
            left_memory=memory / self._size[1, at],
            left_gpu=left_gpu,
            largest_cpu=cpu / self._largest_cpu,
            largest_gpus=gpu / self._largest_gpus,
            hole=none,
            whole=left_gpu,
            needless=none if self._asks else (has > 0).astype(np.float64),
            load_s=self._load_s[at],
            run_s=none + self._run_s,
            cost=self._cost[at],
            hazard=self._hazard[at],
            slack_s=none + self._slack_s,
            alike=self._alike[at] + (given if self._group.missing is not None else 0),
        )

    def _nodes(self, at: Ints, now: Floats) -> Matrix:
        """Return the nodes' features with what the board and these tasks have taken since the round began."""
        y, free = self._y[at], np.maximum(now, 0.0)
        y[:, _CPU_SHARE] = free[CPU] / self._size[0, at]
        y[:, _MEMORY_SHARE] = free[MEMORY] / self._size[1, at]
        y[:, _GPU_SHARE] = free[FIRST_GPU:].sum(axis=0) / np.maximum(self._gpus[at], 1.0)
        y[:, _IDLE] *= y[:, _CPU_SHARE] >= 1.0
        return y
