"""What the network sees of one group's task on each of some places, also when some of its tasks are there already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.scheduler.board import Board
from farlane.scheduler.learned.features import PairColumns, pair_features
from farlane.scheduler.learned.view_features import BANDWIDTH, Matrix
from farlane.scheduler.ordering import duration_bound
from farlane.scheduler.sharing import Places, prices
from farlane.scheduler.view import CPU, FIRST_GPU, MEMORY, Floats, Group, Ints, View

USUAL = 8
"""Kinds of waiting tasks that count as usual, the most frequent first."""
_CPU_SHARE, _MEMORY_SHARE, _GPU_SHARE, _IDLE = 0, 1, 2, 4


@dataclass(frozen=True, slots=True)
class Usual:
    """One kind of waiting tasks: share of all that wait, milli-cores, GPUs of each kind that would do (0: not it)."""

    share: float
    cpu: int
    gpus: tuple[int, ...]


def usual(view: View) -> list[Usual]:
    """Return the most frequent kinds of waiting tasks; empty where nobody has or wants GPUs."""
    if not view.nodes.capacity[:, FIRST_GPU:].any():
        return []
    counts: dict[tuple[int, tuple[int, ...]], int] = {}
    for group in view.groups:
        if not len(group.demands):
            continue
        kind = (int(group.demands[0, CPU]), tuple(group.demands[:, FIRST_GPU:].max(axis=0).tolist()))
        counts[kind] = counts.get(kind, 0) + group.count
    total = max(1, sum(counts.values()))
    often = sorted(counts, key=lambda kind: (-counts[kind], kind))[:USUAL]
    return [Usual(counts[kind] / total, *kind) for kind in often]


def fragments(kinds: list[Usual], cpu: Floats, gpus: list[Floats]) -> Floats:
    """Return the free GPUs of each node that a usual task could not use, as expected: (n,).

    Args:
        kinds: the usual tasks.
        cpu: (n,) free milli-cores.
        gpus: (n,) free GPUs of each kind.

    Source: F(node) of Weng et al. 2023 (FGD), for whole GPUs.
    """
    useful = np.zeros(len(cpu))
    for kind in kinds:
        runs = np.zeros(len(cpu), np.bool_)
        for wanted, free in zip(kind.gpus, gpus, strict=True):
            if wanted:
                runs |= free >= wanted
        useful += kind.share * (runs & (cpu >= kind.cpu))
    return (1.0 - useful) * np.maximum(sum(gpus, np.zeros(len(cpu))), 0.0)


class Pairing:
    """One group and places for it; features of one more task on each place.

    What does not change with what is placed is computed once.
    """

    def __init__(self, board: Board, group: Group, places: Places, kinds: list[Usual], y: Matrix) -> None:
        self._group, self._kinds = group, kinds
        rows, nodes = places.node, board.view.nodes
        self._y = y[rows]
        single = len(group.demands) == 1
        wanted = group.demands[0] if single else group.demands[places.option].T
        self._free = [board.free[column, rows].astype(np.float64) for column in range(len(board.free))]
        self._wanted = [np.broadcast_to(np.float64(part), len(rows)) if single else part.astype(np.float64)
                        for part in wanted]  # fmt: skip
        self._cpu, self._memory = np.maximum(board.capacity[[CPU, MEMORY]][:, rows], 1)
        gpus = board.capacity[FIRST_GPU:].sum(axis=0)
        self._gpus = gpus[rows].astype(np.float64)
        self._largest_cpu = float(board.capacity[CPU].max(initial=1))
        self._largest_gpus = float(gpus.max(initial=0))
        self._asks = bool(group.demands[:, FIRST_GPU:].any())
        self._run_s = np.full(len(rows), duration_bound(group))
        by_option = [prices(nodes, demand, rows) for demand in group.demands.tolist()]
        price = by_option[0] if single else np.choose(places.option, by_option)
        self._cost = price * np.minimum(self._run_s, 1e9)
        self._cheapest = int(np.argmin(self._cost))
        missing = np.zeros(len(rows)) if group.missing is None else group.missing[rows]
        self._load_s = missing / BANDWIDTH
        self._alike = np.zeros(len(rows)) if group.alike is None else group.alike[rows].astype(np.float64)
        slack = np.inf if group.deadline_at is None else group.deadline_at - board.view.now
        self._slack_s = np.full(len(rows), slack)
        self._before = fragments(kinds, self._free[CPU], self._free[FIRST_GPU:]) if kinds else None

    def features(self, at: Ints, given: Ints) -> tuple[Matrix, Matrix]:
        """Return features of one more task on places, and of their nodes: (q, P) and (q, N) float32.

        Args:
            at: (q,) indices of places.
            given: (q,) how many tasks of the group are there beyond what the board knows.
        """
        # The cheapest place comes along, since costs are told relative to it.
        at, given = np.append(at, self._cheapest), np.append(given, 0)
        p = pair_features(self._columns(at, given)).astype(np.float32)[:-1]
        return p, self._nodes(at[:-1], given[:-1])

    def _columns(self, at: Ints, given: Ints) -> PairColumns:
        after = [
            free[at] - wanted[at] * (given + 1) for free, wanted in zip(self._free, self._wanted, strict=True)
        ]
        cpu, memory = np.maximum(after[CPU], 0.0), np.maximum(after[MEMORY], 0.0)
        gpu = np.maximum(sum(after[FIRST_GPU:], np.zeros(len(at))), 0.0)
        has = self._gpus[at]
        left_gpu = np.divide(gpu, has, out=np.zeros(len(at)), where=has > 0)
        return PairColumns(
            fragments=self._added(at, given, after),
            left_cpu=cpu / self._cpu[at],
            left_memory=memory / self._memory[at],
            left_gpu=left_gpu,
            largest_cpu=cpu / self._largest_cpu,
            largest_gpus=gpu / max(self._largest_gpus, 1.0),
            hole=np.zeros(len(at)),
            whole=left_gpu,
            needless=np.zeros(len(at)) if self._asks else (has > 0).astype(np.float64),
            load_s=self._load_s[at],
            run_s=self._run_s[at],
            cost=self._cost[at],
            hazard=np.zeros(len(at)),
            slack_s=self._slack_s[at],
            alike=self._alike[at] + (given if self._group.missing is not None else 0),
        )

    def _added(self, at: Ints, given: Ints, after: list[Floats]) -> Floats:
        if self._before is None:
            return np.zeros(len(at))
        before = self._before[at]
        if given.any():
            there = [free + wanted[at] for free, wanted in zip(after, self._wanted, strict=True)]
            before = fragments(self._kinds, there[CPU], there[FIRST_GPU:])
        return fragments(self._kinds, after[CPU], after[FIRST_GPU:]) - before

    def _nodes(self, at: Ints, given: Ints) -> Matrix:
        """Return the nodes' features with what the board and these tasks have taken since the round began."""
        y = self._y[at]
        free = [np.maximum(free[at] - wanted[at] * given, 0.0)
                for free, wanted in zip(self._free, self._wanted, strict=True)]  # fmt: skip
        y[:, _CPU_SHARE] = free[CPU] / self._cpu[at]
        y[:, _MEMORY_SHARE] = free[MEMORY] / self._memory[at]
        gpu, has = sum(free[FIRST_GPU:], np.zeros(len(at))), self._gpus[at]
        y[:, _GPU_SHARE] = np.divide(gpu, has, out=np.zeros(len(at)), where=has > 0)
        y[:, _IDLE] *= y[:, _CPU_SHARE] >= 1.0
        return y
