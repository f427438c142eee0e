"""What the commands of `farlane models` do and say about deltas: made after a version is added, told beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from farlane.cli.models_options import bytes_text, progress_bar
from farlane.cli.output import say
from farlane.errors import DiskFull, Exhausted

if TYPE_CHECKING:
    from farlane.models.adding import Added
    from farlane.models.catalog.values import DeltaRow
    from farlane.models.repository import Repository
    from farlane.models.updates import Update


def make_deltas(repository: Repository, added: Added, quiet: bool) -> tuple[DeltaRow, ...]:
    """Make the deltas of a version that was just added; without room there are none, which is said."""
    from farlane.models.deltas import deltas_for, make_all

    try:
        with progress_bar("making a delta", quiet) as tell:
            return make_all(repository, added.version, added.manifest, tell)
    except (DiskFull, Exhausted) as error:
        say(f"the version is added, without a delta: {error.message}")
        return deltas_for(repository, added.version.manifest)


def delta_document(row: DeltaRow) -> dict[str, Any]:
    """Return a delta for `--json`."""
    return {"base": row.base.text, "cid": row.root.text, "size_bytes": row.size_bytes}


def update_document(one: Update) -> dict[str, Any]:
    """Return what an update costs for `--json`."""
    return {
        "base": one.base.manifest.text, "name": one.base.name, "version": one.base.number,
        "block_bytes": one.block_bytes,
        "delta": delta_document(one.delta) if one.delta else None,
    }  # fmt: skip


def update_text(one: Update) -> str:
    """Return what an update costs for people: `from lab/mini@v1: 7.1 MB in blocks, 2.0 MB as a delta`."""
    text = f"from {one.base.name}@v{one.base.number}: {bytes_text(one.block_bytes)} in blocks"
    return text + (f", {bytes_text(one.delta.size_bytes)} as a delta" if one.delta else ", no delta")


def echo_deltas(repository: Repository, rows: tuple[DeltaRow, ...]) -> None:
    """Say which deltas a version has."""
    for row in rows:
        base = repository.version_of(row.base)[0]
        click.echo(f"{bytes_text(row.size_bytes)} as a delta from {base.name}@v{base.number}")
