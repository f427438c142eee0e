"""`farlane budget`: what an organisation and its projects may spend and hold at once, and how far that is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import json_option, print_json, print_table
from farlane.domain.caps import (
    CPU_MILLI,
    DEFAULT_ALERTS,
    GPUS,
    LEASES,
    MEMORY_BYTES,
    OPEN_TASKS,
    Budget,
    Cap,
    CapState,
    gpus_of,
)
from farlane.domain.units import bytes_text, credits_text, parse_bytes, parse_cpu_milli, parse_credits_floor
from farlane.errors import InvalidInput
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient

HEADINGS = ("ORGANISATION", "PROJECT", "SET BY", "CAP", "AT MOST", "USED", "RESERVED", "USED %", "ALERTS %")


@click.group()
def budget() -> None:
    """Cap what your organisation and its projects spend and hold at once. At a cap, jobs wait."""


@budget.command("set")
@click.option("--project", default="", help="Of this project [default: of the whole organisation].")
@click.option("--organisation", default="", help="A ceiling for this organisation; for the hub's owner.")
@click.option("--month", help="Credits in a calendar month (UTC); `none` lifts this and every other cap.")
@click.option("--total", help="Credits over all time, for a grant.")
@click.option("--leases", help="Tasks running at once.")
@click.option("--cores", help="Cores in use at once, such as 16 or 0.5.")
@click.option("--memory", help="Memory in use at once, such as 64GiB.")
@click.option(
    "--gpus", multiple=True, metavar="N | MODEL=N", help="GPUs in use at once, in all or of a model."
)
@click.option(
    "--open-tasks", help="Tasks that wait or run at once; more are refused when they are submitted."
)
@click.option("--alert", help="Percents of each budget at which the hub tells, such as 50,80,100.")
@json_option
def set_(
    project: str,
    organisation: str,
    gpus: tuple[str, ...],
    alert: str | None,
    as_json: bool,
    **figures: str | None,
) -> None:
    """Set budgets and quotas. What runs goes on: it was reserved when it started."""
    given = {name: text for name, text in figures.items() if text is not None}
    quotas = {
        quota: _or_none(given[name], read) for name, quota, read in _QUOTA_OPTIONS if name in given
    } | dict(map(_gpu_quota, gpus))
    month, total = given.get("month"), given.get("total")
    if not given and not gpus and alert is None:
        raise InvalidInput("nothing to set: give a budget, a quota or --alert; `--help` lists them")

    def changed(before: Cap) -> Cap:
        wanted = {**before.quotas, **quotas}
        return replace(
            before,
            organisation=organisation,
            monthly_nano=before.monthly_nano if month is None else _or_none(month, _credits),
            total_nano=before.total_nano if total is None else _or_none(total, _credits),
            quotas={name: most for name, most in sorted(wanted.items()) if most is not None},
            alerts=before.alerts if alert is None else _percents(alert),
        )

    async def change(client: AsyncClient) -> list[CapState]:
        ledger = LedgerClient(client.connection)
        known = [one.cap for one in await ledger.caps(organisation)]
        of_this = (cap for cap in known if (cap.project, cap.ceiling) == (project, bool(organisation)))
        return await ledger.set_cap(changed(next(of_this, Cap("", project))))

    _show(with_client(change), as_json)


@budget.command("ls")
@click.option("--organisation", default="", help="Of this one [default: yours]; for the hub's owner.")
@click.option("--all", "everything", is_flag=True, help="Of every organisation; for the hub's owner.")
@json_option
def list_(organisation: str, everything: bool, as_json: bool) -> None:
    """List budgets and quotas with what is spent, reserved and in use."""

    async def ask(client: AsyncClient) -> list[CapState]:
        return await LedgerClient(client.connection).caps(organisation, all=everything)

    _show(with_client(ask), as_json)


def _show(states: list[CapState], as_json: bool) -> None:
    if as_json:
        print_json(states)
        return
    rows = [row for state in states for row in _rows(state)]
    if rows:
        print_table(HEADINGS, rows, right=range(4, 8))
    else:
        click.echo("no budgets; `farlane budget set --month CREDITS` makes one")


def _rows(state: CapState) -> Iterator[tuple[str, ...]]:
    """Yield a line for each figure of a cap."""
    cap = state.cap
    whose = cap.organisation, cap.project or "(all)", "hub's owner" if cap.ceiling else cap.organisation
    for kind, name, spent in (
        (Budget.MONTH, f"credits of {state.month}", state.spent),
        (Budget.TOTAL, "credits in all", state.spent_total),
    ):
        most = cap.budget(kind)
        if most is not None:
            yield (
                *whose, name, credits_text(most), credits_text(spent), credits_text(state.reserved),
                _share(spent, most), ",".join(map(str, cap.alerts)),
            )  # fmt: skip
    for quota, most in cap.quotas.items():
        used = state.used.get(quota, 0)
        yield (*whose, _thing(quota), _figure(quota, most), _figure(quota, used), "", _share(used, most), "")


def _thing(quota: str) -> str:
    names = {CPU_MILLI: "cores", MEMORY_BYTES: "memory", GPUS: "GPUs", OPEN_TASKS: "open tasks"}
    return names.get(quota, quota.removeprefix(f"{GPUS}:"))


def _figure(quota: str, amount: int) -> str:
    if quota == MEMORY_BYTES:
        return bytes_text(amount)
    return f"{amount / 1000:g}" if quota == CPU_MILLI else str(amount)


def _share(used: int, most: int) -> str:
    return f"{100 * used // most}%" if most else "-"


def _or_none(text: str, read: Callable[[str], int]) -> int | None:
    return None if text == "none" else read(text)


def _credits(text: str) -> int:
    nano = parse_credits_floor(text)
    if not nano and float(text):
        raise InvalidInput(
            f"{text} credits are less than the least there is, {credits_text(1)}: give that or more, or 0"
        )
    return nano


def _count(text: str) -> int:
    if not text.isdecimal():
        raise InvalidInput(f"{text!r} is not a number to hold at once; expected 0 or more, or none")
    return int(text)


def _gpu_quota(text: str) -> tuple[str, int | None]:
    model, equals, count = text.rpartition("=")
    if bool(equals) != bool(model.strip()):
        raise InvalidInput(f"{text!r} is not a quota on GPUs; expected something like 8 or A100=2")
    return gpus_of(model.strip()) if equals else GPUS, _or_none(count.strip(), _count)


def _percents(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InvalidInput(
            f"{text!r} are not percents; expected something like {','.join(map(str, DEFAULT_ALERTS))}"
        )
    return tuple(map(int, parts))


_QUOTA_OPTIONS: tuple[tuple[str, str, Callable[[str], int]], ...] = (
    ("leases", LEASES, _count),
    ("cores", CPU_MILLI, parse_cpu_milli),
    ("memory", MEMORY_BYTES, parse_bytes),
    ("open_tasks", OPEN_TASKS, _count),
)
