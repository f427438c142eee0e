"""`farlane direct`: nodes that are called without any hub, and one's channels to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import (
    bond_units,
    min_bond_option,
    network_chain,
    network_option,
    rpc_option,
    signing_options,
)
from farlane.cli.direct_run import channels_directory, channels_option, run, save_receipt
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, money, print_json, print_table, say

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address, PrivateKey
    from farlane.ledger.network_registry import Entry
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.sdk.direct import DirectPublisher
    from farlane.sdk.direct_nodes import FoundNode
    from farlane.sdk.direct_task import DirectRun


@click.group()
def direct() -> None:
    """Call a node yourself: it is found on chain, paid over a channel of your own, and no hub takes part."""


direct.add_command(run)


@direct.command()
@network_option
@rpc_option
@min_bond_option
@json_option
def nodes(network_file: Path, rpc: str, min_bond: str | None, as_json: bool) -> None:
    """List the nodes that can be called, cheapest first, and what they ask for an hour of one core and one GiB."""
    found, silent = asyncio.run(_nodes(network_file, rpc, min_bond))
    rows = sorted((_row(one) for one in found), key=lambda row: int(row["hour_nano"]))
    if as_json:
        print_json({"nodes": rows, "silent": [{"key": one.key, "why": why} for one, why in silent]})
        return
    print_table(
        ("KEY", "NAME", "ENDPOINT", "CORES", "MEMORY", "GPUS", "PYTHON", "HOUR"),
        [
            (
                r["key"], r["name"], r["endpoint"], f"{r['cores']:g}", _bytes(r["memory_bytes"]),
                ", ".join(f"{count} {model}" for model, count in r["gpus"].items()) or "-", r["python"],
                money(r["hour_nano"]),
            )
            for r in rows
        ],
        right=(3, 4, 7),
    )  # fmt: skip
    for entry, why in silent:
        say(f"{entry.key}: {why}")
    if not rows:
        say("no node of this network can be called at the moment")


async def _nodes(
    network_file: Path, url: str, min_bond: str | None
) -> tuple[list[FoundNode], list[tuple[Entry, str]]]:
    from farlane.sdk.direct_nodes import find_nodes

    async with network_chain(network_file, url) as chain:
        return await find_nodes(chain.rpc, chain.deployment, bond_units(min_bond, chain.deployment))


def _bytes(size: int) -> str:
    from farlane.domain.units import bytes_text

    return bytes_text(size)


def _row(node: FoundNode) -> dict[str, Any]:
    from farlane.domain.prices import hourly_ceiling
    from farlane.domain.resources import GIB, Resources

    terms, spec = node.terms, node.terms.spec
    hour = hourly_ceiling(spec.rates, Resources(cpu_milli=1000, memory_bytes=GIB))
    return {
        "key": node.entry.key, "provider": node.provider, "name": spec.name, "endpoint": node.entry.listing.endpoint,
        "cores": spec.capacity.cpu_milli / 1000, "memory_bytes": spec.capacity.memory_bytes,
        "gpus": {kind.model: count for kind, count in spec.capacity.gpus}, "python": spec.python,
        "hour_nano": hour, "tasks": terms.tasks, "credit_nano": terms.credit_nano,
    }  # fmt: skip


@direct.command()
@network_option
@signing_options
@channels_option
@click.argument("address")
def recover(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy, address: str,
    directory: str | None,
) -> None:  # fmt: skip
    """Fetch, check and pay for what was ordered from the node ADDRESS and left behind by a crash or a lost connection.

    What it printed goes to stdout, its files to a directory beside the receipt.
    """
    key = signing_key(key_name, password_file)

    async def finish(publisher: DirectPublisher) -> list[DirectRun]:
        return await publisher.recover()

    found = asyncio.run(_with_publisher(network_file, rpc, policy, key, address, directory, finish))
    for one in found:
        receipt = save_receipt(one, None)
        click.echo(one.stdout, nl=False)
        click.echo(one.stderr, nl=False, err=True)
        for path, content in one.outputs.items():
            target = receipt.with_suffix("") / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            say(f"wrote {target}")
        say(f"{money(one.leaf.amount_nano)} credits; receipt in {receipt}")
    if not found:
        say("nothing was left behind")


async def _with_publisher(
    network_file: Path, url: str, policy: GasPolicy, key: PrivateKey, address: str, directory: str | None,
    work: Callable[[DirectPublisher], Awaitable[list[DirectRun]]],
) -> list[DirectRun]:  # fmt: skip
    from farlane.ledger.accounts import parse_address
    from farlane.sdk.direct import DirectPublisher
    from farlane.sdk.direct_nodes import by_key, find_nodes

    wanted = parse_address(address)
    async with network_chain(network_file, url, policy) as chain:
        found, _ = await find_nodes(chain.rpc, chain.deployment)
        node = by_key(found, wanted)
        return await work(DirectPublisher(channels_directory(directory), chain.ledger(), key, node))


@direct.command()
@network_option
@signing_options
@channels_option
@click.argument("address")
def close(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    policy: GasPolicy,
    address: str,
    directory: str | None,
) -> None:
    """Close your channel to the node ADDRESS: it can claim what you signed; the rest comes back after the window."""
    from farlane.ledger.accounts import parse_address

    key = signing_key(key_name, password_file)
    asyncio.run(_close(network_file, rpc, policy, key, parse_address(address), channels_directory(directory)))
    click.echo("the channel is being closed; see `farlane ledger channels` for when the rest is free")


async def _close(
    network_file: Path, url: str, policy: GasPolicy, key: PrivateKey, node: Address, root: Path
) -> None:
    from farlane.sdk.direct_channel import DirectChannel

    async with network_chain(network_file, url, policy) as chain:
        await DirectChannel(root, chain.ledger(), key, node, node).close()
