"""Every table of the scheduler, the shipped weights beside rules and published figures, by one command.

    python -m bench.scheduler --traces DIR [--checkpoint FILE] [--sequences 40] [--orders 10] [--workers 2] [-o DIR]

DIR as `bench.scheduler.published` has it. Published figures: RLScheduler's README (DIR-LAB/deep-batch-scheduler) and
FGD's expected results (hkust-adsl/kubernetes-scheduler-simulator). What ran once is kept in `.cache/evaluations`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.scheduler.published import ALLOCATED
from farlane.errors import FarlaneError
from farlane.lab.evaluation.assessment import Assessment, Extent, assess
from farlane.lab.evaluation.report.tables import PACKING_HEADS, STANDING_HEADS, number, standing_row
from farlane.lab.evaluation.report.words import PUBLISHED_FGD, headline, losses
from farlane.lab.evaluation.report.written import write_report
from farlane.lab.evaluation.rivals import read_weights
from farlane.lab.evaluation.running import workers_here
from farlane.lab.evaluation.standings import Standing
from farlane.scheduler.sim.compiled import COMPILED

KEPT = Path(".cache/evaluations")
RL_SCHEDULER = {
    "Lublin-1": 254.67, "Lublin-1, backfill": 58.64, "SDSC-SP2": 466.44, "SDSC-SP2, backfill": 397.82,
    "HPC2N": 117.01, "HPC2N, backfill": 86.14, "Lublin-2": 724.51, "Lublin-2, backfill": 118.79,
}  # fmt: skip
"""Average bounded slowdowns that RLScheduler publishes, trained and tested on the same jobs."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler")
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, help="default: the shipped weights")
    parser.add_argument("--sequences", type=int, default=40, help="held-out sequences of each log")
    parser.add_argument("--orders", type=int, default=10, help="orders of arrival of each list")
    parser.add_argument("--workers", type=int, default=workers_here())
    parser.add_argument("-o", "--output", type=Path, help="write the report there, too")
    options = parser.parse_args()
    if not COMPILED:
        parser.error("numba is missing, and without it this takes hours: pip install numba")
    extent = Extent(options.sequences, options.orders, ablation_sequences=10 if options.output else 0, toys=0)
    try:
        checkpoint, size = read_weights(options.checkpoint)
        found = assess(
            checkpoint, size, options.traces, extent, cache=KEPT, workers=options.workers, progress=said
        )
        show(found)
        if options.output is not None:
            print(f"\nreport: {write_report(found, options.output, 'The scheduler, measured')}")
    except FarlaneError as error:
        parser.error(error.message)


def said(done: int, total: int, what: str) -> None:
    """Tell on stderr how far it is."""
    print(
        f"\r{done} of {total} cases, {what:40}",
        end="\n" if done == total else "",
        file=sys.stderr,
        flush=True,
    )


def show(found: Assessment) -> None:
    """Print all tables as Markdown."""
    if found.tables:
        print("\n## Published protocol: 10 x 1,024 jobs, average bounded slowdown\n")
        heads: Sequence[str] = ("trace", "SJF", "F1", "RLScheduler (published)", "best rule", "ours")
        markdown(heads, [published_row(each) for each in found.tables])
    if found.held_out:
        print("\n## Held out: sequences that the weights were not trained on\n")
        markdown(STANDING_HEADS, [standing_row(each) for each in found.held_out])
        beforehand = [
            standing_row(each, line)
            for each in found.held_out
            if each.chosen and (line := each.line(each.chosen))
        ]
        if beforehand:
            print("\nAgainst the rule that was best on the validation range:\n")
            markdown([head.replace("in hindsight", "beforehand") for head in STANDING_HEADS], beforehand)
    if found.lists:
        print("\n## Packing: GPU allocation in percent at 130 % arrivals\n")
        heads = (
            "list",
            "Random",
            "BestFit",
            "FGD (fixed ties)",
            "FGD (random ties)",
            "FGD (published)",
            "ours",
        )
        markdown(heads, [list_row(each) for each in found.lists])
        print("\nAgainst the best rule:\n")
        markdown(PACKING_HEADS, [standing_row(each) for each in found.lists])
    print("\n## Decision latency, numpy, one core, microseconds\n")
    heads = ("candidates", "tasks p50", "tasks p99", "nodes p50", "nodes p99")
    markdown(
        heads,
        [
            [f"{each.candidates:,}", *(f"{value:,.0f}" for value in (
                each.tasks_p50_us, each.tasks_p99_us, each.nodes_p50_us, each.nodes_p99_us,
            ))]
            for each in found.latency
        ],
    )  # fmt: skip
    print(f"\nThe checkpoint has {found.bytes:,} bytes. {headline(found)}\n")
    for sentence in losses(found):
        print(f"* {sentence}")


def published_row(each: Standing) -> list[str]:
    """Return a trace's cells of the published protocol."""
    name = each.setting.removesuffix(", published protocol")
    rules = [line.mean if (line := each.line(rule)) else float("nan") for rule in ("SJF", "F1")]
    theirs = RL_SCHEDULER.get(name)
    best = f"{number(each.best.mean)} ({each.best.rival})"
    return [name, *map(number, rules), "" if theirs is None else number(theirs), best, number(each.mean)]


def list_row(each: Standing) -> list[str]:
    """Return a list's cells."""
    name = each.setting.removeprefix("openb ")
    rules = ("RANDOM", "BEST_FIT", PUBLISHED_FGD, "FGD")
    cells = [f"{100.0 - line.mean:.2f}" if (line := each.line(rule)) else "" for rule in rules]
    theirs = ALLOCATED.get(name)
    return [name, *cells, "" if theirs is None else f"{theirs[2]:.2f}", f"{100.0 - each.mean:.2f}"]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    print(f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
