"""What the commands of `farlane models` do with `--chain`: names, versions and aliases in its registry."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.chain_options import (
    MAX_FEE_GWEI,
    finish_left,
    network_chain,
    network_option,
    signing_options,
)
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json, say
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.app.chained_models import ChainedModels, ChainedVersion
    from farlane.ledger.accounts import PrivateKey
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.models.catalog.values import Version
    from farlane.models.manifest.values import Manifest

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ChainPlace:
    """Which chain a command reads or writes."""

    network_file: Path
    rpc: str
    policy: GasPolicy


def chain_options(what: str) -> Callable[[F], F]:
    """Add `--chain`, `--network`, `--rpc` and `--max-fee`; the command gets `place`, None without `--chain`.

    Args:
        what: `--chain` does, for its help.
    """

    def decorated(command: F) -> F:
        @functools.wraps(command)
        def collected(
            *, on_chain: bool, network_file: Path | None, rpc: str | None, max_fee_gwei: float, **rest: Any
        ) -> Any:
            return command(place=_place(on_chain, network_file, rpc, max_fee_gwei), **rest)

        for option in (
            click.option(
                "--max-fee",
                "max_fee_gwei",
                metavar="GWEI",
                type=float,
                default=MAX_FEE_GWEI,
                show_default=True,
                help="With --chain: the most that a unit of gas may cost.",
            ),
            click.option("--rpc", metavar="URL", help="With --chain: JSON-RPC endpoint of the chain."),
            click.option(
                "--network",
                "network_file",
                metavar="FILE",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="With --chain: the network file.",
            ),
            click.option("--chain", "on_chain", is_flag=True, help=what),
        ):
            collected = option(collected)
        return collected  # type: ignore[return-value]

    return decorated


def chain_key(
    place: ChainPlace | None, key_name: str | None, password_file: Path | None
) -> PrivateKey | None:
    """Open the key that writes on the chain, None where none is written on.

    Raises:
        InvalidInput: none was named.
    """
    if place is None:
        return None
    if key_name is None:
        raise InvalidInput(
            "--chain needs --key NAME: who owns the name there, signed the version, and pays gas"
        )
    return signing_key(key_name, password_file)


def check_registrable(key: PrivateKey, version: Version, manifest: Manifest) -> None:
    """Refuse early what `register` will refuse, whatever the chain says.

    Raises:
        PermissionRefused: the version is private, or the key has not signed it.
    """
    from farlane.app.chained_models import DOING, require_signed_by
    from farlane.models.private.versions import require_public

    require_public(manifest, DOING)
    require_signed_by(version, key.address)


def register(
    place: ChainPlace, key: PrivateKey, version: Version, manifest: Manifest, alias: str | None
) -> dict[str, Any]:
    """Publish a version on the chain, and put an alias on it; what is there already is not written again.

    Returns:
        What was done, for `--json`: number, whether it is new, and whether the alias moved.

    Raises:
        PermissionRefused: it is private, or the name is another's.
    """

    async def work(models: ChainedModels) -> dict[str, Any]:
        number, new = await models.publish(key, version, manifest)
        moved = await models.point(key, version.name, alias, version.manifest) if alias else False
        return {"chain_version": number, "new_on_chain": new, "alias_moved_on_chain": moved}

    return _on_chain(place, work, key)


def say_registered(version: Version, done: dict[str, Any], alias: str | None) -> None:
    """Say what `register` did."""
    how = "is" if done["new_on_chain"] else "was already"
    say(f"{version.name}@v{version.number} {how} v{done['chain_version']} on the chain")
    if alias:
        how = "stands on it there" if done["alias_moved_on_chain"] else "stood on it there already"
        say(f"{version.name}@{alias} {how}")


def resolved(place: ChainPlace, reference: str) -> ChainedVersion:
    """Return the version that a reference means on the chain; the user is warned of one that its owner warns of."""
    from farlane.models.names import parse_reference

    wanted = parse_reference(reference)
    found = _on_chain(place, lambda models: models.resolve(wanted))
    if found.yanked:
        say(
            f"warning: the owner of {found.name} has withdrawn v{found.number} on the chain (yanked): ask why before "
            "you use it"
        )
    return found


def check_publisher(found: ChainedVersion, version: Version) -> None:
    """Refuse a version from elsewhere that the owner of its name on the chain has not signed.

    Raises:
        PermissionRefused: somebody else has.
    """
    from farlane.app.chained_models import require_signed_by

    require_signed_by(version, found.owner)


def show_chained(place: ChainPlace, reference: str, as_json: bool) -> None:
    """Print what the chain says of a reference."""
    found = resolved(place, reference)
    if as_json:
        print_json({
            "name": found.name, "version": found.number, "cid": found.cid.text, "owner": found.owner,
            "published_at": found.published_at, "yanked": found.yanked,
        })  # fmt: skip
        return
    click.echo(f"{found.name}@v{found.number} {found.cid.text}")
    click.echo(f"  {'owner':<12} {found.owner}")
    click.echo(f"  {'published':<12} {datetime.fromtimestamp(found.published_at, UTC):%Y-%m-%d %H:%M:%SZ}")


@click.command()
@click.argument("reference")
@click.option("--reason", required=True, metavar="TEXT", help="What is wrong with it; everybody reads it.")
@network_option
@signing_options
@json_option
def yank(
    reference: str, reason: str, network_file: Path, rpc: str, key_name: str, password_file: Path | None,
    policy: GasPolicy, as_json: bool,
) -> None:  # fmt: skip
    """Warn everybody of the version REFERENCE on the network's chain; NAME@v3 is the chain's third.

    It is not erased, and the warning is not taken back. Whoever pulls or shows it with --chain is told.
    """
    from farlane.models.names import parse_reference

    wanted, key = parse_reference(reference), signing_key(key_name, password_file)
    place = ChainPlace(network_file, rpc, policy)
    found = _on_chain(place, lambda models: models.yank(key, wanted, reason), key)
    if as_json:
        print_json(
            {"name": found.name, "version": found.number, "cid": found.cid.text, "new": not found.yanked}
        )
        return
    click.echo(f"{found.name}@v{found.number} {'was' if found.yanked else 'is'} withdrawn on the chain")


def _on_chain(
    place: ChainPlace, work: Callable[[ChainedModels], Awaitable[T]], key: PrivateKey | None = None
) -> T:
    from farlane.app.chained_models import ChainedModels

    async def connected() -> T:
        async with network_chain(place.network_file, place.rpc, place.policy, key) as chain:
            if key is not None:
                await finish_left(chain, key)
            return await work(ChainedModels(chain.models()))

    return asyncio.run(connected())


def _place(
    on_chain: bool, network_file: Path | None, rpc: str | None, max_fee_gwei: float
) -> ChainPlace | None:
    if not on_chain:
        if network_file or rpc:
            raise InvalidInput("--network and --rpc say which chain is meant: add --chain")
        return None
    if network_file is None or rpc is None:
        raise InvalidInput(
            "--chain needs --network FILE, as `farlane network deploy` wrote it, and --rpc URL of its chain"
        )
    from farlane.ledger.outbox.intents import policy_of

    return ChainPlace(network_file, rpc, policy_of(max_fee_gwei))
