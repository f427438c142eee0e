"""Days of a made-up network through the hub's own reactor, in virtual time, under each of its policies.

    python -m bench.scheduler.hub_day [--scenario calm busy churny models] [--seeds 3] [--nodes 16] [--hours 4]
                                      [--policies NAME ...] [--json FILE]

Every event is the reactor's own and every policy the one that a hub runs, the learned one with its shipped weights on
numpy; a policy may also be a checkpoint's file. A cell is completion in s / p95 wait in s / missed in % / overall; that
is the geometric mean of ratios to `fifo` on the same day in completion, slowdown, p95 wait, misses and cost: below 1 is
better. The last column is the geometric mean of what is overall, with a 95 % bootstrap interval over days.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from farlane.lab.generators.settings import SCENARIOS, scenario
from farlane.lab.hub_days import DayScores, day_scores, hub_day
from farlane.lab.policies import policy_of
from farlane.lab.replay import replay

POLICIES = ("fifo", "shortest-first", "best-fit", "spread", "learned")
BASE = "fifo"
EXTRA = {"completion_mean_s": 1.0, "slowdown_mean": 0.0, "wait_p95_s": 1.0, "missed": 1e-3, "cost": 0.0}
"""Scores in `overall`, and what is added to each lest a zero decide."""
Key = tuple[str, int, str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler.hub_day")
    parser.add_argument("--scenario", nargs="+", choices=tuple(SCENARIOS), default=tuple(SCENARIOS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--hours", type=float, default=4.0)
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file for all scores")
    options = parser.parse_args()
    policies = tuple(dict.fromkeys((BASE, *options.policies)))
    keys = [
        (name, seed, policy)
        for name in options.scenario
        for seed in range(options.seeds)
        for policy in policies
    ]
    asked = [(key, options.nodes, options.hours) for key in keys]
    found = dict(zip(keys, every(asked, options.workers), strict=True))
    show(found, options.scenario, options.seeds, policies)
    if options.json:
        rows = [
            {"scenario": key[0], "seed": key[1], "policy": key[2], **asdict(each)}
            for key, each in found.items()
        ]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def every(asked: Sequence[tuple[Key, int, float]], workers: int) -> list[DayScores]:
    """Return what comes of each day, in as many processes; in this one where one will do."""
    if workers <= 1:
        return list(map(run, asked))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(run, asked))


def run(asked: tuple[Key, int, float]) -> DayScores:
    """Return what comes of one day under one policy."""
    (name, seed, policy), nodes, hours = asked
    day = hub_day(replace(scenario(name), nodes=nodes, hours=hours), seed)
    return day_scores(day, replay(day.history, policy_of(policy), stretch=day.stretch))


def overall(found: DayScores, base: DayScores) -> float:
    """Return the logarithm of the geometric mean of one day's scores over another policy's."""
    logs = [
        np.log((getattr(found, name) + more) / (getattr(base, name) + more)) for name, more in EXTRA.items()
    ]
    return float(np.mean(logs))


def show(found: dict[Key, DayScores], scenarios: Sequence[str], seeds: int, policies: Sequence[str]) -> None:
    """Print the table, the best policy first."""
    print(f"| policy | {' | '.join(scenarios)} | all |")
    print(f"|---|{'---:|' * (len(scenarios) + 1)}")
    rows = []
    for policy in policies:
        logs, cells = np.empty((len(scenarios), seeds)), []
        for at, name in enumerate(scenarios):
            days = [found[name, seed, policy] for seed in range(seeds)]
            logs[at] = [overall(day, found[name, seed, BASE]) for seed, day in enumerate(days)]
            completion, wait = (
                np.mean([getattr(day, each) for day in days]) for each in ("completion_mean_s", "wait_p95_s")
            )
            missed = 100 * np.mean([day.missed for day in days])
            cells.append(f"{completion:,.0f} / {wait:,.0f} / {missed:.1f} / {np.exp(logs[at].mean()):.2f}")
        drawn = np.random.default_rng(0).integers(0, seeds, (10_000, len(scenarios), seeds))
        means = np.take_along_axis(np.broadcast_to(logs, drawn.shape), drawn, axis=2).mean(axis=(1, 2))
        low, high = np.exp(np.percentile(means, [2.5, 97.5]))
        rows.append((float(np.exp(logs.mean())), policy, cells, low, high))
    for mean, policy, cells, low, high in sorted(rows):
        print(f"| {policy} | {' | '.join(cells)} | {mean:.3f} [{low:.3f}, {high:.3f}] |")


if __name__ == "__main__":
    main()
