"""`farlane ledger export` and `farlane ledger audit`: the public record as a file, replayed by whoever doubts it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.chain_options import read_network_file
from farlane.cli.connecting import with_client
from farlane.cli.output import counted, json_option, print_json, print_table, say
from farlane.domain.units import credits_text, parse_credits_floor
from farlane.errors import FarlaneError, InvalidInput
from farlane.sdk.client import AsyncClient

if TYPE_CHECKING:
    from farlane.ledger.audit.audit import Audit
    from farlane.ledger.audit.chain_view import ChainView
    from farlane.ledger.audit.deviations import Deviation
    from farlane.ledger.audit.receipts_audit import NamedReceipt
    from farlane.ledger.record import RecordEnd

MAX_SHOWN = 100
"""Deviations in the table; --json lists more."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
def export(file: Path, as_json: bool) -> None:
    """Write the network's public record to FILE: every leaf, tree head and voucher, without names or payloads.

    An export that was interrupted goes on where it was.
    """
    end = _fetch(file)
    if as_json:
        print_json({"file": str(file), "books": end.books, "leaves": end.leaves, "vouchers": end.vouchers})
        return
    counts = (
        f"{counted(end.books, 'book')}, {counted(end.leaves, 'leaf')}, {counted(end.vouchers, 'voucher')}"
    )
    click.echo(f"{file}: {counts}")


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--rpc", metavar="URL", help="The network's chain, at an endpoint that nobody who is audited runs."
)
@click.option(
    "--network",
    "network_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The network file; needed with --rpc.",
)
@click.option(
    "--receipts",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Receipts that nodes or publishers kept: each must be in the record.",
)
@click.option(
    "--block", type=click.IntRange(0), help="Look at the chain as of this block [default: the newest]."
)
@click.option(
    "--confirmations",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Look at the block so many before the newest, so that a reorganisation cannot take back what was seen.",
)
@click.option(
    "--moved",
    metavar="CREDITS",
    default="0",
    help="What one task may cost for bytes moved, on top of its lease [default: 0].",
)
@json_option
def audit(
    file: Path | None,
    rpc: str | None,
    network_file: Path | None,
    receipts: Path | None,
    block: int | None,
    confirmations: int,
    moved: str,
    as_json: bool,
) -> int:
    """Replay the public record in FILE, or of the current network, and list everything that deviates.

    With --rpc also against the chain. The exit code is 0 only where nothing deviates.
    """
    moved_nano = parse_credits_floor(moved)
    if (rpc is None) != (network_file is None):
        raise InvalidInput(
            "--rpc and --network belong together: an endpoint, and the file that says what is on it"
        )
    # The chain first: what is settled later is in a record that is fetched later.
    chain = (
        asyncio.run(_chain(rpc, network_file, block, confirmations))
        if rpc is not None and network_file is not None
        else None
    )
    named, unreadable = _receipts(receipts)
    with tempfile.TemporaryDirectory(prefix="farlane-audit-") as scratch:
        if file is None:
            file = Path(scratch) / "record.gz"
            _fetch(file)
        found = _audited(file, chain, named, moved_nano)
    if as_json:
        print_json({**_document(found), "unreadable_receipts": unreadable})
    else:
        _show(found, unreadable)
    return 0 if found.clean and not unreadable else 1


def _fetch(file: Path) -> RecordEnd:
    from farlane.sdk.record import RecordClient

    async def fetch(client: AsyncClient) -> RecordEnd:
        return await RecordClient(client.connection).export(file)

    return with_client(fetch)


def _audited(file: Path, chain: ChainView | None, receipts: list[NamedReceipt], moved_nano: int) -> Audit:
    from farlane.ledger.audit.audit import audit as replay
    from farlane.ledger.record_file import read_record

    return replay(read_record(file), chain, receipts, now_s=time.time(), moved_nano=moved_nano)


async def _chain(rpc: str, network_file: Path, block: int | None, confirmations: int) -> ChainView:
    from farlane.ledger.audit.chain_view import read_chain
    from farlane.ledger.rpc import RpcClient

    deployment = read_network_file(network_file)
    async with RpcClient(rpc, chain_id=deployment.chain_id) as client:
        return await read_chain(client, deployment, block, confirmations)


def _receipts(directory: Path | None) -> tuple[list[NamedReceipt], dict[str, str]]:
    """Return the receipts in a directory, and why each other file of it is none."""
    from farlane.ledger.audit.receipts_audit import NamedReceipt
    from farlane.ledger.receipt import MAX_BYTES, from_json

    found, unreadable = [], {}
    for path in _files(directory):
        try:
            with path.open("rb") as stream:
                found.append(NamedReceipt(path.name, from_json(stream.read(MAX_BYTES + 1))))
        except FarlaneError as error:
            unreadable[str(path)] = error.message
    return found, unreadable


def _files(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        yield from sorted(path for path in directory.glob("*.json") if path.is_file())


def _document(found: Audit) -> dict[str, object]:
    return {
        "clean": found.clean,
        "asked_chain": found.asked_chain,
        "counts": {severity.value: count for severity, count in found.counts.items()},
        "totals": asdict(found.totals),
        "deviations": [_deviation(one) for one in found.deviations],
    }


def _deviation(one: Deviation) -> dict[str, str]:
    return {"severity": one.severity.value, **asdict(one), "meaning": one.meaning}


def _show(found: Audit, unreadable: dict[str, str]) -> None:
    for name, value in _sums(found):
        click.echo(f"{name.ljust(12)} {value}")
    if found.deviations:
        click.echo()
        rows = [
            (one.severity.value, one.code, one.where, one.expected, one.found) for one in found.deviations
        ]
        print_table(("", "CODE", "WHERE", "EXPECTED", "FOUND"), rows[:MAX_SHOWN])
        click.echo()
        for code, meaning in dict.fromkeys((one.code, one.meaning) for one in found.deviations):
            click.echo(f"{code}: {meaning}")
    for path, why in unreadable.items():
        say(f"{path}: {why}")
    total = sum(found.counts.values())
    if total > MAX_SHOWN:
        say(f"{total - MAX_SHOWN} more are not shown; --json lists them")
    if not found.clean:
        click.echo(f"DEVIATES: {counted(found.deviating, 'deviation')}")
    elif found.asked_chain:
        click.echo("nothing deviates")
    else:
        click.echo("nothing deviates in the record; --rpc URL --network FILE holds it against the chain")


def _sums(found: Audit) -> list[tuple[str, str]]:
    totals = found.totals
    per_credit = totals.units_per_credit

    def units(amount: int) -> str:
        return credits_text(amount * 10**9 // per_credit)

    sums = [
        (
            "record",
            f"{counted(totals.books, 'book')}, {counted(totals.leaves, 'leaf')}, {counted(totals.vouchers, 'voucher')}",
        ),
        ("owed", f"{credits_text(totals.owed_nano)} credits"),
        (
            "signed",
            f"{units(totals.signed_units)} credits; {totals.unsigned_leaves} leaves await a signature",
        ),
        *((f"earned by {account}", credits_text(nano)) for account, nano in totals.earned.items()),
    ]
    if found.asked_chain:
        sums.append(
            ("settled", f"{units(totals.settled_units)} credits, {units(totals.locked_units)} locked")
        )
        sums.append(("chain", f"{totals.events} events up to block {totals.block}"))
    if totals.receipts:
        sums.append(("receipts", str(totals.receipts)))
    return sums
