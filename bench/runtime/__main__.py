"""`make bench`: rounds of all engines in shuffled order; prints medians and the ratios of paired rounds."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from importlib.metadata import version

ENGINES = {
    "farlane, durable": ("bench.runtime.on_farlane", "durable"),
    "farlane, relaxed": ("bench.runtime.on_farlane", "relaxed"),
    "Ray tasks": ("bench.runtime.on_ray", "tasks"),
    "Ray actors": ("bench.runtime.on_ray", "actors"),
}
Round = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.runtime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--singles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    order = random.Random(options.seed)
    rounds: list[Round] = []
    for number in range(options.rounds):
        names = list(ENGINES)
        order.shuffle(names)
        rounds.append({name: one_run(name, options.tasks, options.singles) for name in names})
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    show(rounds, options.tasks)


def one_run(name: str, tasks: int, singles: int) -> dict[str, float]:
    module, kind = ENGINES[name]
    command = [sys.executable, "-W", "ignore", "-m", module, kind, str(tasks), str(singles)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=os.environ | {"RAY_DEDUP_LOGS": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def show(rounds: list[Round], tasks: int) -> None:
    cores = os.cpu_count()
    print(
        f"\nNo-op, 1 KB in and out, 2 slots, {tasks} tasks, {len(rounds)} rounds; {cores} cores, {platform.machine()},"
    )
    print(f"Python {platform.python_version()}, farlane {version('farlane')}, Ray {version('ray')}\n")
    print("| engine | tasks/s | CPU us/task, whole process tree | one at a time, p50 ms |")
    print("|---|---|---|---|")
    for name in ENGINES:
        medians = [median(rounds, name, key) for key in ("tasks_per_s", "cpu_us_per_task", "p50_ms")]
        print(f"| {name} | {medians[0]:.0f} | {medians[1]:.0f} | {medians[2]:.2f} |")
    print("\n| ratio, median of paired rounds | tasks/s | CPU per task | p50 |")
    print("|---|---|---|---|")
    for ours in ("farlane, durable", "farlane, relaxed"):
        for theirs in ("Ray tasks", "Ray actors"):
            cells = [ratio(rounds, ours, theirs, key) for key in ("tasks_per_s", "cpu_us_per_task", "p50_ms")]
            print(f"| {ours} / {theirs} | {cells[0]:.1f}x | {cells[1]:.2f}x | {cells[2]:.2f}x |")


def median(rounds: list[Round], name: str, key: str) -> float:
    return statistics.median(done[name][key] for done in rounds)


def ratio(rounds: list[Round], ours: str, theirs: str, key: str) -> float:
    return statistics.median(done[ours][key] / done[theirs][key] for done in rounds)


if __name__ == "__main__":
    main()
