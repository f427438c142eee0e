"""Builders of views and nodes for the scheduler's tests, and a strategy of random consistent views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import BlobRef, FunctionWork, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.scheduler.view import FIRST_GPU, Group, History, NodeColumns, RunningColumns, View

NOW = 1_000_000.0
A100 = GpuKind("A100", 80 * GIB)
T4 = GpuKind("T4", 16 * GIB)


def _row(cores, memory_gib=1, disk_gib=0, gpus=()):
    return [round(cores * 1000), round(memory_gib * GIB), round(disk_gib * GIB), *gpus]


class Build:
    """Short ways to make what a policy looks at; sizes in cores and GiB, times in seconds from `now`."""

    now, a100, t4 = NOW, A100, T4

    def nodes(self, *rows, kinds=(), price=None, gpu_price=None, rtt_s=0.0, hazard=0.0, offline=()):
        """Empty nodes of (cores, GiB, disk GiB, (GPUs by kind)) each; `price` is per core and second."""
        capacity = np.array([_row(*row) for row in rows], np.int64).reshape(len(rows), FIRST_GPU + len(kinds))
        n = len(rows)
        online = np.ones(n, np.bool_)
        online[list(offline)] = False
        return NodeColumns(
            tuple(NodeId(f"n{at}") for at in range(n)),
            tuple(kinds),
            capacity,
            capacity.copy(),
            online,
            np.array(price if price is not None else [0] * n, np.int64),
            np.zeros(n, np.int64),
            np.array(gpu_price if gpu_price is not None else [[0] * len(kinds)] * n, np.int64).reshape(
                n, len(kinds)
            ),
            np.full(n, rtt_s, np.float64),
            np.full(n, hazard, np.float64),
        )

    def group(self, nodes, key=0, count=1, demand=(1,), **changes):
        """A group of one alternative, or of several where `demand` is a list; eligible where it fits empty."""
        rows = demand if isinstance(demand, list) else [demand]
        width = nodes.capacity.shape[1]
        demands = np.array([_row(*row) + [0] * (width - len(_row(*row))) for row in rows], np.int64)
        demands = demands.reshape(len(rows), width)
        fits = (nodes.capacity[None, :, :] >= demands[:, None, :]).all(axis=2).any(axis=0)
        values = {
            "eligible": fits, "avoid": None, "priority": 50, "since": NOW, "deadline_at": None, "run_time_s": None,
            "timeout_s": 3600.0, "affordable": 1 << 40,
        }  # fmt: skip
        return Group(key, JobId(key + 1), count, demands, **(values | changes))

    def view(self, nodes, *groups, running=()):
        """A view in which `running` rows (node, demand, ends in s) are taken off what is free."""
        width = nodes.capacity.shape[1]
        demand = np.array(
            [_row(*row[1]) + [0] * (width - len(_row(*row[1]))) for row in running], np.int64
        ).reshape(len(running), width)
        at = np.array([row[0] for row in running], np.int64)
        free = nodes.free.copy()
        np.subtract.at(free, at, demand)
        ends = np.array([NOW + row[2] for row in running], np.float64)
        return View(NOW, replace(nodes, free=free), RunningColumns(at, demand, ends), groups)

    def placed(self, decision, key=0):
        """Tasks of a group by node row."""
        counts: dict[int, int] = {}
        for placement in decision.placements:
            if placement.group == key:
                counts[placement.node] = counts.get(placement.node, 0) + placement.count
        return counts

    def node_spec(self, name="alpha", cores=8, memory_gib=16, disk_gib=100, **changes):
        """A node's description."""
        gpus = changes.pop("gpus", ())
        values = {"organisation": "lab", "python": "3.11", "platform": "linux", "rates": RateVector()}
        capacity = Capacity(cores * 1000, memory_gib * GIB, disk_gib * GIB, gpus)
        return NodeSpec(node=NodeId(f"id-{name}"), name=name, capacity=capacity, **(values | changes))

    def job_spec(self, cores=1.0, memory_gib=1.0, disk_gib=1.0, gpu=None, **changes):
        """A Python function's job."""
        wanted = Resources(round(cores * 1000), round(memory_gib * GIB), round(disk_gib * GIB), gpu)
        values = {"function": FunctionWork(BlobRef("cid", 10), "3.11"), "organisation": "lab"}
        return JobSpec(name="job", resources=wanted, **(values | changes))

    def gpu(self, count=1, model=None, vram_gib=0):
        """A GPU request."""
        return GpuRequest(count, model, vram_gib * GIB)


