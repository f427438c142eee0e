"""`farlane models rm`, `gc`, `verify`, `accept` and `trust`: what a repository keeps, and whom it believes."""

from __future__ import annotations

from pathlib import Path

import click

from farlane.cli.models_hub import hub_option, on_hub
from farlane.cli.models_options import author, bytes_text, opened, repository_option, version_document
from farlane.cli.output import counted, json_option, print_json, say
from farlane.errors import Corrupted


@click.command()
@click.argument("reference")
@click.option(
    "--all", "everything", is_flag=True, help="The whole model with all versions, aliases and history."
)
@hub_option
@repository_option
@json_option
def rm(reference: str, everything: bool, at_hub: bool, directory: Path | None, as_json: bool) -> None:
    """Remove the version REFERENCE; its bytes go with the next `farlane models gc`."""
    if at_hub:
        removed = on_hub(lambda hub: hub.remove(reference, everything=everything), directory)
    else:
        removed = _removed(reference, everything, directory)
    if as_json:
        print_json({"removed": removed})
        return
    click.echo(f"{removed} is removed")


def _removed(reference: str, everything: bool, directory: Path | None) -> str:
    with opened(directory) as repository:
        if everything:
            repository.catalog.remove_model(reference, author())
            return reference
        version = repository.catalog.remove(reference, author())
        return f"{version.name}@v{version.number}"


@click.command()
@click.option("--spare", default="1h", show_default=True, help="What came in or was used so lately stays.")
@repository_option
@json_option
def gc(spare: str, directory: Path | None, as_json: bool) -> None:
    """Remove the blocks and files that no version needs, and what came of transfers that nobody went on with."""
    from farlane.domain.units import parse_seconds
    from farlane.models.blocks.collection import collect

    spare_s = parse_seconds(spare)
    with opened(directory) as repository:
        repository.blocks.drop_partial((), before_s=repository.clock.now() - spare_s)
        found = collect(repository.blocks, repository.catalog.roots, spare_s=spare_s)
    if as_json:
        print_json({"files": found.files, "blocks": found.blocks, "size_bytes": found.size_bytes})
        return
    click.echo(
        f"{counted(found.files, 'file')} and {counted(found.blocks, 'block')} removed, {bytes_text(found.size_bytes)}; "
        f"what came in or was used within {spare} stays (--spare)"
    )


@click.command()
@click.argument("reference", required=False)
@click.option("--repair-from", "source", type=click.Path(exists=True, path_type=Path), metavar="DIR",
              help="Take what is damaged from this repository.")  # fmt: skip
@repository_option
@json_option
def verify(reference: str | None, source: Path | None, directory: Path | None, as_json: bool) -> None:
    """Read and check every file of all versions, or of the version REFERENCE alone; damaged deltas are removed."""
    from farlane.models.checking import Fault, check, repair
    from farlane.models.deltas import forget_damaged

    with opened(directory) as repository:
        wanted = [repository.catalog.resolve(reference)] if reference else None
        found = list(check(repository, wanted))
        faults = [one for one in found if isinstance(one, Fault)]
        if source is not None:
            with opened(source) as other:
                for one in faults:
                    repair(repository, other, one)
                    say(f"mended {one.version.name}@v{one.version.number} {one.path}")
            faults = [one for one in check(repository, wanted) if isinstance(one, Fault)]
        checked = [one for one in found if not isinstance(one, Fault)]
        forgotten = [row for one in checked for row in forget_damaged(repository, one)]
    if forgotten:
        say(f"{counted(len(forgotten), 'damaged delta')} removed: updates move blocks instead")
    rows = [{**version_document(one.version), "path": one.path, "what": one.what} for one in faults]
    if as_json:
        print_json({"versions": len(checked), "faults": rows})
    for one in faults:
        say(f"{one.version.name}@v{one.version.number} {one.path or 'manifest'}: {one.what}")
    if faults:
        raise Corrupted(
            f"{counted(len(faults), 'fault')} in {counted(len(checked), 'version')}: mend with --repair-from DIR, or "
            "pull the versions again"
        )
    if not as_json:
        click.echo(f"{counted(len(checked), 'version')} checked, no fault")


@click.command()
@click.argument("reference")
@click.option("--licence", required=True, metavar="SPDX", help="The licence you have read, by name.")
@hub_option
@repository_option
@json_option
def accept(reference: str, licence: str, at_hub: bool, directory: Path | None, as_json: bool) -> None:
    """Say that you accept the licence of the version REFERENCE; with --hub, that your organisation does."""
    if at_hub:
        version = on_hub(lambda hub: hub.accept(reference, licence), directory)
    else:
        with opened(directory) as repository:
            version = repository.catalog.resolve(reference)
            repository.accept(version, licence)
    if as_json:
        print_json({**version_document(version), "accepted": licence})
        return
    click.echo(f"accepted {licence} for {version.name}@v{version.number}")


@click.command()
@click.argument("name")
@click.argument("publisher")
@hub_option
@repository_option
@json_option
def trust(name: str, publisher: str, at_hub: bool, directory: Path | None, as_json: bool) -> None:
    """Take versions of the model NAME from the account PUBLISHER from now on; `none` for unsigned ones."""
    from farlane.ledger.accounts import parse_address

    address = "" if publisher == "none" else parse_address(publisher)
    if at_hub:
        on_hub(lambda hub: hub.trust(name, address), directory)
    else:
        with opened(directory) as repository:
            repository.catalog.trust(name, address, author())
    if as_json:
        print_json({"name": name, "publisher": address})
        return
    click.echo(f"{name} is published by {address or 'nobody who signs'}")
