"""`farlane scheduler export`: finished training runs as one checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from farlane.cli.lab_extra import need_lab
from farlane.cli.output import json_option, print_json
from farlane.domain.units import bytes_text


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The checkpoint to write."
)
@click.option("--note", default="", help="A sentence for people, kept in the checkpoint.")
@json_option
def export(runs: tuple[Path, ...], output: Path, note: str, as_json: bool) -> None:
    """Write the weights of each finished run RUN, the folder of a training, as one checkpoint.

    Several runs, of different seeds, become an ensemble: its score is the mean of theirs.
    """
    need_lab("jax", "cma")
    from farlane.kit.files import atomic_write
    from farlane.lab.training.export import export as exported
    from farlane.lab.training.folder import RunFolder

    data = exported([RunFolder.resume(run) for run in runs], note)
    atomic_write(output, data, 0o644)
    if as_json:
        print_json({"checkpoint": output, "members": len(runs), "size_bytes": len(data)})
        return
    click.echo(
        f"{output}: {len(runs)} {'network' if len(runs) == 1 else 'networks'}, {bytes_text(len(data))}"
    )
