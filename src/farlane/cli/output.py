"""Output: data to stdout as tables or JSON, everything else to stderr."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import Field, fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeVar

import click

from farlane.domain.ids import job_text, task_text
from farlane.domain.units import CREDIT

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(value: object) -> None:
    """Write one JSON document to stdout."""
    click.echo(json.dumps(plain(value), indent=2))


def print_json_line(value: object) -> None:
    """Write one JSON object on one line to stdout, at once."""
    click.echo(json.dumps(plain(value)))


def plain(value: object) -> Any:
    """Return a value as what JSON knows: bytes become text, jobs `j12`, money stays an integer of nano-credits."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_field(field, getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    return value


def _plain_field(field: Field[Any], value: Any) -> Any:
    # At run time an id is only a number; the declared type tells what it counts.
    if field.type == "JobId":
        return job_text(value)
    return task_text(value) if field.type == "TaskId" else plain(value)


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 node`, `3 nodes`, `2 leaves`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('f')}ves" if noun.endswith("f") else f"{number} {noun}s"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Write a plain table to stdout; `right` are the columns to align on the right."""
    widths = [max(len(str(row[at])) for row in (headings, *rows)) for at in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(cells)
        ]
        return "  ".join(padded).rstrip()

    click.echo(click.style(line(headings), bold=True))
    for row in rows:
        click.echo(line(row))


def say(text: str) -> None:
    """Tell people something on stderr."""
    click.echo(text, err=True)


def money(nano: int) -> str:
    """Return an amount of credits for a table: six digits behind the point, never rounded down to nothing."""
    if nano == 0:
        return "0"
    if nano < CREDIT // 10**6:
        return "<0.000001"
    return f"{nano / CREDIT:.6f}"


def ago(moment: float) -> str:
    """Return how long ago a moment was."""
    from farlane.domain.units import seconds_text

    return "-" if not moment else seconds_text(max(0.0, time.time() - moment))


def on_terminal() -> bool:
    """Tell whether somebody watches stderr."""
    return sys.stderr.isatty()


def ask(question: str, *, default: bool) -> bool:
    """Ask on the terminal; a Ctrl-C ends the question at once, also where an event loop has taken that signal.

    Raises:
        Abort: Ctrl-C, or the end of the input.
    """
    # asyncio answers the first Ctrl-C by cancelling its task, which a question that blocks the loop never sees.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return click.confirm(question, default=default, err=True)
    finally:
        signal.signal(signal.SIGINT, before)
