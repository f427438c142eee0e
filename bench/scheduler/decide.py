"""Decision latency of the placement rules: p50 and p99 of one round by size of the network.

    python bench/scheduler/decide.py [--rounds 100] [--json]

Each line is one situation: `cold`, every node empty; `steady`, most nodes full of leases in force, a few of them empty
again; `full`, nothing fits and groups are blocked. Every round decides on another random view, made outside of the
measured time; `cpu` is the thread's own time, which other work on the machine does not stretch; `check` is the time of
`policy.validate` on the decision. One process, one core; p99 of few rounds is close to the maximum.
"""

from __future__ import annotations

import argparse
import gc
import json
import time

import numpy as np

from farlane.domain.ids import JobId, NodeId
from farlane.domain.resources import GIB, GpuKind
from farlane.scheduler.policy import POLICIES, policy_named, validate
from farlane.scheduler.view import Group, NodeColumns, RunningColumns, View

NOW = 1_000_000.0
KINDS = (GpuKind("T4", 16 * GIB), GpuKind("A100", 80 * GIB))
SIZES = ((3, 1, 10_000), (100, 20, 100_000), (10_000, 50, 1_000_000))
COLUMNS = {
    "nodes": "nodes", "groups": "groups", "load": "load", "p50 ms": "p50_ms", "p99 ms": "p99_ms",
    "cpu p50": "cpu_p50_ms", "cpu p99": "cpu_p99_ms", "check": "check_p50_ms", "placed": "placed",
}  # fmt: skip
LOADS = {"cold": 0.0, "steady": 0.95, "full": 1.0}


def make_nodes(rng: np.random.Generator, n: int) -> NodeColumns:
    """Machines of 4 to 64 cores, one in four with GPUs of one kind."""
    cores = rng.choice([4, 8, 16, 32, 64], n)
    capacity = np.zeros((n, 3 + len(KINDS)), np.int64)
    capacity[:, 0], capacity[:, 1], capacity[:, 2] = cores * 1000, cores * 4 * GIB, 500 * GIB
    with_gpu = np.flatnonzero(rng.random(n) < 0.25)
    capacity[with_gpu, 3 + rng.integers(0, len(KINDS), len(with_gpu))] = rng.choice([1, 4, 8], len(with_gpu))
    price = rng.integers(5, 50, n)
    return NodeColumns(
        tuple(NodeId(f"n{at}") for at in range(n)), KINDS, capacity, capacity.copy(), rng.random(n) < 0.98,
        price, price // 4, np.tile(np.array([100, 900]), (n, 1)), rng.random(n) * 0.05, rng.random(n) * 1e-4,
    )  # fmt: skip


def make_group(rng: np.random.Generator, nodes: NodeColumns, key: int, count: int) -> Group:
    """Mixed work: mostly CPU, some GPU of any kind; run times from 2 ms to an hour, a third unknown."""
    row = [int(rng.choice([250, 1000, 2000, 8000])), int(rng.choice([1, 4, 16])) * GIB, GIB]
    demands = [[*row, 0, 0]] if rng.random() < 0.7 else [[*row, 1, 0], [*row, 0, 1]]
    matrix = np.array(demands, np.int64)
    return Group(
        key, JobId(key + 1), count, matrix, (nodes.capacity[None] >= matrix[:, None]).all(axis=2).any(axis=0), None,
        int(rng.integers(0, 101)), NOW - float(rng.random() * 600), None,
        None if rng.random() < 0.33 else float(10 ** rng.uniform(-2.7, 3.5)), 3600.0, 1 << 40,
    )  # fmt: skip


def make_view(rng: np.random.Generator, n: int, groups: int, tasks: int, load: float) -> View:
    """A view whose nodes are taken to `load` by about three leases each; at `steady` one in twenty is empty again."""
    nodes = make_nodes(rng, n)
    busy = np.flatnonzero(rng.random(n) < load) if load else np.zeros(0, np.int64)
    rows = np.repeat(busy, 3)
    demand = nodes.capacity[rows] // 3
    demand[::3] += nodes.capacity[busy] - 3 * (nodes.capacity[busy] // 3)
    np.subtract.at(nodes.free, rows, demand)
    running = RunningColumns(rows, demand, NOW + rng.random(len(rows)) * 3600)
    return View(
        NOW, nodes, running, tuple(make_group(rng, nodes, key, tasks // groups) for key in range(groups))
    )


def measure(policy: str, view: View) -> tuple[float, float, float, int, int]:
    """Return seconds and CPU seconds to decide, seconds to validate, placements and tasks placed."""
    rule = policy_named(policy)
    start, cpu = time.perf_counter(), time.thread_time()
    decision = rule.decide(view)
    decided, cpu = time.perf_counter(), time.thread_time() - cpu
    validate(view, decision)
    checked = time.perf_counter()
    placements = decision.placements
    return decided - start, cpu, checked - decided, len(placements), sum(each.count for each in placements)


def run(policy: str, size: tuple[int, int, int], load: str, rounds: int) -> dict[str, object]:
    """Measure one situation."""
    rng = np.random.default_rng(7)
    many = max(1, 100_000 // (size[0] * size[1])) if size[0] < 1000 else 1
    samples = []
    for _ in range(rounds):
        view = make_view(rng, *size, LOADS[load])
        gc.collect()
        samples += [measure(policy, view) for _ in range(min(many, 20))]
    table = np.array(samples)
    decide, cpu, check = (table[:, :3] * 1000).T
    return {
        "policy": policy, "nodes": size[0], "groups": size[1], "tasks": size[2], "load": load, "rounds": len(samples),
        "p50_ms": round(float(np.percentile(decide, 50)), 3), "p99_ms": round(float(np.percentile(decide, 99)), 3),
        "cpu_p50_ms": round(float(np.percentile(cpu, 50)), 3), "cpu_p99_ms": round(float(np.percentile(cpu, 99)), 3),
        "check_p50_ms": round(float(np.percentile(check, 50)), 3), "placements": int(np.median(table[:, 3])),
        "placed": int(np.median(table[:, 4])),
    }  # fmt: skip


def main() -> None:
    """Print one line a situation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100, help="views per situation")
    parser.add_argument("--policy", choices=sorted(POLICIES), action="append", help="default: all")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    wanted = parser.parse_args()
    if not wanted.json:
        print(f"{'policy':15}" + "".join(f"{head:>9}" for head in COLUMNS))
    for policy in wanted.policy or sorted(POLICIES):
        for size in SIZES:
            for load in LOADS:
                line = run(policy, size, load, wanted.rounds)
                if wanted.json:
                    print(json.dumps(line))
                else:
                    print(f"{policy:15}" + "".join(f"{line[key]:>9}" for key in COLUMNS.values()))


if __name__ == "__main__":
    main()
