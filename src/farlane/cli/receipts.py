"""`farlane receipt`: show a receipt file, and check it without trusting whoever wrote it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.output import json_option, money, print_json, print_table
from farlane.domain.ids import TaskId, task_text
from farlane.domain.units import bytes_text

if TYPE_CHECKING:
    from farlane.ledger.receipt import Finding, Receipt

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def receipt() -> None:
    """Show and check receipts: what a task used, produced and cost, signed by both sides."""


@receipt.command()
@file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what the receipt FILE says. Nothing is checked; see `farlane receipt verify`."""
    from farlane.ledger.receipt import from_json

    found = from_json(file.read_bytes())
    facts = dict(_facts(found))
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {value}")


@receipt.command()
@file_argument
@click.option(
    "--rpc", metavar="URL", help="Ask this chain too: an endpoint that neither side of the receipt runs."
)
@json_option
def verify(file: Path, rpc: str | None, as_json: bool) -> int:
    """Check the receipt FILE: signatures, proof and sums; with --rpc also that the channel exists and was settled."""
    from farlane.ledger.receipt import from_json
    from farlane.ledger.receipt import verify as check

    found = from_json(file.read_bytes())
    findings = check(found)
    if rpc is not None:
        findings += asyncio.run(_on_chain(rpc, found))
    good = all(finding.ok for finding in findings)
    if as_json:
        print_json(
            {"valid": good, "asked_chain": rpc is not None, "checks": [asdict(one) for one in findings]}
        )
        return 0 if good else 1
    print_table(
        ("CHECK", "", "WHY NOT"), [(one.check, "ok" if one.ok else "FAILED", one.message) for one in findings]
    )
    if good and rpc is None:
        click.echo("valid, as far as can be seen without a chain; --rpc URL asks one whether it was settled")
    else:
        click.echo("valid" if good else "NOT VALID: do not rely on it")
    return 0 if good else 1


async def _on_chain(url: str, found: Receipt) -> list[Finding]:
    from farlane.ledger.receipt_chain import verify_on_chain
    from farlane.ledger.rpc import RpcClient

    async with RpcClient(url) as rpc:
        return await verify_on_chain(rpc, found)


def _facts(found: Receipt) -> list[tuple[str, object]]:
    from farlane.ledger.leaf import BLAMES, FAILURES, Outcome

    leaf, voucher = found.leaf, found.voucher.voucher
    return [
        ("task", task_text(TaskId(leaf.task))),
        ("attempt", leaf.attempt),
        ("outcome", Outcome(leaf.outcome).name.lower().replace("_", " ")),
        ("failure", FAILURES[leaf.failure].value if leaf.failure else "-"),
        ("blame", BLAMES[leaf.blame].value if leaf.blame else "-"),
        ("ended", datetime.fromtimestamp(leaf.ended_ms / 1000, UTC).isoformat(timespec="milliseconds")),
        (
            "reserved",
            f"{leaf.cpu_milli / 1000:g} cores, {bytes_text(leaf.memory_bytes)}, {leaf.gpu_count} GPUs",
        ),
        ("lease", f"{leaf.lease_ms / 1000:g} s"),
        ("price", f"{money(leaf.hourly_nano)} credits an hour"),
        ("amount", f"{money(leaf.amount_nano)} credits"),
        ("input", leaf.input.hex()),
        ("output", leaf.output.hex()),
        ("payer", found.channel.payer),
        ("provider", found.channel.provider),
        ("channel", "0x" + found.channel.id.hex()),
        ("place", f"leaf {found.index} of {found.head.head.size}"),
        ("voucher", f"{voucher.cumulative} units for {voucher.tasks} tasks"),
        ("network", found.domain.network),
        ("chain", f"{found.domain.chain_id}, contract {found.domain.contract}"),
    ]
