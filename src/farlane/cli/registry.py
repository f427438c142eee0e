"""`farlane network`: put a network's books on a chain, list who is on it, and keep one's own entries there."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.bonds import bond, slash, unbond, withdraw_bond
from farlane.cli.chain_options import network_argument, network_chain, signing_options
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json, say
from farlane.cli.registry_listing import show
from farlane.errors import InvalidInput, NotFound
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address
    from farlane.ledger.deploy import Deployment
    from farlane.ledger.network_registry import Entry, Listing, NetworkRegistry
    from farlane.ledger.outbox.intents import GasPolicy


@click.group()
def network() -> None:
    """A network on a chain: its contracts, and the hubs and nodes that are found there."""


for command in (show, bond, unbond, withdraw_bond, slash):
    network.add_command(command)

descriptor_option = click.option(
    "--descriptor",
    metavar="CID",
    help="CID of a document that says more; `none` takes it out [default: as it is].",
)


@network.command()
@signing_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Where the network file goes."
)
@click.option(
    "--guardian", metavar="ADDRESS", help="Who may pause deposits, never exits [default: the key's]."
)
@click.option(
    "--token", metavar="ADDRESS", help="ERC-20 to pay in [default: credits of its own, minted by the key]."
)
@click.option("--units-per-credit", type=click.IntRange(1), help="Units of that token that make one credit.")
@click.option("--slasher", metavar="ADDRESS", help="Who may slash bonds [default: nobody].")
@click.option(
    "--close-window", default="1d", show_default=True, help="How long a provider can claim after a close."
)
@click.option("--unbond-delay", default="7d", show_default=True, help="How long a bond stays slashable.")
@json_option
def deploy(
    rpc: str, key_name: str, password_file: Path | None, output: Path, as_json: bool, **options: Any
) -> None:
    """Put a new network's contracts on a chain and write the network file that others join with.

    The file holds addresses, no secret: give it to everybody. Whoever signs this has no power over anybody's money.
    """
    from dataclasses import asdict

    from farlane.kit.new_files import write_new
    from farlane.ledger.deploy import deployment_to_json

    if output.exists():
        raise InvalidInput(f"{output} exists; a network file is never overwritten: name another")
    key = signing_key(key_name, password_file)
    found = asyncio.run(_deploy(rpc, key, options))
    write_new(output, deployment_to_json(found), 0o644)
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"network {found.network} on chain {found.chain_id}, in {output}")
    click.echo(f"ledger {found.ledger}, registry {found.network_registry}, token {found.token}")


async def _deploy(url: str, key: Any, options: dict[str, Any]) -> Deployment:
    from farlane.domain.units import parse_seconds
    from farlane.ledger.accounts import parse_address
    from farlane.ledger.deploy import CREDIT_DECIMALS, DeploymentPlan, verify_deployment
    from farlane.ledger.deploy import deploy as put
    from farlane.ledger.rpc import RpcClient

    token, units = options["token"], options["units_per_credit"]
    if token and not units:
        raise InvalidInput("--token needs --units-per-credit: how many of its smallest units make one credit")
    plan = DeploymentPlan(
        secrets.token_hex(16),
        parse_address(options["guardian"]) if options["guardian"] else key.address,
        parse_address(token) if token else None,
        units or 10**CREDIT_DECIMALS,
        int(parse_seconds(options["close_window"])),
        int(parse_seconds(options["unbond_delay"])),
        parse_address(options["slasher"]) if options["slasher"] else None,
    )
    async with RpcClient(url) as rpc:
        found = await put(rpc, key, plan, options["policy"])
        await verify_deployment(rpc, found)
    return found


@network.command("register-hub")
@network_argument
@signing_options
@click.option(
    "--endpoint", required=True, metavar="URL", help="Where others reach the hub: https://host:port."
)
@click.option("--hub-key", metavar="NAME", help="Key the hub is listed under [default: --key itself].")
@click.option(
    "--dir", "directory", help="The hub's network directory, for its TLS key [default: ~/.farlane]."
)
@click.option(
    "--tls-key-hash", metavar="HEX", help="SHA-256 of the hub's TLS key, where its directory is elsewhere."
)
@descriptor_option
@json_option
def register_hub(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """List a hub in the registry of the network FILE, or change its entry, so that nodes find it."""
    from farlane.ledger.network_registry import EntryKind, Listing

    pin = options["tls_key_hash"]
    pin = _digest(pin) if pin else _own_tls_hash(options["directory"])
    operator = signing_key(key_name, password_file)
    key = signing_key(options["hub_key"], password_file) if options["hub_key"] else operator
    listing = Listing(options["endpoint"].rstrip("/"), pin)
    kind, more = EntryKind.HUB, options["descriptor"]
    entry = asyncio.run(_register(network_file, rpc, policy, operator, kind, key, listing, more))
    if as_json:
        print_json({"key": entry.key, "operator": entry.operator, "endpoint": entry.listing.endpoint})
        return
    click.echo(f"hub {entry.key} of {entry.operator} is listed at {entry.listing.endpoint}")


@network.command("register-node")
@network_argument
@signing_options
@click.option("--node-key", metavar="NAME", help="Key the node is listed under [default: --key itself].")
@click.option("--node", metavar="ADDRESS", help="The node's key, where it is on another machine.")
@click.option(
    "--node-signature",
    metavar="HEX",
    help="With --node: its word that it belongs to --key, from the node's log.",
)
@click.option(
    "--endpoint", metavar="URL", help="Where publishers call the node: https://host:port [default: nowhere]."
)
@click.option("--tls-key-hash", metavar="HEX", help="With --endpoint: SHA-256 of the node's TLS key.")
@descriptor_option
@json_option
def register_node(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    policy: GasPolicy,
    as_json: bool,
    **options: Any,
) -> None:
    """List a node in the registry of FILE, so that hubs let it in by `join --network`, and publishers find it.

    A node that works for a cold key on another machine says in its log with which options it is listed.
    """
    from farlane.ledger.network_registry import NO_DIGEST, EntryKind, Listing

    endpoint, pin = options["endpoint"], options["tls_key_hash"]
    if (endpoint is None) != (pin is None):
        raise InvalidInput(
            "--endpoint and --tls-key-hash go together: publishers dial the one under the other"
        )
    listing = Listing("", NO_DIGEST) if pin is None else Listing(endpoint.rstrip("/"), _digest(pin))
    operator = signing_key(key_name, password_file)
    if options["node"] is None:
        key = signing_key(options["node_key"], password_file) if options["node_key"] else operator
        kind, more = EntryKind.NODE, options["descriptor"]
        entry = asyncio.run(_register(network_file, rpc, policy, operator, kind, key, listing, more))
    else:
        entry = asyncio.run(_register_far(network_file, rpc, policy, operator, listing, options))
    if as_json:
        print_json({"key": entry.key, "operator": entry.operator, "endpoint": entry.listing.endpoint})
        return
    at = f" at {entry.listing.endpoint}" if entry.listing.endpoint else ""
    click.echo(f"node {entry.key} of {entry.operator} is listed{at}")


async def _register_far(
    network_file: Path, url: str, policy: GasPolicy, operator: Any, listing: Any, options: dict[str, Any]
) -> Entry:
    from farlane.ledger.accounts import parse_address
    from farlane.ledger.network_registry import EntryKind

    try:
        word = bytes.fromhex((options["node_signature"] or "").removeprefix("0x"))
    except ValueError:
        word = b""
    if len(word) != 65 or options["node_key"]:
        raise InvalidInput(
            "--node needs --node-signature (130 hex digits, from the node's log), and no --node-key"
        )
    key = parse_address(options["node"])
    async with network_chain(network_file, url, policy) as chain:
        listing = await _described(chain.registry(), key, listing, options["descriptor"])
        return await chain.registry().list_signed(operator, EntryKind.NODE, key, listing, word)


async def _register(
    network_file: Path, url: str, policy: GasPolicy, operator: Any, kind: Any, key: Any, listing: Any,
    descriptor: str | None,
) -> Entry:  # fmt: skip
    async with network_chain(network_file, url, policy) as chain:
        listing = await _described(chain.registry(), key.address, listing, descriptor)
        return await chain.registry().list_key(operator, kind, key, listing)


async def _described(
    registry: NetworkRegistry, key: Address, listing: Listing, descriptor: str | None
) -> Listing:
    """Return a listing with the descriptor that was asked for; where none was, with the one that is there."""
    from dataclasses import replace

    from farlane.kit.cid import parse
    from farlane.ledger.network_registry import NO_DIGEST

    if descriptor is not None:
        return replace(listing, descriptor=NO_DIGEST if descriptor == "none" else parse(descriptor))
    try:
        return replace(listing, descriptor=(await registry.entry_of(key)).listing.descriptor)
    except NotFound:
        return listing


@network.command()
@network_argument
@signing_options
@click.argument("address")
def retire(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    policy: GasPolicy,
    address: str,
) -> None:
    """Say in the registry of FILE that your key ADDRESS is used no more. It can never be listed again."""
    from farlane.ledger.accounts import parse_address

    wanted, operator = parse_address(address), signing_key(key_name, password_file)

    async def run() -> None:
        async with network_chain(network_file, rpc, policy) as chain:
            await chain.registry().retire(operator, wanted)

    asyncio.run(run())
    click.echo(f"{wanted} is retired")


@network.command()
@network_argument
@signing_options
@click.argument("address")
@click.argument("credits_", metavar="CREDITS")
def mint(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    policy: GasPolicy,
    address: str,
    credits_: str,
) -> None:
    """Make CREDITS for ADDRESS, where the network of FILE has credits of its own and the key mints them."""
    from farlane.domain.units import credits_text, parse_credits_floor
    from farlane.ledger.accounts import parse_address
    from farlane.ledger.vouchers import units_floor

    to, nano = parse_address(address), parse_credits_floor(credits_)
    key = signing_key(key_name, password_file)

    async def run() -> None:
        async with network_chain(network_file, rpc, policy) as chain:
            await chain.ledger().mint(key, to, units_floor(nano, chain.deployment.units_per_credit))

    asyncio.run(run())
    click.echo(f"{credits_text(nano)} credits for {to}")


@network.command()
@network_argument
@signing_options
@click.argument("address")
@click.argument("coins")
def gas(
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    policy: GasPolicy,
    address: str,
    coins: str,
) -> None:
    """Send COINS (such as 0.5) of the coin of the chain of FILE to ADDRESS, so that it can pay for transactions."""
    from decimal import Decimal, InvalidOperation

    from farlane.ledger.accounts import parse_address

    to = parse_address(address)
    try:
        wei = int(Decimal(coins) * 10**18)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise InvalidInput(f"{coins!r} is not an amount of coins; expected something like 0.5") from error
    if wei <= 0:
        raise InvalidInput(f"{coins!r} is not an amount of coins above zero")
    key = signing_key(key_name, password_file)

    async def run() -> None:
        async with network_chain(network_file, rpc, policy) as chain:
            await chain.ledger().pay_gas(key, to, wei)

    asyncio.run(run())
    click.echo(f"{coins} coins for {to}")


def _digest(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise InvalidInput(f"--tls-key-hash {text[:80]!r} is not one; expected 64 hex digits (SHA-256)")
    return raw


def _own_tls_hash(directory: str | None) -> bytes:
    from farlane.app.layout import Layout
    from farlane.kit.keys import CERTIFICATE_FILE, spki_sha256

    root = Path(directory).expanduser() if directory else data_directory()
    path = Layout(root).tls / CERTIFICATE_FILE
    if not path.is_file():
        raise InvalidInput(
            f"there is no hub in {root} ({path} is missing): name its directory with --dir, or its "
            "key with --tls-key-hash"
        )
    say(f"the hub's TLS key is read from {path}")
    return spki_sha256(path.read_bytes())
