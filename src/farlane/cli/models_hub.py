"""`farlane models push`, and what the other commands of `farlane models` do with `--hub`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.connecting import with_client
from farlane.cli.key_options import password_option, signing_key
from farlane.cli.models_chain import (
    ChainPlace,
    chain_key,
    chain_options,
    check_registrable,
    register,
    say_registered,
)
from farlane.cli.models_options import (
    author,
    bytes_text,
    move_document,
    moved_text,
    opened,
    progress_bar,
    repository_option,
    version_document,
)
from farlane.cli.output import ago, json_option, print_json, print_table
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.models.adding import OnProgress
    from farlane.models.catalog.values import AliasMove, Version
    from farlane.models.cid import Cid
    from farlane.models.manifest.values import Manifest
    from farlane.models.repository import Repository
    from farlane.sdk.model_hub import ModelHub
    from farlane.sdk.model_values import HubModel, HubVersion, Pushed

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def hub_option(command: F) -> F:
    """Add `--hub`."""
    return click.option(
        "--hub", "at_hub", is_flag=True, help="On the hub of the network instead of a repository here."
    )(command)


def on_hub(work: Callable[[ModelHub], Awaitable[T]], directory: Path | None = None) -> T:
    """Connect to the network's hub and do something with its models.

    Raises:
        InvalidInput: a repository here was named as well.
    """
    from farlane.sdk.model_hub import ModelHub

    if directory is not None:
        raise InvalidInput(
            "--hub is about the hub's models and --repository about those here: name one of them"
        )
    return with_client(lambda client: work(ModelHub(client.connection)))


@click.command()
@click.argument("reference")
@click.option("--as", "name", metavar="NAME", help="Under this name instead; signed anew with --key.")
@click.option(
    "--key",
    "key_name",
    metavar="NAME",
    help="With --as: which of your keys signs it [default: unsigned]. With --chain: which owns the name there.",
)
@password_option
@click.option("--tag", "alias", default="", metavar="ALIAS", help="Put this alias on it at the hub.")
@click.option("--expect", default="", metavar="VERSION",
              help="With --tag: only if the alias stands there now, such as v2 or `none`.")  # fmt: skip
@chain_options("Register it, and the alias of --tag, on the network's chain as well.")
@repository_option
@json_option
def push(
    reference: str, name: str | None, key_name: str | None, password_file: Path | None, alias: str, expect: str,
    directory: Path | None, as_json: bool, place: ChainPlace | None,
) -> None:  # fmt: skip
    """Publish the version REFERENCE at the network's hub, for everybody in the network (a private one: for its owner).

    Only what the hub lacks is sent. Broken off anywhere, the same command goes on.
    """
    if expect and not alias:
        raise InvalidInput("--expect says where the alias of --tag must stand: name that alias, too")
    key = chain_key(place, key_name, password_file)
    with opened(directory) as repository:
        reference = _renamed(
            repository, reference, name, key_name if name or not place else None, password_file
        )
        if key is not None:
            check_registrable(key, *repository.resolve(reference))
        with progress_bar("pushing", as_json) as tell:
            done = on_hub(
                lambda hub: hub.push(repository, reference, alias=alias, expect=expect, on_progress=tell)
            )
        version, manifest = repository.resolve(reference)
    chained: dict[str, Any] = {}
    if place is not None and key is not None:
        chained = register(place, key, version, manifest, alias or None)
        say_registered(version, chained, alias or None)
    if as_json:
        moved = move_document(done.move) if done.move else None
        document = {**version_document(done.version, manifest), "sent_bytes": done.sent_bytes, "move": moved}
        print_json(document | chained)
        return
    _say_pushed(done)


def _renamed(
    repository: Repository, reference: str, name: str | None, key_name: str | None, password_file: Path | None
) -> str:
    """Return the version to push, which is a new one here if it is to have another name."""
    if name is None:
        if key_name:
            raise InvalidInput(
                "a version keeps its signature; --key signs the new one that --as makes. To sign an unsigned one, add "
                "it again with `farlane models add --key`"
            )
        return reference
    from farlane.app.model_signing import AccountSigner
    from farlane.models.renaming import renamed

    signer = AccountSigner(signing_key(key_name, password_file)) if key_name else None
    made = renamed(repository, reference, name, signer=signer, author=author())
    return f"{made.name}@{made.manifest.text}"


def _say_pushed(done: Pushed) -> None:
    version = done.version
    click.echo(f"{version.name}@v{version.number} {version.manifest.text}")
    click.echo(moved_text(done.sent_bytes, done.total_bytes, "sent", "there"))
    if done.move:
        click.echo(f"{version.name}@{done.move.alias} is v{version.number} now")


def pull_from_hub(
    repository: Repository, reference: str, accept: str, tell: OnProgress | None
) -> tuple[Version, Manifest, int]:
    """Take a version from the hub; returns it, its manifest and how many bytes came."""
    done = on_hub(
        lambda hub: hub.pull(repository, reference, accept=accept, author=author(), on_progress=tell)
    )
    return done.version, repository.manifest(done.version), done.received_bytes


def list_hub(name: str | None, directory: Path | None, as_json: bool) -> None:
    """Print the models of the hub, or the versions of one."""

    async def ask(hub: ModelHub) -> list[HubModel]:
        return [await hub.model(name)] if name else await hub.list()

    rows = []
    for model in on_hub(ask, directory):
        for one in model.versions:
            on = sorted(alias for alias, at in model.aliases.items() if at == one.version.manifest)
            rows.append((model, one, on if name else sorted(model.aliases)))
    if as_json:
        print_json([{**_document(model, one), "aliases": on} for model, one, on in rows])
        return
    print_table(
        ("MODEL", "VERSION", "ALIASES", "FORMAT", "DTYPE", "SIZE", "LICENCE", "OF", "ADDED"),
        [
            (model.name, f"v{one.version.number}", ",".join(on) or "-", one.format, one.dtype or "-",
             bytes_text(one.size_bytes), one.licence or "-",
             (model.organisation or "the hub") + (", private" if one.private else ""),
             f"{ago(one.version.added)} ago")
            for model, one, on in rows
        ],
        right=(5,),
    )  # fmt: skip


def described_at_hub(reference: str, directory: Path | None) -> tuple[Version, Manifest, list[str]]:
    """Return a version at the hub, what it says, and the aliases that stand on it."""

    async def ask(hub: ModelHub) -> tuple[Version, Manifest, HubModel]:
        version, manifest = await hub.describe(reference)
        return version, manifest, await hub.model(version.name)

    version, manifest, model = on_hub(ask, directory)
    return version, manifest, sorted(alias for alias, at in model.aliases.items() if at == version.manifest)


def history_at_hub(
    name: str, alias: str, directory: Path | None
) -> tuple[tuple[AliasMove, ...], dict[Cid, str]]:
    """Return how the aliases of a model moved at the hub, and the numbers of its versions by their CIDs."""
    model = on_hub(lambda hub: hub.model(name), directory)
    numbers = {one.version.manifest: f"v{one.version.number}" for one in model.versions}
    return tuple(one for one in model.moves if alias in ("", one.alias)), numbers


def tag_at_hub(
    reference: str, alias: str, expect: str | None, delete: bool, directory: Path | None
) -> tuple[AliasMove, str]:
    """Move an alias at the hub, or take it away; returns the move, and what to say of it."""
    name, _, target = reference.partition("@")

    async def move(hub: ModelHub) -> tuple[AliasMove, str]:
        if delete:
            done = await hub.untag(name, alias, expect=expect or "")
        else:
            done = await hub.tag(name, alias, target or "latest", expect=expect or "")
        return done, await _told(hub, done)

    return on_hub(move, directory)


def roll_back_at_hub(
    name: str, alias: str, expect: str | None, directory: Path | None
) -> tuple[AliasMove, str]:
    """Put an alias at the hub back; returns the move, and what to say of it."""

    async def move(hub: ModelHub) -> tuple[AliasMove, str]:
        done = await hub.rollback(name, alias, expect=expect or "")
        return done, await _told(hub, done)

    return on_hub(move, directory)


async def _told(hub: ModelHub, move: AliasMove) -> str:
    if move.target is None:
        return f"{move.name}@{move.alias} is gone"
    version, _ = await hub.describe(f"{move.name}@{move.target.text}")
    return f"{move.name}@{move.alias} is v{version.number} now"


def _document(model: HubModel, one: HubVersion) -> dict[str, Any]:
    return {
        **version_document(one.version), "organisation": model.organisation, "format": one.format,
        "dtype": one.dtype, "licence": one.licence, "size_bytes": one.size_bytes, "private": one.private,
    }  # fmt: skip
