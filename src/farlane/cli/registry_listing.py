"""`farlane network show`: who stands in a network's registry, with what bond, and whether each answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.bonds import bond_document, bond_text
from farlane.cli.chain_options import network_argument, network_chain, rpc_option
from farlane.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address
    from farlane.ledger.network_registry import Bond, Entry


@click.command()
@network_argument
@rpc_option
@click.option("--all", "everything", is_flag=True, help="Also what is retired or cannot be dialled.")
@click.option("--no-dial", is_flag=True, help="Only read the chain; dial nobody.")
@json_option
def show(network_file: Path, rpc: str, everything: bool, no_dial: bool, as_json: bool) -> None:
    """List the hubs and nodes of the network FILE, and whether each answers with the TLS key it registered.

    Bonds are their operators' in credits: one operator's bond stands behind all of its entries.
    """
    entries, bonds, checked, upc = asyncio.run(_show(network_file, rpc, everything, not no_dial))
    if as_json:
        print_json([_row(one, bonds[one.operator], text) for one, text in zip(entries, checked, strict=True)])
        return
    print_table(
        ("KIND", "KEY", "OPERATOR", "ENDPOINT", "BOND", "CHECKED"),
        [
            (
                one.kind.name.lower(), one.key, one.operator, one.listing.endpoint or "-",
                bond_text(bonds[one.operator], upc), text,
            )
            for one, text in zip(entries, checked, strict=True)
        ],
        right=(4,),
    )  # fmt: skip


async def _show(
    network_file: Path, url: str, everything: bool, dial: bool
) -> tuple[list[Entry], dict[Address, Bond], list[str], int]:
    async with network_chain(network_file, url) as chain:
        registry = chain.registry()
        entries = [one async for one in registry.entries() if everything or not one.retired]
        bonds = {one: await registry.bond_of(one) for one in sorted({each.operator for each in entries})}
        checked = await asyncio.gather(*(_checked(one, dial) for one in entries))
    return entries, bonds, checked, chain.deployment.units_per_credit


def _row(one: Entry, bond: Bond, checked: str) -> dict[str, Any]:
    from farlane.kit.cid import cid_of_digest
    from farlane.ledger.network_registry import NO_DIGEST

    descriptor = one.listing.descriptor
    return {
        "kind": one.kind.name.lower(), "key": one.key, "operator": one.operator,
        "endpoint": one.listing.endpoint, "tls_key_hash": one.listing.tls_key_hash.hex(),
        "descriptor": "" if descriptor == NO_DIGEST else cid_of_digest(descriptor),
        **bond_document(bond), "retired": one.retired, "checked": checked,
    }  # fmt: skip


async def _checked(entry: Entry, dial: bool) -> str:
    """Return what is known of an entry: why it cannot be used, or whether it answers under its registered key."""
    from farlane.errors import FarlaneError
    from farlane.wire.channel import check_pin

    if entry.retired:
        return "retired"
    if entry.problem:
        return entry.problem
    if not dial:
        return "not dialled"
    try:
        await check_pin(entry.listing.endpoint, entry.listing.tls_key_hash)
    except FarlaneError as error:
        return error.message.splitlines()[0]
    return "answers, TLS key as registered"
