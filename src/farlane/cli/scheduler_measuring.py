"""What commands that measure policies share: where traces and outcomes are, how many processes, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from farlane.cli.output import on_terminal

F = TypeVar("F", bound=Callable[..., Any])


def measuring_options(command: F) -> F:
    """Add `--traces`, `--workers` and `--fresh`."""
    for option in (
        click.option("--fresh", is_flag=True, help="Run everything anew, and keep nothing of it."),
        click.option("--workers", type=click.IntRange(1, 256), help="Processes [default: one a core]."),
        click.option(
            "--traces", "directory", type=click.Path(path_type=Path, file_okay=False),
            help="The directory of traces [default: traces below FARLANE_DIR or ~/.farlane].",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def traces_directory(named: Path | None) -> Path:
    """Return where traces are."""
    from farlane.sdk.context import data_directory

    return named if named is not None else data_directory() / "traces"


def outcomes_directory(fresh: bool) -> Path | None:
    """Return where outcomes of runs are kept, None where none shall be."""
    from farlane.sdk.context import data_directory

    return None if fresh else data_directory() / "evaluations"


def processes(wanted: int | None) -> int:
    """Return how many processes shall run."""
    from farlane.lab.evaluation.running import workers_here

    return wanted or workers_here()


@contextmanager
def progress_shown() -> Iterator[Callable[[int, int, str], None] | None]:
    """Lend what shows progress on a terminal, None where there is none."""
    if not on_terminal():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("starting", total=None)

        def show(done: int, total: int, what: str) -> None:
            bar.update(row, completed=done, total=total, description=what)

        yield show
