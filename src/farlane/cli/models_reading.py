"""`farlane models ls`, `show`, `diff`, `log` and `lineage`: what is in a repository."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.models_chain import ChainPlace, chain_options, show_chained
from farlane.cli.models_deltas import update_document, update_text
from farlane.cli.models_hub import described_at_hub, history_at_hub, hub_option, list_hub
from farlane.cli.models_options import (
    bytes_text,
    manifest_document,
    move_document,
    opened,
    repository_option,
    version_document,
)
from farlane.cli.output import ago, json_option, print_json, print_table, say
from farlane.cli.recipient_options import own_keys
from farlane.errors import NotFound

if TYPE_CHECKING:
    from farlane.models.catalog.values import Version
    from farlane.models.cid import Cid
    from farlane.models.differences import Difference
    from farlane.models.lineage import Ancestor
    from farlane.models.manifest.values import Manifest
    from farlane.models.private.listing import Listed
    from farlane.models.repository import Repository
    from farlane.models.updates import Update

TAIL = 14
"""Characters of a CID in a table: its end, where CIDs differ."""


@click.command()
@click.argument("name", required=False)
@hub_option
@repository_option
@json_option
def ls(name: str | None, at_hub: bool, directory: Path | None, as_json: bool) -> None:
    """List all models, or the versions of the model NAME."""
    if at_hub:
        list_hub(name, directory, as_json)
        return
    with opened(directory) as repository:
        names = [name] if name else [one.name for one in repository.catalog.models()]
        rows = []
        for one in names:
            aliases = repository.catalog.aliases(one)
            versions = repository.catalog.versions(one)
            for version in versions if name else versions[-1:]:
                on = sorted(alias for alias, at in aliases.items() if at == version.manifest)
                manifest = repository.manifest(version)
                rows.append((version, manifest, on if name else sorted(aliases)))
    if as_json:
        print_json([{**version_document(version, manifest), "aliases": on} for version, manifest, on in rows])
        return
    print_table(
        ("MODEL", "VERSION", "ALIASES", "FORMAT", "DTYPE", "SIZE", "LICENCE", "ADDED"),
        [
            (version.name, f"v{version.number}", ",".join(on) or "-", manifest.format, manifest.dtype or "-",
             bytes_text(manifest.size_bytes), manifest.licence.expression or "-", f"{ago(version.added)} ago")
            for version, manifest, on in rows
        ],
        right=(5,),
    )  # fmt: skip


@click.command()
@click.argument("reference")
@hub_option
@chain_options("What the network's chain says of it: which version it is there, and whose the name is.")
@repository_option
@json_option
def show(
    reference: str, at_hub: bool, directory: Path | None, as_json: bool, place: ChainPlace | None
) -> None:
    """Show what the version REFERENCE is: its files, licence, parents, metrics, inputs and outputs.

    Of a private version also who can read it, and to those what is in it.
    """
    from farlane.models.updates import updates

    if place is not None:
        show_chained(place, reference, as_json)
        return
    if at_hub:
        version, manifest, on = described_at_hub(reference, directory)
        _print_version(version, manifest, on, as_json, _ours(manifest))
        return
    with opened(directory) as repository:
        version, manifest = repository.resolve(reference)
        aliases = repository.catalog.aliases(version.name)
        ours, sealed = _unsealed(repository, manifest)
        costs = updates(repository, version, manifest)
    on = sorted(alias for alias, at in aliases.items() if at == version.manifest)
    _print_version(version, manifest, on, as_json, ours, sealed, costs)


def _print_version(
    version: Version, manifest: Manifest, on: list[str], as_json: bool, ours: Collection[str] = (),
    sealed: Sequence[Listed] = (), costs: Sequence[Update] = (),
) -> None:  # fmt: skip
    if as_json:
        listed = [{"path": one.path, "size": one.size, "sha256": one.sha256.hex()} for one in sealed]
        print_json({
            **version_document(version, manifest), "aliases": on, "sealed": listed,
            "updates": [update_document(one) for one in costs],
        })  # fmt: skip
        return
    document = manifest_document(manifest)
    click.echo(f"{version.name}@v{version.number} {version.manifest.text}")
    lines = {
        "aliases": ", ".join(on), "publisher": manifest.publisher or "nobody signed it", "format": manifest.format,
        "dtype": manifest.dtype, "task": manifest.task, "runtime": manifest.runtime,
        "licence": manifest.licence.expression + (" (to be accepted)" if manifest.licence.acceptance else ""),
        "size": bytes_text(manifest.size_bytes), "ipfs": manifest.root.text, "created": _moment(manifest.created),
    }  # fmt: skip
    lines |= {f"metric {name}": f"{value:g}" for name, value in manifest.metrics}
    lines |= {f"{one['relation']} of": one["cid"] for one in document["parents"]}
    for kind in ("inputs", "outputs"):
        lines |= {f"{kind[:-1]} {one['name']}": f"{one['datatype']} {one['shape']}" for one in document[kind]}
    for label, text in [*lines.items(), *(("update", update_text(one)) for one in costs)]:
        if text:
            click.echo(f"  {label:<12} {text}")
    for text in document["recipients"]:
        click.echo(f"  {'read by':<12} {text}{' (you)' if text in ours else ''}")
    print_table(
        ("FILE", "FORMAT", "SIZE", "CID"),
        [(one.path, one.format, bytes_text(one.size), one.cid.text) for one in manifest.files],
        right=(2,),
    )
    if sealed:
        print_table(("SEALED FILE", "SIZE"), [(one.path, bytes_text(one.size)) for one in sealed], right=(1,))


def _ours(manifest: Manifest) -> set[str]:
    """Return which recipients we are; nobody where a version is public."""
    return set() if manifest.encryption is None else {one.recipient.text for one in own_keys()}


def _unsealed(repository: Repository, manifest: Manifest) -> tuple[set[str], list[Listed]]:
    """Return which recipients we are, and the files of a private version that we can read; nothing of a public one."""
    from farlane.models.private.versions import files_of, readers_of
    from farlane.models.private.wrapping import key_among

    ours = _ours(manifest)
    if manifest.encryption is None or not ours & {one.text for one in readers_of(manifest)}:
        return ours, []
    try:
        return ours, files_of(repository, manifest, key_among(manifest.encryption, own_keys()))
    except NotFound:  # its files are elsewhere
        return ours, []


@click.command()
@click.argument("older")
@click.argument("newer")
@repository_option
@json_option
def diff(older: str, newer: str, directory: Path | None, as_json: bool) -> None:
    """Compare the version NEWER with OLDER: files, tensors, and how many bytes are new.

    Private versions are encrypted anew each time, so all of a newer one moves; for those who can read both, the files
    that are in them are compared.
    """
    from farlane.models.differences import difference, listed_difference
    from farlane.models.updates import update

    with opened(directory) as repository:
        (base, before), (version, after) = repository.resolve(older), repository.resolve(newer)
        versions = before, after
        (_, was), (_, now) = (_unsealed(repository, one) for one in versions)
        compared = listed_difference(*versions, was, now) if was and now else None
        found = compared or difference(repository, *versions)
        cost = update(repository, version, after, base)
    if not as_json and compared is None and any(one.encryption is not None for one in versions):
        say("you cannot read both of them: encrypted files are compared, and always differ")
    if as_json:
        print_json({
            "new_bytes": found.new_bytes, "files": found.files, "fields": found.fields, "update": update_document(cost),
        })  # fmt: skip
        return
    _print_difference(found)
    click.echo(f"update {update_text(cost)}")


def _print_difference(found: Difference) -> None:
    for name, was, now in found.fields:
        click.echo(f"{name}: {was[:80] or '(none)'} -> {now[:80] or '(none)'}")
    for file in found.files:
        click.echo(
            f"{file.change:<8} {file.path}  {bytes_text(file.new_bytes)} new of {bytes_text(file.size)}"
        )
        for one in file.tensors:
            click.echo(f"  {one.change:<8} {one.name}  {one.dtype} {list(one.shape)}  {bytes_text(one.size)}")
        if file.tensors:
            click.echo(f"  same     {file.tensors_same} tensors")
    click.echo(f"{bytes_text(found.new_bytes)} new")


@click.command()
@click.argument("name")
@click.option("--alias", default="", help="Only the moves of this alias.")
@hub_option
@repository_option
@json_option
def log(name: str, alias: str, at_hub: bool, directory: Path | None, as_json: bool) -> None:
    """Show how the aliases of the model NAME moved, and who moved them."""
    if at_hub:
        moves, numbers = history_at_hub(name, alias, directory)
    else:
        with opened(directory) as repository:
            moves = repository.catalog.history(name, alias)
            numbers = {one.manifest: f"v{one.number}" for one in repository.catalog.versions(name)}
    if as_json:
        print_json([move_document(one) for one in moves])
        return
    rows = []
    for one in moves:
        before, target = (_place(at, numbers) for at in (one.before, one.target))
        rows.append(
            (
                _moment(one.at),
                one.alias,
                before,
                target,
                one.author.name or "-",
                "rollback" if one.back else "",
            )
        )
    print_table(("WHEN", "ALIAS", "FROM", "TO", "BY", ""), rows)


@click.command()
@click.argument("reference")
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw it into this file."
)
@repository_option
@json_option
def lineage(reference: str, svg: Path | None, directory: Path | None, as_json: bool) -> None:
    """Show what the version REFERENCE was made from."""
    from farlane.kit.files import atomic_write
    from farlane.models.lineage import as_svg, as_text
    from farlane.models.lineage import lineage as ancestors

    with opened(directory) as repository:
        version, manifest = repository.resolve(reference)
        top = ancestors(repository, manifest, version.manifest)
    if svg is not None:
        atomic_write(svg, as_svg(top).encode(), 0o644)
    if as_json:
        print_json(_ancestor(top))
        return
    click.echo(as_text(top))


def _place(at: Cid | None, numbers: dict[Cid, str]) -> str:
    """Return where an alias stood: the version's number, or the end of the CID of one that was removed."""
    if at is None:
        return "-"
    return numbers.get(at) or f"removed ...{at.text[-TAIL:]}"


def _ancestor(one: Ancestor) -> dict[str, Any]:
    return {
        "cid": one.cid.text, "label": one.label, "relation": one.relation, "known": one.known,
        "parents": [_ancestor(parent) for parent in one.parents],
    }  # fmt: skip


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
