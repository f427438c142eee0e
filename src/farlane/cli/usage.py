"""`farlane usage`: what was used and what it cost, by month and whatever else is asked, as a table or CSV."""

from __future__ import annotations

import csv
import re
import sys
import time

import click

from farlane.cli.connecting import with_client_and_dues
from farlane.cli.output import json_option, print_json, print_table
from farlane.domain.units import credits_text
from farlane.domain.usage import LAST_MONTH, UsageRow, month_of
from farlane.errors import InvalidInput
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient

COLUMNS = ("organisation", "project", "publisher", "provider", "node")
"""What usage can be summed by, beside the month."""
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
Sums = dict[tuple[str, ...], list[int]]


@click.command()
@click.option("--month", help="One month, such as 2026-11 [default: this one].")
@click.option("--since", help="This month and all after it, such as 2026-01.")
@click.option(
    "--by", default="organisation,project", show_default=True, metavar="NAME,...",
    help=f"Sum by these: {', '.join(COLUMNS)}.",
)  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, for a spreadsheet.")
@json_option
def usage(month: str | None, since: str | None, by: str, as_csv: bool, as_json: bool) -> None:
    """Show what this organisation has used, and what its nodes have done for others, in months of UTC."""
    columns = _columns(by)
    first, last = _months(month, since)

    async def ask(client: AsyncClient) -> list[UsageRow]:
        return await LedgerClient(client.connection).usage(first, last)

    sums = _summed(with_client_and_dues(ask), columns)
    headings = ("month", *columns, "tasks", "hours", "credits")
    rows = [
        (*names, str(tasks), f"{lease_ms / 3_600_000:.4f}", credits_text(spent))
        for names, (tasks, lease_ms, spent) in sorted(sums.items())
    ]
    if as_json:
        print_json([dict(zip(headings, row, strict=True)) for row in rows])
    elif as_csv:
        csv.writer(sys.stdout).writerows([headings, *rows])
    else:
        count = len(headings)
        print_table([heading.upper() for heading in headings], rows, right=range(count - 3, count))


def _columns(by: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise InvalidInput(f"usage cannot be summed by {unknown[0]!r}; expected some of {', '.join(COLUMNS)}")
    return names


def _months(month: str | None, since: str | None) -> tuple[str, str]:
    for given in (month, since):
        if given is not None and not _MONTH.fullmatch(given):
            raise InvalidInput(f"{given!r} is not a month; expected something like 2026-11")
    if since is not None:
        return since, month or LAST_MONTH
    return (month or month_of(time.time()),) * 2


def _summed(rows: list[UsageRow], columns: tuple[str, ...]) -> Sums:
    sums: Sums = {}
    for row in rows:
        names = (row.month, *(str(getattr(row, column)) or "-" for column in columns))
        found = sums.setdefault(names, [0, 0, 0])
        for at, more in enumerate((row.tasks, row.lease_ms, row.spent)):
            found[at] += more
    return sums
