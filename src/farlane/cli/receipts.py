"""`farlane receipt`: fetch a receipt, show it, and check it without trusting whoever wrote it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import json_option, print_json, print_table, say
from farlane.domain.ids import TaskId, parse_task, task_text
from farlane.domain.units import bytes_text, credits_text
from farlane.errors import InvalidInput, NotFound, TooLarge, Unavailable
from farlane.sdk.client import AsyncClient

if TYPE_CHECKING:
    from farlane.ledger.receipt import Finding, Receipt
    from farlane.sdk.record import RecordClient

file_argument = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.group()
def receipt() -> None:
    """Fetch, show and check receipts: what a task used, produced and cost, signed by both sides."""


@receipt.command()
@click.argument("task")
@click.option("--attempt", type=click.IntRange(1), help="Only this attempt [default: the newest].")
@click.option("--all", "everything", is_flag=True, help="Every attempt, each in a file of its own.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, `-` for stdout; a directory with --all [default: j12.7.receipt.json here].",
)
@click.option(
    "--rpc",
    metavar="URL",
    help="Ask this chain which trees it settled, and prove in one of them: `verify --rpc` then finds its root there.",
)
@json_option
def get(
    task: str, attempt: int | None, everything: bool, output: Path | None, rpc: str | None, as_json: bool
) -> None:
    """Fetch the receipt of TASK (such as j12.7) from the hub and write it to a file."""
    from farlane.ledger.receipt import to_json

    found = _wanted(parse_task(task), attempt, everything, rpc)
    if output == Path("-"):
        for one in found:
            click.echo(to_json(one), nl=False)
        return
    written = [_write(one, task, output, several=everything) for one in found]
    if as_json:
        print_json([str(path) for path in written])
        return
    for path in written:
        click.echo(path)


def _wanted(task: TaskId, attempt: int | None, everything: bool, rpc: str | None) -> list[Receipt]:
    from farlane.sdk.record import RecordClient

    async def ask(client: AsyncClient) -> tuple[list[Receipt], int]:
        record = RecordClient(client.connection)
        found, unsigned = await record.receipts(task)
        if attempt is not None:
            found = [one for one in found if one.leaf.attempt == attempt]
        if not everything and attempt is None:
            found = found[-1:]
        return await _anchored(record, rpc, task, found), unsigned

    found, unsigned = with_client(ask)
    if not found and unsigned:
        raise Unavailable(
            f"{task_text(task)} has ended, but its receipt is not signed yet: a node signs for many tasks at once, "
            "every few seconds while it is connected; ask again in a moment"
        )
    if not found:
        raise NotFound(f"{task_text(task)} has no attempt {attempt}; leave --attempt out for the newest")
    if unsigned:
        say(f"{unsigned} more of {task_text(task)} await a signature")
    return found


async def _anchored(
    record: RecordClient, url: str | None, task: TaskId, found: list[Receipt]
) -> list[Receipt]:
    from farlane.ledger.rpc import RpcClient
    from farlane.sdk.anchored import anchored

    if url is None or not found:
        return found
    async with RpcClient(url, chain_id=found[0].domain.chain_id) as rpc:
        return await anchored(record, rpc, task, found)


def _write(one: Receipt, task: str, output: Path | None, *, several: bool) -> Path:
    from farlane.kit.files import atomic_write
    from farlane.ledger.receipt import to_json

    name = f"{task}.{one.leaf.attempt}.{one.leaf.part}.receipt.json" if several else f"{task}.receipt.json"
    path = (output or Path()) / name if several or output is None or output.is_dir() else output
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, to_json(one), mode=0o644)
    return path


@receipt.command()
@file_argument
@json_option
def show(file: Path, as_json: bool) -> None:
    """Show what the receipt FILE says. Nothing is checked; see `farlane receipt verify`."""
    found = _read(file)
    facts = dict(_facts(found))
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name.ljust(width)}  {value}")


@receipt.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--rpc", metavar="URL", help="Ask this chain too: an endpoint that neither side of the receipt runs."
)
@json_option
def verify(files: tuple[Path, ...], rpc: str | None, as_json: bool) -> int:
    """Check receipts: signatures, proof and sums; with --rpc also that the chain settled this tree.

    The exit code is 0 only where every FILE is valid.
    """
    checked = {file: _checked(file, rpc) for file in files}
    good = all(finding.ok for findings in checked.values() for finding in findings)
    if as_json:
        documents = [
            {
                "file": str(file),
                "valid": all(one.ok for one in findings),
                "asked_chain": rpc is not None,
                "checks": [asdict(one) for one in findings],
            }
            for file, findings in checked.items()
        ]
        print_json(documents if len(documents) > 1 else documents[0])
        return 0 if good else 1
    for file, findings in checked.items():
        if len(files) > 1:
            click.echo(click.style(str(file), bold=True))
        _show_findings(findings, asked_chain=rpc is not None)
    return 0 if good else 1


def _checked(file: Path, rpc: str | None) -> list[Finding]:
    from farlane.ledger.receipt import verify as check

    found = _read(file)
    findings = check(found)
    return findings if rpc is None else findings + asyncio.run(_on_chain(rpc, found))


def _show_findings(findings: list[Finding], *, asked_chain: bool) -> None:
    rows = [(one.check, "ok" if one.ok else "FAILED", one.message) for one in findings]
    print_table(("CHECK", "", "BECAUSE"), rows)
    good = all(one.ok for one in findings)
    if good and not asked_chain:
        click.echo("valid, as far as can be seen without a chain; --rpc URL asks one whether it was settled")
    else:
        click.echo("valid" if good else "NOT VALID: do not rely on it")


def _read(file: Path) -> Receipt:
    from farlane.ledger.receipt import MAX_BYTES, from_json

    with file.open("rb") as stream:
        raw = stream.read(MAX_BYTES + 1)
    try:
        return from_json(raw)
    except (InvalidInput, TooLarge) as error:  # one of several files, perhaps
        raise type(error)(f"{file}: {error}") from error


async def _on_chain(url: str, found: Receipt) -> list[Finding]:
    from farlane.ledger.receipt_chain import verify_on_chain
    from farlane.ledger.rpc import RpcClient

    async with RpcClient(url, chain_id=found.domain.chain_id) as rpc:
        return await verify_on_chain(rpc, found)


def _facts(found: Receipt) -> list[tuple[str, object]]:
    from farlane.ledger.leaf import BLAMES, FAILURES, Outcome

    leaf, voucher = found.leaf, found.voucher.voucher
    return [
        ("task", task_text(TaskId(leaf.task))),
        ("attempt", leaf.attempt),
        ("part", f"{leaf.part}, booked while it ran" if leaf.part else "the end"),
        ("outcome", Outcome(leaf.outcome).name.lower().replace("_", " ")),
        ("failure", FAILURES[leaf.failure].value if leaf.failure else "-"),
        ("blame", BLAMES[leaf.blame].value if leaf.blame else "-"),
        ("ended", datetime.fromtimestamp(leaf.ended_ms / 1000, UTC).isoformat(timespec="milliseconds")),
        (
            "reserved",
            f"{leaf.cpu_milli / 1000:g} cores, {bytes_text(leaf.memory_bytes)}, {leaf.gpu_count} GPUs",
        ),
        ("lease", f"{leaf.lease_ms / 1000:g} s"),
        ("price", f"{credits_text(leaf.hourly_nano)} credits an hour"),
        ("amount", f"{credits_text(leaf.amount_nano)} credits"),
        ("input", leaf.input.hex()),
        ("output", leaf.output.hex()),
        *_served(found),
        ("payer", found.channel.payer),
        ("provider", found.channel.provider),
        ("channel", "0x" + found.channel.id.hex()),
        ("place", f"leaf {found.index} of {found.head.head.size}"),
        ("voucher", f"{voucher.cumulative} units for {voucher.tasks} tasks"),
        ("network", found.domain.network),
        ("chain", f"{found.domain.chain_id}, contract {found.domain.contract}"),
    ]


def _served(found: Receipt) -> list[tuple[str, object]]:
    from farlane.ledger.statement import unpack_statement

    if not found.statement:
        return []
    served = unpack_statement(found.statement).served
    return [
        ("model", found.leaf.model.hex()),
        ("served", f"{served.requests} requests, {served.failed} of them failed or cancelled"),
        ("tokens", f"{served.prompt_tokens} of prompts, {served.completion_tokens} of completions"),
        ("bytes", f"{bytes_text(served.request_bytes)} asked, {bytes_text(served.reply_bytes)} answered"),
    ]