_RUN_TIMES = st.sampled_from([None, 0.0, 0.0005, 0.02, 0.09, 0.3, 20.0, 500.0])


@st.composite
def _views(draw, max_groups=6, single_alternative=False):
    build = Build()
    kinds = draw(st.sampled_from([(), (T4,), (T4, A100)]))
    size = st.tuples(
        st.integers(1, 16), st.integers(1, 32), st.integers(0, 4),
        st.tuples(*[st.integers(0, 4)] * len(kinds)),
    )  # fmt: skip
    rows = draw(st.lists(size, min_size=0, max_size=6))
    nodes = build.nodes(
        *rows,
        kinds=kinds,
        price=[draw(st.integers(0, 2)) for _ in rows],
        rtt_s=draw(st.sampled_from([0.0, 0.05])),
        offline=[at for at in range(len(rows)) if draw(st.integers(0, 5)) == 0],
    )
    groups = [
        _draw_group(draw, build, nodes, kinds, key, single_alternative)
        for key in range(draw(st.integers(0, max_groups)))
    ]
    return build.view(nodes, *groups, running=_draw_running(draw, rows))


def _draw_running(draw, rows):
    """Leases in force: part of a node each, or a queue of short tasks beyond what it has."""
    running = []
    for at, (cores, memory, disk, gpus) in enumerate(rows):
        taken = draw(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0]))
        if taken:
            part = (
                cores * taken,
                memory * taken,
                disk * taken,
                tuple(int(gpu * min(taken, 1)) for gpu in gpus),
            )
            running.append((at, part, draw(st.sampled_from([-5.0, 0.0, 0.01, 3.0, 60.0, 3600.0]))))
    return running


def _draw_group(draw, build, nodes, kinds, key, single_alternative):
    cpu = (
        draw(st.sampled_from([0.25, 1, 2, 4])),
        draw(st.sampled_from([0.5, 1, 8])),
        draw(st.integers(0, 1)),
    )
    demand: tuple | list = cpu
    if kinds and draw(st.booleans()):
        alternatives = [
            (*cpu, tuple(draw(st.integers(1, 2)) if column == at else 0 for column in range(len(kinds))))
            for at in range(len(kinds))
        ]
        demand = alternatives[:1] if single_alternative else alternatives
    group = build.group(
        nodes, key, draw(st.integers(1, 3000)), demand,
        avoid=np.array([draw(st.booleans()) for _ in nodes.ids], np.bool_) if draw(st.booleans()) else None,
        priority=draw(st.integers(0, 100)),
        since=NOW - draw(st.sampled_from([0.0, 30.0, 90.0, 5000.0])),
        deadline_at=draw(st.sampled_from([None, NOW - 1, NOW + 60])),
        run_time_s=draw(_RUN_TIMES),
        timeout_s=draw(st.sampled_from([1.0, 600.0])),
        affordable=draw(st.sampled_from([0, 3, 1 << 40])),
        history=draw(st.sampled_from([None, History(2.0, 1.5, 2.5, 2.2, 3.0, 2.9, 7.0, 5.0, 2.0, 40.0)])),
    )  # fmt: skip
    eligible = group.eligible & np.array([draw(st.integers(0, 3)) > 0 for _ in nodes.ids], np.bool_)
    allowed = None
    if len(group.demands) > 1 and draw(st.booleans()):
        cells = [[draw(st.booleans()) for _ in nodes.ids] for _ in group.demands]
        allowed = np.array(cells, np.bool_).reshape(len(group.demands), len(nodes.ids))
    return replace(group, eligible=eligible, allowed=allowed)


@pytest.fixture(scope="session")
def build():
    """Return the builders."""
    return Build()


@pytest.fixture(scope="session")
def views():
    """Return the strategy of random views: views(max_groups, single_alternative)."""
    return _views
