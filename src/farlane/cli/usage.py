"""`farlane usage`: what was used and what it cost, or what models were asked, by what is asked, as a table or CSV."""

from __future__ import annotations

import csv
import re
import sys
import time
from collections.abc import Iterable

import click

from farlane.cli.connecting import with_client_and_dues
from farlane.cli.output import json_option, print_json, print_table
from farlane.domain.units import credits_text
from farlane.domain.usage import LAST_MONTH, ModelUsage, UsageRow, month_of
from farlane.errors import InvalidInput
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient

COLUMNS = ("organisation", "project", "publisher", "provider", "node")
"""What usage can be summed by, beside the month."""
MODEL_COLUMNS = ("organisation", "project", "deployment", "version", "day")
"""What usage of models can be summed by, beside the month."""
MODEL_FIGURES = (
    "requests", "failed", "prompt_tokens", "completion_tokens", "request_bytes", "reply_bytes",
)  # fmt: skip
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
Sums = dict[tuple[str, ...], list[int]]


@click.command()
@click.option("--month", help="One month, such as 2026-11 [default: this one].")
@click.option("--since", help="This month and all after it, such as 2026-01.")
@click.option(
    "--by", metavar="NAME,...",
    help=f"Sum by these: {', '.join(COLUMNS)}; with --models: {', '.join(MODEL_COLUMNS)} "
    "[default: organisation,project; with --models: organisation,deployment].",
)  # fmt: skip
@click.option("--models", is_flag=True, help="What served models were asked: requests, tokens, bytes.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, for a spreadsheet.")
@json_option
def usage(
    month: str | None, since: str | None, by: str | None, models: bool, as_csv: bool, as_json: bool
) -> None:
    """Show what this organisation has used, and what its nodes have done for others, in months of UTC.

    With --models: what it has asked of served models, and what others have asked of its own.
    """
    first, last = _months(month, since)
    if models:
        columns = _columns("organisation,deployment" if by is None else by, MODEL_COLUMNS)
        headings, rows = _of_models(columns, first, last)
    else:
        columns = _columns("organisation,project" if by is None else by, COLUMNS)
        headings, rows = _of_work(columns, first, last)
    if as_json:
        print_json([_document(headings, row) for row in rows])
    elif as_csv:
        csv.writer(sys.stdout).writerows([headings, *rows])
    else:
        count = len(headings)
        titles = [heading.upper().replace("_", " ") for heading in headings]
        print_table(titles, rows, right=range(1 + len(columns), count))


def _of_work(
    columns: tuple[str, ...], first: str, last: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    async def ask(client: AsyncClient) -> list[UsageRow]:
        return await LedgerClient(client.connection).usage(first, last)

    rows = with_client_and_dues(ask)
    sums = _summed([(_names(row.month, row, columns), (row.tasks, row.lease_ms, row.spent)) for row in rows])
    return ("month", *columns, "tasks", "hours", "credits"), [
        (*names, str(tasks), f"{lease_ms / 3_600_000:.4f}", credits_text(spent))
        for names, (tasks, lease_ms, spent) in sorted(sums.items())
    ]


def _of_models(
    columns: tuple[str, ...], first: str, last: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    async def ask(client: AsyncClient) -> list[ModelUsage]:
        return await LedgerClient(client.connection).model_usage(f"{first}-00", f"{last}-99")

    rows = with_client_and_dues(ask)
    sums = _summed([(_names(row.day[:7], row, columns), row.figures) for row in rows])
    return ("month", *columns, *MODEL_FIGURES), [
        (*names, *map(str, figures)) for names, figures in sorted(sums.items())
    ]


def _document(headings: tuple[str, ...], row: tuple[str, ...]) -> dict[str, str | int]:
    """Return a row for programs: counts as numbers, amounts and hours as the exact text that people see."""
    counts = ("tasks", *MODEL_FIGURES)
    return {name: int(cell) if name in counts else cell for name, cell in zip(headings, row, strict=True)}


def _columns(by: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InvalidInput(f"usage cannot be summed by {unknown[0]!r}; expected some of {', '.join(known)}")
    return names


def _names(month: str, row: UsageRow | ModelUsage, columns: tuple[str, ...]) -> tuple[str, ...]:
    return (month, *(str(getattr(row, column)) or "-" for column in columns))


def _months(month: str | None, since: str | None) -> tuple[str, str]:
    for given in (month, since):
        if given is not None and not _MONTH.fullmatch(given):
            raise InvalidInput(f"{given!r} is not a month; expected something like 2026-11")
    if since is not None:
        return since, month or LAST_MONTH
    return (month or month_of(time.time()),) * 2


def _summed(rows: Iterable[tuple[tuple[str, ...], tuple[int, ...]]]) -> Sums:
    sums: Sums = {}
    for names, figures in rows:
        known = sums.get(names, [0] * len(figures))
        sums[names] = [a + b for a, b in zip(known, figures, strict=True)]
    return sums
