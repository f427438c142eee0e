"""`farlane models tag` and `rollback`: aliases that move between versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.key_options import password_option
from farlane.cli.models_chain import (
    ChainPlace,
    chain_key,
    chain_options,
    check_registrable,
    register,
    say_registered,
)
from farlane.cli.models_hub import described_at_hub, hub_option, roll_back_at_hub, tag_at_hub
from farlane.cli.models_options import author, move_document, opened, repository_option
from farlane.cli.output import json_option, print_json
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.ledger.accounts import PrivateKey
    from farlane.models.catalog.catalog import Expected
    from farlane.models.catalog.values import AliasMove, Version
    from farlane.models.manifest.values import Manifest
    from farlane.models.repository import Repository


@click.command()
@click.argument("reference")
@click.argument("alias")
@click.option(
    "--expect",
    metavar="VERSION",
    help="Move it only if it stands there now, such as v2 or `none`; else somebody else was quicker.",
)
@click.option("--delete", is_flag=True, help="Take the alias away instead; its history stays.")
@chain_options("On the network's chain as well; the version is registered there if it is not yet.")
@click.option(
    "--key", "key_name", metavar="NAME", help="With --chain: which of your keys owns the name there."
)
@password_option
@hub_option
@repository_option
@json_option
def tag(
    reference: str, alias: str, expect: str | None, delete: bool, at_hub: bool, directory: Path | None,
    as_json: bool, place: ChainPlace | None, key_name: str | None, password_file: Path | None,
) -> None:  # fmt: skip
    """Put ALIAS on the version REFERENCE: `farlane models tag minilm@v3 champion`."""
    from farlane.models.names import parse_reference

    wanted = parse_reference(reference)
    if place is not None and delete:
        raise InvalidInput("an alias on a chain moves and is never taken away: leave --chain or --delete out")
    key = chain_key(place, key_name, password_file)
    chosen = _checked(key, reference, at_hub, directory) if key is not None else None
    if at_hub:
        move, text = tag_at_hub(reference, alias, expect, delete, directory)
    else:
        with opened(directory) as repository:
            expected = _expected(repository, wanted.name, expect)
            if delete:
                move = repository.catalog.remove_alias(wanted.name, alias, author(), expected)
            else:
                move = repository.catalog.move(wanted.name, alias, wanted, author(), expected)
            text = _told(repository, move)
    document = move_document(move)
    if place is not None and key is not None and chosen is not None:
        done = register(place, key, *chosen, alias)
        say_registered(chosen[0], done, alias)
        document |= done
    if as_json:
        print_json(document)
        return
    click.echo(text)


def _checked(
    key: PrivateKey, reference: str, at_hub: bool, directory: Path | None
) -> tuple[Version, Manifest]:
    """Return a version that may stand on a chain."""
    if at_hub:
        version, manifest, _ = described_at_hub(reference, directory)
    else:
        with opened(directory) as repository:
            version, manifest = repository.resolve(reference)
    check_registrable(key, version, manifest)
    return version, manifest


@click.command()
@click.argument("name")
@click.argument("alias")
@click.option("--expect", metavar="VERSION", help="Only if it stands there now, such as v3.")
@hub_option
@repository_option
@json_option
def rollback(
    name: str, alias: str, expect: str | None, at_hub: bool, directory: Path | None, as_json: bool
) -> None:
    """Put ALIAS of the model NAME back on the version it stood on before; again, one step further."""
    if at_hub:
        move, text = roll_back_at_hub(name, alias, expect, directory)
    else:
        with opened(directory) as repository:
            move = repository.catalog.rollback(name, alias, author(), _expected(repository, name, expect))
            text = _told(repository, move)
    if as_json:
        print_json(move_document(move))
        return
    click.echo(text)


def _expected(repository: Repository, name: str, expect: str | None) -> Expected:
    from farlane.models.catalog.catalog import ANYWHERE

    if expect is None:
        return ANYWHERE
    return None if expect == "none" else repository.catalog.resolve(f"{name}@{expect}").manifest


def _told(repository: Repository, move: AliasMove) -> str:
    if move.target is None:
        return f"{move.name}@{move.alias} is gone"
    number = repository.catalog.resolve(f"{move.name}@{move.target.text}").number
    return f"{move.name}@{move.alias} is v{number} now"
