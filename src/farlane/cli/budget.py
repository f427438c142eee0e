"""`farlane budget`: what an organisation and its projects may spend in a month and hold at once."""

from __future__ import annotations

from collections.abc import Callable

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import json_option, print_json, print_table
from farlane.domain.caps import DEFAULT_ALERTS, Cap, CapState
from farlane.domain.units import credits_text, parse_credits_floor
from farlane.errors import InvalidInput
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient


@click.group()
def budget() -> None:
    """Cap what your organisation and its projects spend in a month and hold at once. At a cap, jobs wait."""


@budget.command("set")
@click.option("--project", default="", help="Of this project [default: of the whole organisation].")
@click.option("--month", help="Credits in a calendar month (UTC); `none` lifts the cap.")
@click.option("--leases", help="Tasks running at once; `none` lifts the quota.")
@click.option("--alert", help="Percents of the month's credits at which the hub tells, such as 50,80,100.")
@json_option
def set_(project: str, month: str | None, leases: str | None, alert: str | None, as_json: bool) -> None:
    """Set a budget or quota. What runs goes on: it was reserved when it started."""
    if month is leases is alert is None:
        raise InvalidInput("nothing to set: give --month, --leases or --alert")

    async def change(client: AsyncClient) -> list[CapState]:
        ledger = LedgerClient(client.connection)
        known = next((one.cap for one in await ledger.caps() if one.cap.project == project), None)
        before = known or Cap("", project)
        return await ledger.set_cap(
            Cap(
                "",
                project,
                before.monthly_nano if month is None else _or_none(month, parse_credits_floor),
                before.max_leases if leases is None else _or_none(leases, _count),
                before.alerts if alert is None else _percents(alert),
            )
        )

    _show(with_client(change), as_json)


@budget.command("ls")
@json_option
def list_(as_json: bool) -> None:
    """List budgets and quotas with what is spent and reserved."""
    _show(with_client(lambda client: LedgerClient(client.connection).caps()), as_json)


def _show(states: list[CapState], as_json: bool) -> None:
    if as_json:
        print_json(states)
        return
    if not states:
        click.echo("no budgets; `farlane budget set --month CREDITS` makes one")
        return
    rows = [
        (one.cap.project or "(all)", one.month, _text(one.cap.monthly_nano), credits_text(one.spent),
         credits_text(one.reserved), _used(one), str(one.leases),
         "-" if one.cap.max_leases is None else str(one.cap.max_leases), ",".join(map(str, one.cap.alerts)))
        for one in states
    ]  # fmt: skip
    headings = ("PROJECT", "MONTH", "BUDGET", "SPENT", "RESERVED", "USED", "LEASES", "QUOTA", "ALERTS %")
    print_table(headings, rows, right=range(2, 8))


def _text(nano: int | None) -> str:
    return "-" if nano is None else credits_text(nano)


def _used(one: CapState) -> str:
    return f"{100 * one.spent // one.cap.monthly_nano}%" if one.cap.monthly_nano else "-"


def _or_none(text: str, read: Callable[[str], int]) -> int | None:
    return None if text == "none" else read(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput(f"{text!r} is not a number of leases; expected 0 or more, or none")
    return int(text)


def _percents(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InvalidInput(
            f"{text!r} are not percents; expected something like {','.join(map(str, DEFAULT_ALERTS))}"
        )
    return tuple(map(int, parts))
