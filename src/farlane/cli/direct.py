"""`farlane direct`: find a node on chain and have it run a command, without any hub."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import Chain, network_chain, network_option, rpc_option, signing_options
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, money, print_json, print_table, say
from farlane.errors import InvalidInput
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.domain.jobs import JobSpec
    from farlane.ledger.accounts import PrivateKey
    from farlane.sdk.direct import DirectPublisher, DirectRun
    from farlane.sdk.direct_nodes import FoundNode

RECEIPTS = "receipts"


@click.group()
def direct() -> None:
    """Call a node yourself: it is found on chain, paid over a channel of your own, and no hub takes part."""


@direct.command()
@network_option
@rpc_option
@json_option
def nodes(network_file: Path, rpc: str, as_json: bool) -> None:
    """List the nodes that can be called, and what they ask; credits an hour for one core and one GiB."""
    found, silent = asyncio.run(_nodes(network_file, rpc))
    rows = [_row(one) for one in found]
    if as_json:
        print_json({"nodes": rows, "silent": [{"key": one.key, "why": why} for one, why in silent]})
        return
    print_table(
        ("KEY", "NAME", "ENDPOINT", "CORES", "HOUR"),
        [(r["key"], r["name"], r["endpoint"], f"{r['cores']:g}", money(r["hour_nano"])) for r in rows],
        right=(3, 4),
    )
    for entry, why in silent:
        say(f"{entry.key}: {why}")


async def _nodes(network_file: Path, url: str) -> tuple[list[FoundNode], list[Any]]:
    from farlane.sdk.direct_nodes import find_nodes

    async with network_chain(network_file, url) as chain:
        return await find_nodes(chain.rpc, chain.deployment)


def _row(node: FoundNode) -> dict[str, Any]:
    from farlane.domain.prices import hourly_ceiling
    from farlane.domain.resources import GIB, Resources

    spec = node.terms.spec
    hour = hourly_ceiling(spec.rates, Resources(cpu_milli=1000, memory_bytes=GIB))
    return {
        "key": node.entry.key, "name": spec.name, "endpoint": node.entry.listing.endpoint,
        "cores": spec.capacity.cpu_milli / 1000, "hour_nano": hour,
    }  # fmt: skip


@direct.command(context_settings={"ignore_unknown_options": True})
@network_option
@signing_options
@click.option(
    "--node", "wanted", default="cheapest", show_default=True, metavar="ADDRESS", help="Which node."
)
@click.option("--cpu", default="1", show_default=True, help="Cores to reserve.")
@click.option("--memory", default="1GiB", show_default=True, help="Memory to reserve.")
@click.option("--disk", default="1GiB", show_default=True, help="Scratch space to reserve.")
@click.option(
    "--max-duration", default="10m", show_default=True, help="Longest run; with the rest it makes the price."
)
@click.option("--max-price", help="The most credits the task may cost.")
@click.option(
    "--deposit", default="0", help="Credits to put into a new channel [default: what the task needs]."
)
@click.option("-i", "--input", "inputs", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file to bring along, under its name; again for more.")  # fmt: skip
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="GLOB", help="Files to bring back; again for more."
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where they go [default: here].",
)
@click.option("--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Where the receipt goes.")
@click.option("--dir", "directory", help="Where channels are kept [default: ~/.farlane/channels].")
@json_option
@click.argument("command", nargs=-1, required=True)
def run(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, as_json: bool,
    command: tuple[str, ...], **options: Any,
) -> int:  # fmt: skip
    """Run COMMAND on a node of the network, print what it prints, and keep the receipt."""
    from farlane.ledger.receipt import to_json

    inputs = {path.name: path.read_bytes() for path in options["inputs"]}
    spec = _spec(command, inputs, options)
    key = signing_key(key_name, password_file)
    done = asyncio.run(_run(network_file, rpc, key, spec, inputs, options))
    file = options["receipt"] or _receipt_file(done)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(to_json(done.receipt))
    for path, content in done.outputs.items():
        target = options["into"] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return _tell(done, file, as_json)


def _spec(command: tuple[str, ...], inputs: dict[str, bytes], options: dict[str, Any]) -> JobSpec:
    from farlane.domain.resources import Resources
    from farlane.domain.units import parse_bytes, parse_cpu_milli, parse_seconds
    from farlane.sdk.direct import command_spec

    if len(inputs) < len(options["inputs"]):
        raise InvalidInput("two input files have the same name; expected each name once")
    return command_spec(
        command[0] if len(command) == 1 else shlex.join(command),
        resources=Resources(
            parse_cpu_milli(options["cpu"]), parse_bytes(options["memory"]), parse_bytes(options["disk"])
        ),
        timeout_s=parse_seconds(options["max_duration"]),
        inputs=inputs,
        outputs=options["outputs"],
    )


async def _run(
    network_file: Path,
    url: str,
    key: PrivateKey,
    spec: JobSpec,
    inputs: dict[str, bytes],
    options: dict[str, Any],
) -> DirectRun:
    from farlane.domain.units import parse_credits_floor
    from farlane.ledger.vouchers import units_floor

    async with network_chain(network_file, url) as chain:
        publisher, node = await _publisher(chain, key, spec, options)
        quote = publisher.quote_ceiling(spec)
        say(f"node {node.entry.key} at {node.entry.listing.endpoint}: at most {money(quote)} credits")
        deposit = units_floor(parse_credits_floor(options["deposit"]), chain.deployment.units_per_credit)
        cap = options["max_price"]
        return await publisher.run(
            spec, inputs, max_nano=None if cap is None else parse_credits_floor(cap), deposit_units=deposit
        )


async def _publisher(
    chain: Chain, key: PrivateKey, spec: JobSpec, options: dict[str, Any]
) -> tuple[DirectPublisher, FoundNode]:
    from farlane.ledger.accounts import parse_address
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.sdk.direct import DirectPublisher
    from farlane.sdk.direct_nodes import by_key, cheapest, find_nodes

    found, silent = await find_nodes(chain.rpc, chain.deployment)
    for entry, why in silent:
        say(f"{entry.key}: {why}")
    wanted = options["wanted"]
    node = cheapest(found, spec) if wanted == "cheapest" else by_key(found, parse_address(wanted))
    given = options["directory"]
    directory = Path(given).expanduser() if given else data_directory() / "channels"
    return DirectPublisher(directory, EthereumLedger(chain.rpc, chain.deployment), key, node), node


def _receipt_file(done: DirectRun) -> Path:
    receipt = done.receipt
    return data_directory() / RECEIPTS / f"{receipt.channel.id.hex()[:16]}-{receipt.index}.json"


def _tell(done: DirectRun, file: Path, as_json: bool) -> int:
    failure = done.failure
    if as_json:
        print_json(
            {
                "failure": None if failure is None else {"kind": failure.kind, "message": failure.message},
                "stdout": done.stdout, "stderr": done.stderr, "files": sorted(done.outputs),
                "lease_ms": done.leaf.lease_ms, "amount_nano": done.leaf.amount_nano, "receipt": file.absolute(),
            }
        )  # fmt: skip
    else:
        sys.stdout.buffer.write(done.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(done.stderr)
        sys.stderr.flush()
        say(f"{done.leaf.lease_ms / 1000:g} s, {money(done.leaf.amount_nano)} credits; receipt in {file}")
        if failure is not None:
            say(f"failed ({failure.kind.value}): {failure.message}")
    return 0 if failure is None else 1


@direct.command()
@network_option
@signing_options
@click.argument("address")
@click.option("--dir", "directory", help="Where channels are kept [default: ~/.farlane/channels].")
def close(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    address: str,
    directory: str | None,
) -> None:
    """Close your channel to the node ADDRESS: it can claim what you signed; the rest comes back after the window."""
    key = signing_key(key_name, password_file)
    from farlane.ledger.accounts import parse_address

    root = Path(directory).expanduser() if directory else data_directory() / "channels"
    asyncio.run(_close(network_file, rpc, key, parse_address(address), root))
    click.echo("the channel is being closed; see `farlane ledger channels` for when the rest is free")


async def _close(network_file: Path, url: str, key: PrivateKey, node: Any, root: Path) -> None:
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.sdk.direct_book import channel_file

    async with network_chain(network_file, url) as chain:
        ledger = EthereumLedger(chain.rpc, chain.deployment)
        book = channel_file(root, chain.deployment.network, key.address, node).load()
        if book is None:
            raise InvalidInput(f"there is no channel of {key.address} to {node} in {root}")
        await ledger.start_close(key, book.channel)
