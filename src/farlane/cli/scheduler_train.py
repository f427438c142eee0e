"""`farlane scheduler train`: train a policy in a folder, pause, and go on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.lab_extra import need_lab
from farlane.cli.output import json_option, print_json, say
from farlane.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from farlane.lab.training.config import Config
    from farlane.lab.training.folder import RunFolder

CHECKPOINT = "checkpoint.npz"


@click.command()
@click.option(
    "--config", "config_name", metavar="F",
    help="A YAML file, or the name of a configuration that is shipped [default: default].",
)  # fmt: skip
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The run's folder: state, curves, plots, result.",
)
@click.option("--resume", is_flag=True, help="Go on with the run that is in the folder.")
@click.option(
    "--traces", type=click.Path(path_type=Path), metavar="DIR",
    help="The directory of traces [default: traces below FARLANE_DIR or ~/.farlane].",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(min=0, min_open=True),
    help="Be done after so long: the stages share the time, and end early.",
)  # fmt: skip
@click.option(
    "--pause", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES", help="Pause after so long."
)
@click.option("--workers", type=click.IntRange(min=0), help="Processes of the search [default: one a core].")
@json_option
def train(
    config_name: str | None,
    out: Path,
    resume: bool,
    traces: Path | None,
    minutes: float | None,
    pause: float | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Train a scheduling policy: copy the best rules, follow gradients, search on what it is judged by.

    Every step is kept: a run that was killed or paused goes on with --resume exactly as if nothing had been. Without
    traces it trains on generated work alone.
    """
    need_lab("jax", "cma", "matplotlib", quicker="numba")
    began = time.monotonic()
    from rich.console import Console

    from farlane.kit.files import atomic_write
    from farlane.lab.training.curves import Watcher
    from farlane.lab.training.episodes import settings_of
    from farlane.lab.training.export import about, export
    from farlane.lab.training.folder import RunFolder
    from farlane.lab.training.run import Run

    folder, config = _resumed(out, config_name) if resume else (None, _config(config_name, traces))
    settings, data = settings_of(config, _directory(traces))
    if folder is None:
        folder = RunFolder.create(out, _text(config), about(config, [each.name for each in settings], data))
    else:
        _same_data(folder, {each.name: each.sha256 for each in data})
    pause_at, end_at = (began + 60 * each if each else float("inf") for each in (pause, minutes))
    with Watcher(Console(stderr=True), folder.curves()) as watcher:
        run = Run(config, folder, settings, watcher, time.monotonic, pause_at, end_at, _workers(workers))
        reached = run.go()
    if reached is not None:
        atomic_write(out / CHECKPOINT, export([folder]), 0o644)
    _tell(folder, reached is not None, as_json)


def _config(name: str | None, traces: Path | None) -> Config:
    from farlane.lab.training.config import read_config
    from farlane.lab.training.shipped import shipped_config, without_traces

    config = (
        shipped_config(name or "default")
        if name is None or ("." not in name and os.sep not in name)
        else None
    )
    config = read_config(Path(str(name))) if config is None else config
    if traces is not None or not config.needs_traces or _directory(None).is_dir():
        return config
    say(
        f"There are no traces at {_directory(None)}: training on generated work alone. "
        "`farlane scheduler traces list` shows what can be fetched."
    )
    return without_traces(config)


def _resumed(out: Path, name: str | None) -> tuple[RunFolder, Config]:
    from farlane.lab.training.config import parse_config
    from farlane.lab.training.folder import RunFolder

    if name is not None:
        raise InvalidInput(f"--resume goes on with the configuration in {out}; leave --config out")
    folder = RunFolder.resume(out)
    return folder, parse_config(folder.config(), str(out / "config.yaml"))


def _text(config: Config) -> bytes:
    import msgspec

    return msgspec.yaml.encode(config)


def _same_data(folder: RunFolder, now: dict[str, str]) -> None:
    """Refuse to go on with other data than the run was begun with."""
    for name, sha256 in folder.about().get("data", {}).items():
        if now.get(name) != sha256:
            raise InvalidInput(
                f"{folder.path} was begun with another {name!r} than is in the directory of traces now; name the right "
                "one with --traces, or begin anew in another folder"
            )


def _directory(named: Path | None) -> Path:
    from farlane.sdk.context import data_directory

    if named is not None and not named.is_dir():
        raise NotFound(
            f"{named} is no directory; expected the one that `farlane scheduler traces fetch` fills"
        )
    return named if named is not None else data_directory() / "traces"


def _workers(named: int | None) -> int:
    cores = os.cpu_count() or 1
    return named if named is not None else cores if cores > 1 else 0


def _tell(folder: RunFolder, finished: bool, as_json: bool) -> None:
    import numpy as np

    result = folder.load("result") if finished else None
    costs = (
        dict(zip(folder.about()["settings"], np.exp(result["losses"]).tolist(), strict=True))
        if result
        else {}
    )
    if as_json:
        steps = {str(row["stage"]): row["step"] for row in folder.curves()}
        document = {"run": folder.path, "finished": finished, "steps": steps, "cost_over_best_rule": costs}
        print_json(document | ({"checkpoint": folder.path / CHECKPOINT} if finished else {}))
        return
    if not finished:
        click.echo(f"paused; go on with: farlane scheduler train --out {folder.path} --resume")
        return
    for name, cost in costs.items():
        click.echo(f"{name}: {cost:.3f} of the best rule's cost")
    click.echo(f"{folder.path / CHECKPOINT}")
