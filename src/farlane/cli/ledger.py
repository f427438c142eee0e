"""`farlane ledger`: accounts, channels and history in credits, and settling now."""

from __future__ import annotations

import csv
import sys
from dataclasses import asdict
from datetime import UTC, datetime

import click

from farlane.cli.auditing import audit, export
from farlane.cli.claiming import claim
from farlane.cli.connecting import tell_dues, with_client
from farlane.cli.output import counted, json_option, money, print_json, print_table, say
from farlane.cli.own_account import account, deposit, withdraw
from farlane.cli.own_channels import close, open_, top_up
from farlane.domain.units import coins_text, credits_text, parse_credits_floor
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient
from farlane.wire.ledger import ChannelRow, HistoryRow, LedgerStatus


@click.group()
def ledger() -> None:
    """Show what is owed and paid, settle it, and audit the record. Amounts are credits."""


for command in (export, audit, account, deposit, withdraw, open_, top_up, close, claim):
    ledger.add_command(command)


@ledger.command()
@json_option
def balance(as_json: bool) -> None:
    """Show this organisation's account: what is free, locked, owed and paid, and on which chain."""

    async def ask(client: AsyncClient) -> LedgerStatus:
        found = await LedgerClient(client.connection).status()
        await tell_dues(client)
        return found

    found = with_client(ask)
    if as_json:
        print_json(asdict(found))
        return
    for name, value in _facts(found):
        click.echo(f"{name.ljust(12)}{value}")
    if found.problem:
        say(f"settlement waits: {found.problem}")


@ledger.command()
@click.option("--all", "everybody", is_flag=True, help="Every channel of the network, not only our own.")
@json_option
def channels(everybody: bool, as_json: bool) -> None:
    """List the channels: one between an organisation and each node it has used."""

    async def ask(client: AsyncClient) -> list[ChannelRow]:
        return await LedgerClient(client.connection).channels(all=everybody)

    rows = with_client(ask)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("BOOK", "ORGANISATION", "NODE", "STATE", "TASKS", "SIGNED", "OWED", "PROMISED", "PAID", "DEPOSIT", ""),
        [
            (str(row.book), row.organisation, row.node_name, row.state, str(row.tasks), str(row.promised_tasks),
             money(row.owed), money(row.promised), money(row.claimed), money(row.deposit), row.dispute)
            for row in rows
        ],
        right=(0, 4, 5, 6, 7, 8, 9),
    )  # fmt: skip
    for row in rows:
        if row.notice:
            say(row.notice)


@ledger.command()
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, all digits, for a spreadsheet.")
@json_option
def history(as_csv: bool, as_json: bool) -> None:
    """Show what moved this organisation's money on the chain, oldest first."""

    async def ask(client: AsyncClient) -> list[HistoryRow]:
        return await LedgerClient(client.connection).history()

    rows = with_client(ask)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    cells = [
        (_time(row.at), str(row.block), row.kind, _signed(row.amount), row.transaction, row.channel)
        for row in rows
    ]
    headings = ("time", "block", "what", "credits", "transaction", "channel")
    if as_csv:
        csv.writer(sys.stdout).writerows([headings, *cells])
        return
    short = [(*cell[:4], cell[4][:14], cell[5][:14]) for cell in cells]
    print_table([heading.upper() for heading in headings], short, right=(1, 3))


@ledger.command()
@json_option
def settle(as_json: bool) -> None:
    """Settle now what is due, rather than wait for the hub's next round.

    Where gas costs the hub something, on a chain that is not its own, this takes a token of an administrator, and
    vouchers below `hub.least_settlement` wait all the same.
    """

    async def ask(client: AsyncClient) -> tuple[list[str], str]:
        ledger = LedgerClient(client.connection)
        done = await ledger.settle()
        return done, "" if done or as_json else (await ledger.status()).problem

    done, problem = with_client(ask)
    if as_json:
        print_json(done)
        return
    say(
        f"{counted(len(done), 'transaction')} confirmed"
        if done
        else f"nothing confirmed yet: {problem}"
        if problem
        else "nothing to settle"
    )
    for transaction in done:
        click.echo(transaction)


@ledger.command()
@click.argument("credits_", metavar="CREDITS")
@json_option
def grant(credits_: str, as_json: bool) -> None:
    """Make CREDITS for this organisation; only on a chain embedded in a hub, whose credits are its own to make."""

    async def ask(client: AsyncClient) -> str:
        return await LedgerClient(client.connection).grant(parse_credits_floor(credits_))

    done = with_client(ask)
    if as_json:
        print_json({"transaction": done})
    else:
        click.echo(done)


def _facts(found: LedgerStatus) -> list[tuple[str, str]]:
    whose = "belongs to the hub: trust it as much as the hub" if found.embedded else "a chain of its own"
    return [
        ("account", f"{found.account} of {found.organisation}"),
        ("free", credits_text(found.free)),
        ("locked", f"{credits_text(found.locked)} in channels"),
        ("owed", f"{credits_text(found.owed)} for all work so far"),
        ("promised", f"{credits_text(found.promised)} by vouchers"),
        ("paid", f"{credits_text(found.claimed)} on the chain"),
        ("chain", f"{found.chain_id}, {found.place} ({whose})"),
        ("contract", f"{found.contract}, {counted(found.trades, 'trade')} on record"),
        *([("rpc", found.rpc)] if found.rpc else []),
        *([] if found.embedded else _gas(found)),
    ]


def _gas(found: LedgerStatus) -> list[tuple[str, str]]:
    """Return which accounts pay which gas, and what they have for it; on an embedded chain it costs nothing."""
    whose = "the hub holds it" if found.held else "yours"
    settles, opens = (coins_text(gwei * 10**9) for gwei in (found.operator_gwei, found.account_gwei))
    return [
        ("gas", f"{settles} at {found.operator}, the hub's own: settles"),
        ("", f"{opens} at {found.account}, {whose}: opens and fills channels"),
    ]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds")


def _signed(nano: int) -> str:
    return f"-{credits_text(-nano)}" if nano < 0 else credits_text(nano)
