"""`farlane models tag` and `rollback`: aliases that move between versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.models_hub import hub_option, roll_back_at_hub, tag_at_hub
from farlane.cli.models_options import author, move_document, opened, repository_option
from farlane.cli.output import json_option, print_json

if TYPE_CHECKING:
    from farlane.models.catalog.catalog import Expected
    from farlane.models.catalog.values import AliasMove
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
@hub_option
@repository_option
@json_option
def tag(
    reference: str, alias: str, expect: str | None, delete: bool, at_hub: bool, directory: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Put ALIAS on the version REFERENCE: `farlane models tag minilm@v3 champion`."""
    from farlane.models.names import parse_reference

    wanted = parse_reference(reference)
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
    if as_json:
        print_json(move_document(move))
        return
    click.echo(text)


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
