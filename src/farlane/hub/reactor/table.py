"""The resource table: capacity and free resources of all nodes as matrices, and who could run what."""

from __future__ import annotations

import numpy as np

from farlane.domain.ids import NodeId
from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.requirements import Requirement
from farlane.scheduler.eligibility import allowed, capacity_row, demands, eligible
from farlane.scheduler.view import FIRST_GPU, Bools, Floats, Ints


class NodeTable:
    """Rows are nodes in the order in which they were first met; columns are those of the view.

    A row is never removed; a node that is gone is offline.
    """

    def __init__(self) -> None:
        self.ids: list[NodeId] = []
        self.rows: dict[NodeId, int] = {}
        self.specs: list[NodeSpec] = []
        self.gpu_kinds: tuple[GpuKind, ...] = ()
        self.capacity: Ints = np.zeros((0, FIRST_GPU), np.int64)
        self.free: Ints = np.zeros((0, FIRST_GPU), np.int64)
        self.online: Bools = np.zeros(0, np.bool_)
        self.core_second: Ints = np.zeros(0, np.int64)
        self.gib_second: Ints = np.zeros(0, np.int64)
        self.gpu_second: Ints = np.zeros((0, 0), np.int64)
        self.rtt_s: Floats = np.zeros(0, np.float64)
        self.hazard: Floats = np.zeros(0, np.float64)
        self._masks: dict[Requirement, Bools] = {}
        self._demands: dict[Requirement, Ints] = {}

    def put(self, spec: NodeSpec) -> None:
        """Add a node or replace its description; what it holds stays held."""
        row = self.rows.get(spec.node)
        if row is None:
            self.rows[spec.node] = len(self.ids)
            self.ids.append(spec.node)
            self.specs.append(spec)
            self._grow()
        else:
            self.specs[row] = spec
        self.know(tuple(kind for kind, _ in spec.capacity.gpus))
        self._fill(self.rows[spec.node], spec)

    def take(self, row: int, demand: Ints, count: int) -> None:
        """Subtract `count` demands from a node's free resources."""
        self.free[row] -= demand * count

    def give(self, row: int, demand: Ints, count: int) -> None:
        """Return `count` demands to a node's free resources."""
        self.free[row] += demand * count

    def mask(self, wanted: Requirement) -> Bools:
        """Return which nodes could ever run this: (n,) bool."""
        known = self._masks.get(wanted)
        have = 0 if known is None else len(known)
        if known is None or have < len(self.ids):
            more = np.fromiter((eligible(wanted, spec) for spec in self.specs[have:]), np.bool_)
            known = more if known is None else np.concatenate([known, more])
            self._masks[wanted] = known
        return known

    def demands(self, wanted: Requirement) -> Ints:
        """Return the alternatives of one task's demand: (k, 3 + g) int64."""
        known = self._demands.get(wanted)
        if known is None:
            known = self._demands[wanted] = demands(wanted.resources, self.gpu_kinds)
        return known

    def allowed(self, wanted: Requirement) -> Bools | None:
        """Return which alternative a price cap allows on which node: (k, n) bool, None where all are."""
        return allowed(wanted, self.specs, self.gpu_kinds)

    def demand(self, wanted: Requirement, gpu: GpuKind | None) -> Ints:
        """Return one task's demand when it takes GPUs of this kind: (3 + g,) int64."""
        alternatives = self.demands(wanted)
        row = 0 if gpu is None else int(np.argmax(alternatives[:, FIRST_GPU + self.gpu_kinds.index(gpu)] > 0))
        found: Ints = alternatives[row]
        return found

    def gpu_kind(self, demand: Ints) -> GpuKind | None:
        """Return which kind of GPU a demand takes, None when it takes none."""
        columns = np.flatnonzero(demand[FIRST_GPU:])
        return self.gpu_kinds[int(columns[0])] if len(columns) else None

    def _grow(self) -> None:
        """Add one empty row everywhere."""
        width = self.capacity.shape[1]
        self.capacity = np.vstack([self.capacity, np.zeros((1, width), np.int64)])
        self.free = np.vstack([self.free, np.zeros((1, width), np.int64)])
        self.online = np.append(self.online, False)
        self.core_second = np.append(self.core_second, 0)
        self.gib_second = np.append(self.gib_second, 0)
        self.gpu_second = np.vstack([self.gpu_second, np.zeros((1, len(self.gpu_kinds)), np.int64)])
        self.rtt_s = np.append(self.rtt_s, 0.0)
        self.hazard = np.append(self.hazard, 0.0)

    def know(self, kinds: tuple[GpuKind, ...]) -> None:
        """Add columns for GPU kinds never seen before; demands are then computed anew."""
        new = tuple(kind for kind in dict.fromkeys(kinds) if kind not in self.gpu_kinds)
        if not new:
            return
        self.gpu_kinds += new
        pad = np.zeros((len(self.ids), len(new)), np.int64)
        self.capacity = np.hstack([self.capacity, pad])
        self.free = np.hstack([self.free, pad])
        self.gpu_second = np.hstack([self.gpu_second, pad])
        self._demands.clear()

    def _fill(self, row: int, spec: NodeSpec) -> None:
        held = self.capacity[row] - self.free[row]
        self.capacity[row] = capacity_row(spec.capacity, self.gpu_kinds)
        self.free[row] = self.capacity[row] - held
        self.core_second[row] = spec.rates.core_second
        self.gib_second[row] = spec.rates.gib_second
        self.gpu_second[row] = [spec.rates.gpu_rate(kind) for kind in self.gpu_kinds]
        for wanted, known in self._masks.items():
            if row < len(known):
                known[row] = eligible(wanted, spec)
