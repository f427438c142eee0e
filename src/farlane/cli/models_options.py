"""What the commands of `farlane models` have in common: the repository, progress, and versions as documents."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.output import on_terminal

if TYPE_CHECKING:
    from farlane.domain.inference import TensorSpec
    from farlane.models.adding import OnProgress, Progress
    from farlane.models.catalog.values import AliasMove, Author, Version
    from farlane.models.manifest.values import Manifest
    from farlane.models.repository import Repository

F = TypeVar("F", bound=Callable[..., Any])


def repository_option(command: F) -> F:
    """Add `--repository`."""
    return click.option(
        "--repository",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The repository of models [default: ~/.farlane/models].",
    )(command)


@contextmanager
def opened(directory: Path | None) -> Iterator[Repository]:
    """Open the repository that a command works on."""
    from farlane.app.model_repository import default_directory, open_repository

    with open_repository(directory or default_directory()) as repository:
        yield repository


def author() -> Author:
    """Return who types, for the history."""
    from farlane.models.catalog.values import Author

    return Author("", getpass.getuser())


def bytes_text(count: float) -> str:
    """Return a number of bytes for people: `90.9 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def progress_bar(label: str, quiet: bool) -> Iterator[OnProgress | None]:
    """Show bytes, rate and time left on a terminal; nothing for programs."""
    if quiet or not on_terminal():
        yield None
        return
    started, last = time.monotonic(), 0.0
    before: int | None = None  # what was there at the beginning took no time

    def tell(progress: Progress) -> None:
        nonlocal last, before
        now = time.monotonic()
        before = progress.done_bytes if before is None else min(before, progress.done_bytes)
        if now - last < 0.1 and progress.done_bytes < progress.total_bytes:
            return
        last = now
        rate = (progress.done_bytes - before) / max(now - started, 1e-6)
        left = (progress.total_bytes - progress.done_bytes) / max(rate, 1.0)
        done, total = bytes_text(progress.done_bytes), bytes_text(progress.total_bytes)
        click.echo(
            f"\r\033[K{label} {done} of {total}, {bytes_text(rate)}/s, {left:.0f} s left", nl=False, err=True
        )

    try:
        yield tell
    finally:
        click.echo("\r\033[K", nl=False, err=True)


def version_document(version: Version, manifest: Manifest | None = None) -> dict[str, Any]:
    """Return a version for `--json`."""
    document: dict[str, Any] = {
        "name": version.name, "version": version.number, "cid": version.manifest.text,
        "publisher": version.signature.signer if version.signature else "", "added": version.added,
    }  # fmt: skip
    if manifest is not None:
        document["manifest"] = manifest_document(manifest)
    return document


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest for `--json`, links as text."""
    from farlane.models.private.versions import readers_of

    return {
        "root": manifest.root.text, "format": manifest.format, "task": manifest.task, "runtime": manifest.runtime,
        "dtype": manifest.dtype, "size_bytes": manifest.size_bytes, "created": manifest.created,
        "publisher": manifest.publisher, "card": manifest.card,
        "licence": {"expression": manifest.licence.expression, "acceptance": manifest.licence.acceptance,
                    "file": manifest.licence.file},
        "files": [{"path": one.path, "size": one.size, "format": one.format, "cid": one.cid.text,
                   "ipfs_cid": one.ipfs_cid.text, "sha256": one.sha256.hex()} for one in manifest.files],
        "parents": [{"cid": one.cid.text, "relation": one.relation.value,
                     "recipe": one.recipe.text if one.recipe else ""} for one in manifest.parents],
        "metrics": dict(manifest.metrics),
        "inputs": [_spec(one) for one in manifest.inputs],
        "outputs": [_spec(one) for one in manifest.outputs],
        "private": manifest.encryption is not None,
        "recipients": [one.text for one in readers_of(manifest)],
    }  # fmt: skip


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}


def move_document(move: AliasMove) -> dict[str, Any]:
    """Return a move of an alias for `--json`."""
    return {
        "sequence": move.sequence, "name": move.name, "alias": move.alias,
        "target": move.target.text if move.target else "", "before": move.before.text if move.before else "",
        "by": move.author.name, "at": move.at, "rollback": move.back,
    }  # fmt: skip


def moved_text(moved: int, total: int, verb: str, where: str) -> str:
    """Say how much of a version moved: `90.9 MB sent`, `7.1 MB came of 91.6 MB; the rest was here`, or nothing."""
    if not moved:
        return f"nothing {verb}: all {bytes_text(total)} were {where} already"
    text, whole = bytes_text(moved), bytes_text(total)
    if moved >= total or text == whole:
        return f"{text} {verb}"
    return f"{text} {verb} of {whole}; the rest was {where}"
