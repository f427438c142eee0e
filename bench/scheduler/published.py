"""The simulator beside published tables: batch queues (RLScheduler) and packing of GPUs (FGD), rules alone.

    python -m bench.scheduler.published --traces DIR [--only queues packing] [--seeds 2] [--extra]

DIR has `swf/` with the four logs of the tables (Parallel Workloads Archive; DIR-LAB/deep-batch-scheduler) and `openb/`
with Alibaba's lists (clusterdata, cluster-trace-gpu-v2023), plain or gzip. None of them is part of farlane.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from farlane.errors import FarlaneError
from farlane.lab.published import SEQUENCE_JOBS, inflated_order, table_starts
from farlane.lab.traces.openb import read_nodes, read_pods
from farlane.lab.traces.swf import read_swf
from farlane.lab.worlds import packing_world, pool_world
from farlane.scheduler.sim.compiled import COMPILED
from farlane.scheduler.sim.fragments import usual_tasks
from farlane.scheduler.sim.packing import Packing, run_packing
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import bounded_slowdowns, gpu_allocation
from farlane.scheduler.sim.state import new_state

RULES = (Rule.FCFS, Rule.WFP3_PUBLISHED, Rule.UNICEP_PUBLISHED, Rule.SJF, Rule.F1)
EXTRA = tuple(rule for rule in Rule if rule not in RULES)
LOGS = {
    "Lublin-1": "lublin_256.swf", "SDSC-SP2": "SDSC-SP2-1998-4.2-cln.swf", "HPC2N": "HPC2N-2002-2.2-cln.swf",
    "Lublin-2": "lublin_256_new2.swf",
}  # fmt: skip
SLOWDOWNS = {
    ("Lublin-1", False): (7273.77, 19753.53, 22274.74, 277.35, 258.37),
    ("SDSC-SP2", False): (1727.54, 3000.88, 1848.45, 2680.55, 1232.06),
    ("HPC2N", False): (297.18, 426.99, 609.77, 157.71, 118.01),
    ("Lublin-2", False): (7842.47, 9523.18, 11265.31, 787.89, 698.34),
    ("Lublin-1", True): (235.82, 133.87, 307.23, 73.31, 75.07),
    ("SDSC-SP2", True): (1595.12, 1083.12, 548.01, 2167.84, 1098.22),
    ("HPC2N", True): (127.38, 97.39, 175.12, 122.04, 71.95),
    ("Lublin-2", True): (247.61, 318.35, 379.59, 91.99, 148.25),
}
"""Average bounded slowdown by the table in the README of DIR-LAB/deep-batch-scheduler, without and with backfill."""
PACKINGS = (Packing.RANDOM, Packing.BEST_FIT, Packing.FGD)
ALLOCATED = {
    "default": (87.47, 93.08, 95.39), "gpuspec33": (86.46, 93.09, 94.55), "gpushare60": (83.65, 89.36, 91.40),
    "multigpu30": (89.27, 94.72, 96.46), "cpu250": (80.41, 91.45, 93.41),
}  # fmt: skip
"""GPU allocation in percent at 130 % arrivals, expected results of hkust-adsl/kubernetes-scheduler-simulator."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler.published")
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=("queues", "packing"), default=("queues", "packing"))
    parser.add_argument("--seeds", type=int, default=2, help="arrival orders of packing")
    parser.add_argument("--extra", action="store_true", help="rules that the tables do not have")
    options = parser.parse_args()
    if not COMPILED:
        parser.error("numba is missing, and without it packing takes an hour: pip install numba")
    try:
        if "queues" in options.only:
            show_queues(options.traces / "swf", RULES + EXTRA * options.extra)
        if "packing" in options.only:
            show_packing(options.traces / "openb", options.seeds)
    except FarlaneError as error:
        parser.error(error.message)


def show_queues(directory: Path, rules: tuple[Rule, ...]) -> None:
    """Print average bounded slowdowns, and how far they are from the published ones."""
    print(f"| trace | backfill | {' | '.join(rule.name for rule in rules)} | largest difference |")
    print(f"|---|---|{'---:|' * (len(rules) + 1)}")
    jobs, spent_s = 0, 0.0
    for (name, backfill), published in SLOWDOWNS.items():
        trace = read_swf(_there(directory, LOGS[name]))
        starts = table_starts(len(trace))
        means = []
        for rule in rules:
            slowdowns = []
            for start in starts.tolist():
                world = pool_world(trace, start, SEQUENCE_JOBS)
                state = new_state(world)
                began = time.thread_time()
                run_queue(world, state, int(rule), backfill)
                spent_s += time.thread_time() - began
                jobs += SEQUENCE_JOBS
                slowdowns.append(bounded_slowdowns(world, state).mean())
            means.append(round(float(np.mean(slowdowns)), 2))
        worst = max(abs(ours - theirs) for ours, theirs in zip(means[: len(RULES)], published, strict=True))
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        print(f"| {name} | {'yes' if backfill else 'no'} | {cells} | {worst:.2f} |", flush=True)
    print(f"\n{jobs / spent_s:,.0f} jobs a CPU-second, the time to compile among it.\n")


def show_packing(directory: Path, seeds: int) -> None:
    """Print GPU allocations, and the published ones behind each."""
    nodes = read_nodes(_there(directory, "openb_node_list_gpu_node.csv"))
    print(f"| list | {' | '.join(rule.name for rule in PACKINGS)} |\n|---|{'---:|' * len(PACKINGS)}")
    for name, published in ALLOCATED.items():
        pods = read_pods(_there(directory, f"openb_pod_list_{name}.csv"), nodes.models)
        usual = usual_tasks(packing_world(nodes, pods, np.arange(len(pods))).tasks)
        cells = []
        for rule, theirs in zip(PACKINGS, published, strict=True):
            found = []
            for seed in range(seeds):
                order = inflated_order(nodes, pods, seed)
                world = packing_world(nodes, pods, order)
                state = new_state(world)
                # FGD's figures are of ties that go to the first node; the others' are of random ones.
                random = np.random.default_rng(seed).random((len(order), len(nodes.gpus)))
                noise = np.zeros((1, 1)) if rule is Packing.FGD else random
                run_packing(world, state, usual, int(rule), noise)
                found.append(100 * gpu_allocation(world, state))
            cells.append(f"{np.mean(found):.2f} ({theirs:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _there(directory: Path, name: str) -> Path:
    return next(_present(directory, name), directory / name)


def _present(directory: Path, name: str) -> Iterator[Path]:
    return (path for path in (directory / name, directory / f"{name}.gz") if path.is_file())


if __name__ == "__main__":
    main()
