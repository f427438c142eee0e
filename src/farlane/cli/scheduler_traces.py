"""`farlane scheduler traces`: list the public traces that are known, and fetch them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from farlane.cli.output import json_option, on_terminal, print_json, print_table, say
from farlane.domain.units import bytes_text
from farlane.errors import InvalidInput

_DIRECTORY = click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False),
    help="The directory of traces [default: traces below FARLANE_DIR or ~/.farlane].",
)  # fmt: skip


@click.group()
def traces() -> None:
    """Traces of real clusters, for training and judging policies: list them, and fetch them."""


@traces.command("list")
@_DIRECTORY
@json_option
def list_traces(directory: Path | None, as_json: bool) -> None:
    """List the traces that are known, and which of them are here."""
    from farlane.lab.download import present
    from farlane.lab.public_traces import TRACES

    there = _directory(directory)
    rows = [(trace, present(trace, there)) for trace in TRACES]
    if as_json:
        print_json(
            [
                {
                    "name": trace.name, "file": there / trace.path, "here": here, "url": trace.url,
                    "size_bytes": trace.size_bytes, "sha256": trace.sha256, "terms": trace.terms,
                    "accept_terms": trace.restricted, "about": trace.about,
                }
                for trace, here in rows
            ]
        )  # fmt: skip
        return
    print_table(
        ("NAME", "SIZE", "HERE", "ABOUT", "TERMS"),
        [
            (trace.name, bytes_text(trace.size_bytes), "yes" if here else "no", trace.about,
             f"{trace.terms}{' (--accept-terms)' if trace.restricted else ''}")
            for trace, here in rows
        ],
        right=(1,),
    )  # fmt: skip


@traces.command("fetch")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Fetch every trace that is known.")
@_DIRECTORY
@click.option("--accept-terms", is_flag=True, help="Accept the terms of those that have some.")
@json_option
def fetch_traces(
    names: tuple[str, ...], everything: bool, directory: Path | None, accept_terms: bool, as_json: bool
) -> None:
    """Fetch each trace NAME from where it is published; it is kept only if its hash is the one that is known."""
    from farlane.lab.download import fetch
    from farlane.lab.public_traces import TRACES, trace_named

    if everything == bool(names):
        raise InvalidInput(
            "name the traces to fetch, or say --all; `farlane scheduler traces list` shows them"
        )
    wanted = TRACES if everything else tuple(trace_named(name) for name in names)
    fetched = []
    for trace in wanted:
        if trace.restricted:
            say(f"{trace.name}: {trace.terms}")
        progress = _shown(trace.name) if on_terminal() else _silent
        path = fetch(trace, _directory(directory), accept_terms=accept_terms, progress=progress)
        fetched.append({"name": trace.name, "file": path})
        if not as_json:
            click.echo(f"{trace.name}: {path}")
    if as_json:
        print_json(fetched)


def _directory(named: Path | None) -> Path:
    from farlane.sdk.context import data_directory

    return named if named is not None else data_directory() / "traces"


def _shown(name: str) -> Callable[[int, int], None]:
    def show(have: int, expected: int) -> None:
        click.echo(f"\r{name}: {bytes_text(have)} of {bytes_text(expected)}", err=True, nl=have >= expected)

    return show


def _silent(_have: int, _expected: int) -> None:
    return
