"""`farlane scheduler compare`: two policies on the same sequences, and what the difference shows."""

from __future__ import annotations

from pathlib import Path

import click

from farlane.cli.output import json_option, print_json, print_table
from farlane.cli.scheduler_measuring import (
    measuring_options,
    outcomes_directory,
    processes,
    progress_shown,
    traces_directory,
)


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@measuring_options
@click.option("--rule", metavar="NAME", help="Set A and B beside this rule, too.")
@click.option(
    "--sequences", type=click.IntRange(2, 1000), default=40, show_default=True, help="Sequences of each log."
)
@click.option(
    "--orders", type=click.IntRange(2, 100), default=10, show_default=True, help="Orders of each list."
)
@json_option
def compare(
    first: str,
    second: str,
    directory: Path | None,
    rule: str | None,
    sequences: int,
    orders: int,
    workers: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Compare policy A with policy B on the same jobs, in pairs, and say what the difference shows.

    A policy is `shipped`, a checkpoint's file (*.npz), or a rule: of queues (FCFS, SJF, F1, WFP3, ...), which are then
    compared on logs, or of packing (BEST_FIT, FGD, ...), which are compared on lists. The verdict is `better` or
    `worse` (of A) only where the whole 95 % interval says so.
    """
    from farlane.lab.evaluation.comparing import HEADS, compare_policies, row

    with progress_shown() as progress:
        compared = compare_policies(
            (first, second) if rule is None else (first, second, rule),
            traces_directory(directory),
            sequences=sequences,
            orders=orders,
            cache=outcomes_directory(fresh),
            workers=processes(workers),
            progress=progress,
        )
    if as_json:
        print_json([{"setting": each.setting, "a": each.ours, "lines": each.lines} for each in compared])
        return
    print_table(HEADS, [row(each, line) for each in compared for line in each.lines])
