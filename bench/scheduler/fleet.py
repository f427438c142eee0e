"""A day of mixed AI work on a made-up global network, under every rule worth showing and every policy that is added.

    python -m bench.scheduler.fleet [--scenario calm busy churny models] [--seeds 5] [--nodes 40] [--hours 24]
                                    [--policies NAME ...] [--plots DIR] [--json FILE]
                                    [--weights CHECKPOINT]
    python -m bench.scheduler.fleet --size NODES TASKS

Each policy runs the same worlds, one a seed. Cells are means over seeds with 95 % bootstrap intervals (seeds are
resampled). `overall` is the geometric mean of ratios to `product` in completion, slowdown, p95 wait, misses, bytes and
cost: below 1 is better. The last table has all scenarios, a cell of completion in s / p95 wait in s / missed in % /
overall each, and the geometric mean of what is overall. `--size` runs one world of that size under two rules and says
how long it takes. Plots need matplotlib.

`learned` runs the weights of `--weights`, else those that are shipped. To add a policy put a function from a world to
the state at its end into `POLICIES`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from bench.scheduler.fleet_plots import draw
from farlane.errors import FarlaneError
from farlane.lab.evaluation.rivals import LearnedPolicy, members_of, read_weights
from farlane.lab.generators.global_network import capacity, global_network
from farlane.lab.generators.settings import SCENARIOS, NetworkSettings, scenario
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.compiled import COMPILED
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import FleetScores, fleet_scores, overall
from farlane.scheduler.sim.learned_fleet import simulate_learned
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import WHOLE_GPU, World

PATIENCE_S = 6 * 3600.0
"""Under every rule: who waited longer goes first."""


def rule(order: Order, choice: Choice, guard: bool = False) -> Callable[[World], State]:
    return partial(simulate, order=order, choice=choice, guard=guard, patience_s=PATIENCE_S)


POLICIES: dict[str, Callable[[World], State]] = {
    "product": rule(Order.PRIORITY, Choice.PRODUCT, True),
    "product, shortest": rule(Order.SHORTEST, Choice.CHEAPEST, True),
    "FCFS, first fit": rule(Order.FCFS, Choice.FIRST_FIT),
    "FCFS, best fit, EASY": rule(Order.FCFS, Choice.BEST_FIT, True),
    "FCFS, FGD": rule(Order.FCFS, Choice.FGD),
    "DRF, Tetris": rule(Order.DOMINANT_SHARE, Choice.TETRIS),
    "SRTF, Tetris": rule(Order.SRTF, Choice.TETRIS),
    "LAS, fastest (Gavel-like)": rule(Order.LAS, Choice.FASTEST),
    "SJF, fastest": rule(Order.SJF, Choice.FASTEST),
    "SJF, soonest": rule(Order.SJF, Choice.SOONEST),
    "SAF, surviving": rule(Order.SAF, Choice.SURVIVING),
    "SAF, locality": rule(Order.SAF, Choice.LOCALITY),
    "SAF, cheapest": rule(Order.SAF, Choice.CHEAPEST),
    "EDF, soonest": rule(Order.EDF, Choice.SOONEST),
    "HRRN, surviving": rule(Order.HRRN, Choice.SURVIVING),
    "WFP3, soonest": rule(Order.WFP3, Choice.SOONEST),
    "FCFS, spread": rule(Order.FCFS, Choice.SPREAD),
}
Found = dict[str, list[FleetScores]]
"""Scores of each policy, by its name, one a seed."""
LEARNED = "learned"
BASE = "product"
COLUMNS = {
    "completion s": ("completion_mean_s", 1.0, "{:.0f}"), "p95 wait s": ("wait_p95_s", 1.0, "{:.0f}"),
    "slowdown": ("slowdown_mean", 1.0, "{:.2f}"), "GPUs used %": ("gpu_used", 100.0, "{:.1f}"),
    "missed %": ("missed", 100.0, "{:.2f}"), "moved TB": ("moved_bytes", 1e-12, "{:.2f}"),
    "cost": ("cost", 1.0, "{:.0f}"), "wasted h": ("wasted_s", 1 / 3600, "{:.0f}"),
    "fairness": ("fairness", 1.0, "{:.3f}"),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler.fleet")
    parser.add_argument("--scenario", nargs="+", choices=tuple(SCENARIOS), default=tuple(SCENARIOS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=NetworkSettings().nodes)
    parser.add_argument("--hours", type=float, default=NetworkSettings().hours)
    parser.add_argument("--policies", nargs="+", choices=(*POLICIES, LEARNED), default=(*POLICIES, LEARNED))
    parser.add_argument(
        "--weights", type=Path, help="checkpoint of the learned policy, in place of the shipped one"
    )
    parser.add_argument("--plots", type=Path, help="directory for plots of the first seed")
    parser.add_argument("--json", type=Path, help="file for all scores")
    parser.add_argument("--size", nargs=2, type=int, metavar=("NODES", "TASKS"))
    options = parser.parse_args()
    if not COMPILED:
        parser.error("numba is missing, and without it this takes days: pip install numba")
    try:
        if options.size:
            show_size(*options.size)
        else:
            if LEARNED in options.policies:
                POLICIES[LEARNED] = learned(options.weights)
            show_scenarios(options)
    except FarlaneError as error:
        parser.error(error.message)


def learned(path: Path | None) -> Callable[[World], State]:
    """Return the learned policy of a checkpoint, or of the one that is shipped."""
    members = members_of(read_weights(path)[0])
    return partial(simulate_learned, weights=LearnedPolicy.of(LEARNED, members).weights)


def show_scenarios(options: argparse.Namespace) -> None:
    """Print one table a scenario, and write what was asked for."""
    everything: dict[str, Found] = {}
    for name in options.scenario:
        settings = replace(scenario(name), nodes=options.nodes, hours=options.hours)
        everything[name] = run_scenario(name, settings, options.seeds, options.policies, options.plots)
        show_table(name, everything[name])
    if BASE in options.policies:
        show_summary(everything)
    if options.json:
        plain = {
            name: {policy: [run.as_dict() for run in runs] for policy, runs in found.items()}
            for name, found in everything.items()
        }
        options.json.write_text(json.dumps(plain, indent=1) + "\n")


def run_scenario(
    name: str, settings: NetworkSettings, seeds: int, policies: Sequence[str], plots: Path | None
) -> Found:
    """Return the scores of each policy on the worlds of some seeds."""
    found: Found = {policy: [] for policy in policies}
    for seed in range(seeds):
        world = check_world(global_network(settings, seed))
        states = {}
        for policy in policies:
            state = POLICIES[policy](world)
            found[policy].append(fleet_scores(world, state))
            if plots and seed == 0:
                states[policy] = state
        if states and plots:
            print(draw(plots, name, world, states, LEARNED))
    return found


def show_table(name: str, found: Found) -> None:
    """Print means and intervals."""
    tasks = np.mean([scores.tasks for scores in next(iter(found.values()))])
    print(f"\n### {name}: {tasks:,.0f} tasks a day\n")
    base = found.get(BASE)
    print(f"| policy | {' | '.join(COLUMNS)} |{' overall |' if base else ''}")
    print(f"|---|{'---:|' * (len(COLUMNS) + bool(base))}")
    for policy, runs in found.items():
        cells = [
            cell(np.array([getattr(run, score) for run in runs]) * scale, form)
            for score, scale, form in COLUMNS.values()
        ]
        if base:
            cells.append(cell(np.array(list(map(overall, runs, base))), "{:.3f}"))
        print(f"| {policy} | {' | '.join(cells)} |", flush=True)


def show_summary(everything: dict[str, Found]) -> None:
    """Print all scenarios in one table, the best policy first."""
    print(f"\n| policy | {' | '.join(everything)} | all |")
    print(f"|---|{'---:|' * (len(everything) + 1)}")
    rows = []
    for policy in next(iter(everything.values())):
        cells, means = [], []
        for found in everything.values():
            runs = found[policy]
            means.append(np.mean(list(map(overall, runs, found[BASE]))))
            times = (
                np.mean([getattr(run, name) for run in runs]) for name in ("completion_mean_s", "wait_p95_s")
            )
            missed = 100 * np.mean([run.missed for run in runs])
            cells.append(f"{' / '.join(f'{each:,.0f}' for each in times)} / {missed:.1f} / {means[-1]:.2f}")
        named = f"**{policy}**" if policy == LEARNED else policy
        rows.append((float(np.exp(np.mean(np.log(means)))), named, cells))
    for mean, named, cells in sorted(rows):
        print(f"| {named} | {' | '.join(cells)} | {mean:.3f} |")


def cell(values: np.ndarray, form: str) -> str:
    """Return a mean and its interval: percentiles of the means of 10,000 resamples."""
    resampled = values[np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return f"{form.format(values.mean())} [{form.format(low)}, {form.format(high)}]"


def show_size(nodes: int, tasks: int) -> None:
    """Print how long a large world takes: made, checked, run under two rules."""
    began = time.thread_time()
    world = sized(nodes, tasks)
    made = time.thread_time()
    check_world(world)
    checked = time.thread_time()
    tasks = len(world.tasks.arrival)
    print(
        f"{nodes:,} nodes, {tasks:,} tasks: made in {made - began:.1f} s, checked in {checked - made:.1f} s"
    )
    small = sized(4, 50)
    for name, run in (
        ("FCFS, first fit", rule(Order.FCFS, Choice.FIRST_FIT)),
        ("SJF, soonest", rule(Order.SJF, Choice.SOONEST)),
    ):
        run(small)  # compiles
        began = time.thread_time()
        scores: FleetScores = fleet_scores(world, run(world))
        spent = time.thread_time() - began
        print(
            f"{name}: {spent:.1f} CPU s, {tasks / spent:,.0f} tasks/s; completion {scores.completion_mean_s:.0f} s, "
            f"GPUs used {100 * scores.gpu_used:.0f} %",
            flush=True,
        )


def sized(nodes: int, tasks: int) -> World:
    """Return bursts of inference, about so many tasks, in as many hours as make the usual load of so many nodes."""
    settings = NetworkSettings(nodes=nodes, hours=1.0, inference=1.0, sweeps=0.0, tuning=0.0, pipelines=0.0)
    probe = global_network(settings, seed=0, most=2000)
    each = float((probe.tasks.run_s * probe.tasks.gpu_milli).mean()) / WHOLE_GPU
    hours = tasks * each / (settings.load * capacity(probe.nodes, probe.changes, 3600.0))
    return global_network(replace(settings, hours=hours), seed=0, most=tasks)


if __name__ == "__main__":
    main()
