"""`farlane scheduler evaluate`: measure a policy's weights against every rule, and write the report."""

from __future__ import annotations

from pathlib import Path

import click

from farlane.cli.output import json_option, print_json, print_table, say
from farlane.cli.scheduler_measuring import (
    measuring_options,
    outcomes_directory,
    processes,
    progress_shown,
    traces_directory,
)

SHIPPED = "shipped"


@click.command()
@click.argument("checkpoint", default=SHIPPED, required=False, metavar="CHECKPOINT")
@measuring_options
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False),
    help="Write the report there: index.html and results.json.",
)  # fmt: skip
@click.option(
    "--sequences", type=click.IntRange(2, 1000), default=40, show_default=True, help="Sequences of each log."
)
@click.option(
    "--orders", type=click.IntRange(2, 100), default=10, show_default=True, help="Orders of each list."
)
@click.option(
    "--ablations", type=click.IntRange(0, 1000), default=10, show_default=True,
    help="Sequences of each log for ablations; 0: none.",
)  # fmt: skip
@json_option
def evaluate(
    checkpoint: str,
    directory: Path | None,
    output: Path | None,
    sequences: int,
    orders: int,
    ablations: int,
    workers: int | None,
    fresh: bool,
    as_json: bool,
) -> None:
    """Measure a CHECKPOINT against every rule on jobs it was not trained on; without one, the shipped weights.

    Average bounded slowdown on held-out sequences of each log, with and without backfill, and GPU allocation on each of
    openb's lists, with paired bootstrap intervals. `-o` writes a page with plots.
    """
    from farlane.lab.evaluation.assessment import Extent, assess
    from farlane.lab.evaluation.report.tables import PACKING_HEADS, STANDING_HEADS, standing_row
    from farlane.lab.evaluation.report.words import headline, losses
    from farlane.lab.evaluation.report.written import make_directory, results, write_report
    from farlane.lab.evaluation.rivals import read_weights

    loaded, size = read_weights(None if checkpoint == SHIPPED else Path(checkpoint))
    if output is not None:
        make_directory(output)
    with progress_shown() as progress:
        assessment = assess(
            loaded,
            size,
            traces_directory(directory),
            Extent(sequences, orders, ablations),
            cache=outcomes_directory(fresh),
            workers=processes(workers),
            progress=progress,
        )
    name = "the shipped weights" if checkpoint == SHIPPED else Path(checkpoint).name
    written = None if output is None else write_report(assessment, output, f"How {name} do")
    if as_json:
        print_json(results(assessment))
        return
    if assessment.held_out:
        print_table(STANDING_HEADS, [standing_row(each) for each in assessment.held_out])
    if assessment.lists:
        print_table(PACKING_HEADS, [standing_row(each) for each in assessment.lists])
    click.echo(headline(assessment))
    for sentence in losses(assessment):
        click.echo(f"  {sentence}")
    if written is not None:
        say(f"report: {written}")
