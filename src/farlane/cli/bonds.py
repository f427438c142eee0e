"""`farlane network bond`, `unbond`, `withdraw-bond` and `slash`: what operators put at stake in the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import (
    Chain,
    finish_left,
    network_argument,
    network_chain,
    signing_options,
)
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json
from farlane.domain.units import credits_text, parse_units_exact
from farlane.errors import InsufficientFunds, InvalidInput, Unavailable

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address, PrivateKey
    from farlane.ledger.network_registry import Bond, NetworkRegistry
    from farlane.ledger.outbox.intents import GasPolicy

Send = Callable[["NetworkRegistry"], Awaitable[Any]]


@click.command()
@network_argument
@signing_options
@click.argument("credits_", metavar="CREDITS")
@click.option("--operator", metavar="ADDRESS", help="Whose bond it adds to [default: the key's own].")
@json_option
def bond(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy, credits_: str,
    operator: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Move CREDITS from the wallet of one's key into an operator's bond in the registry of FILE.

    Where the network has a slasher, it can take them for whoever was wronged. Typed again, an interrupted command is
    finished and not done twice.
    """
    from farlane.ledger.accounts import parse_address

    key = signing_key(key_name, password_file)
    whose = parse_address(operator) if operator else key.address

    async def run() -> tuple[Bond, int]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            units = _units(chain, credits_)

            async def send(registry: NetworkRegistry) -> None:
                await _check_wallet(chain, key.address, units)
                await registry.bond(key, whose, units)

            return await _bond_after(chain, key, whose, send, "bond", whose, units)

    _tell(whose, *asyncio.run(run()), as_json=as_json)


@click.command()
@network_argument
@signing_options
@click.argument("credits_", metavar="CREDITS")
@json_option
def unbond(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy, credits_: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Ask for CREDITS of one's bond in the registry of FILE back; they can be withdrawn after the network's delay.

    Until then they can be slashed. A second request begins the delay anew for all that is leaving.
    """
    key = signing_key(key_name, password_file)

    async def run() -> tuple[Bond, int]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            units = _units(chain, credits_)

            async def send(registry: NetworkRegistry) -> None:
                standing = (await registry.bond_of(key.address)).standing
                if standing < units:
                    raise InsufficientFunds(
                        f"{_credits(standing, chain.deployment.units_per_credit)} credits of {key.address} are bonded; "
                        f"{credits_} were asked for"
                    )
                await registry.request_unbond(key, units)

            return await _bond_after(chain, key, key.address, send, "requestUnbond", units)

    _tell(key.address, *asyncio.run(run()), as_json=as_json)


@click.command("withdraw-bond")
@network_argument
@signing_options
@click.option("--to", "target", metavar="ADDRESS", help="Where to [default: the key's own wallet].")
@json_option
def withdraw_bond(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy,
    target: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Take out what was asked back of one's bond in the registry of FILE, once the network's delay is over."""
    from farlane.ledger.accounts import parse_address

    key = signing_key(key_name, password_file)
    to = parse_address(target) if target else key.address

    async def run() -> tuple[Bond, int]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            now = await chain.ledger().now()

            async def send(registry: NetworkRegistry) -> None:
                _check_leaving(await registry.bond_of(key.address), now)
                await registry.withdraw_bond(key, to)

            return await _bond_after(chain, key, key.address, send, "withdrawBond", to)

    _tell(key.address, *asyncio.run(run()), as_json=as_json)


@click.command()
@network_argument
@signing_options
@click.argument("operator")
@click.argument("credits_", metavar="CREDITS")
@click.option("--victim", required=True, metavar="ADDRESS", help="Who gets them: whoever was wronged.")
@click.option(
    "--evidence",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="DOCUMENT",
    help="The document that says why; its SHA-256 goes on the chain, so keep and publish it.",
)
@json_option
def slash(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy, operator: str,
    credits_: str, victim: str, evidence: Path, as_json: bool,
) -> None:  # fmt: skip
    """Take CREDITS of OPERATOR's bond in the registry of FILE for a victim; only the network's slasher can."""
    from farlane.kit.hashing import sha256_file
    from farlane.ledger.accounts import parse_address

    whose, to, digest = parse_address(operator), parse_address(victim), sha256_file(evidence)
    key = signing_key(key_name, password_file)

    async def run() -> tuple[Bond, int]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            units = _units(chain, credits_)

            async def send(registry: NetworkRegistry) -> None:
                await registry.slash(key, whose, to, units, digest)

            return await _bond_after(chain, key, whose, send, "slash", whose, to, units, digest)

    _tell(whose, *asyncio.run(run()), as_json=as_json)


async def _bond_after(
    chain: Chain, key: PrivateKey, operator: Address, send: Send, name: str, *arguments: Any
) -> tuple[Bond, int]:
    """Send, unless an earlier command had sent this very call; returns the operator's bond and units per credit."""
    from farlane.ledger import abi

    data, registry = abi.encode_call("NetworkRegistry", name, arguments), chain.registry()
    target = chain.deployment.network_registry
    left = await finish_left(chain, key)
    if not any(one.receipt and (one.call.to, one.call.data) == (target, data) for one in left):
        await send(registry)
    return await registry.bond_of(operator), chain.deployment.units_per_credit


def _units(chain: Chain, text: str) -> int:
    return parse_units_exact(text, chain.deployment.units_per_credit)


async def _check_wallet(chain: Chain, whose: Address, units: int) -> None:
    there, upc = await chain.ledger().token_balance(whose), chain.deployment.units_per_credit
    if there < units:
        raise InsufficientFunds(
            f"the wallet of {whose} has {_credits(there, upc)} credits; {_credits(units, upc)} were asked for"
        )


def _check_leaving(found: Bond, now: float) -> None:
    if not found.leaving:
        raise InvalidInput(
            "nothing of the bond is leaving: `farlane network unbond` asks for some of it first"
        )
    if now < found.leaves_at:
        raise Unavailable(f"what is leaving the bond can be withdrawn from {_moment(found.leaves_at)} on")


def _tell(operator: Address, found: Bond, upc: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"operator": operator, **bond_document(found)})
        return
    click.echo(f"bond of {operator}: {bond_text(found, upc)}")


def bond_document(found: Bond) -> dict[str, int]:
    """Return a bond as `--json` has it, in units; leaves_at in unix seconds, 0 where nothing is leaving."""
    at = found.leaves_at if found.leaving else 0
    return {"bond": found.standing, "bond_leaving": found.leaving, "bond_leaves_at": at}


def bond_text(found: Bond, upc: int) -> str:
    """Return a bond in credits, for people."""
    leaving = (
        f" ({_credits(found.leaving, upc)} leaving from {_moment(found.leaves_at)} on)"
        if found.leaving
        else ""
    )
    return f"{_credits(found.standing, upc)}{leaving}"


def _credits(units: int, upc: int) -> str:
    from farlane.ledger.vouchers import nano_floor

    return credits_text(nano_floor(units, upc))


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="minutes")
