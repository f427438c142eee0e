"""`farlane scheduler promote`: put a checkpoint in force if your own history says that nothing is lost by it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.output import json_option, print_json, say
from farlane.cli.scheduler_replay import STORE_OPTION, progress_of, read_history
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.lab.promotion import Evidence


@click.command()
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option("--against", metavar="POLICY", help="What it must not lose to [default: what decides now].")
@STORE_OPTION
@click.option(
    "--last", type=click.IntRange(1), metavar="JOBS", help="Judge only by so many of the newest jobs."
)
@click.option("--dry-run", is_flag=True, help="Judge, and change nothing.")
@click.option("--rollback", is_flag=True, help="Put what decided before the last promotion in force again.")
@json_option
def promote(
    checkpoint: Path | None, against: str | None, store: Path | None, last: int | None, dry_run: bool, rollback: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Put CHECKPOINT in force on this machine's hub, if the hub's own history says so.

    The history is replayed under it and under what decides now. It is promoted only where the 95 % interval of the
    ratio of completion times excludes a loss, and neither waits nor slowdowns are worse; else nothing changes and the
    exit code is 1. It comes into force at the hub's next start, with the evidence beside it, as long as `hub.policy`
    stays what it is.
    """
    from farlane.hub.deciding import promoted

    directory = _hub_directory()
    if rollback:
        before = promoted.roll_back(directory)
        name = "the policy of the settings" if before is None else before.checkpoint
        say(f"{name} decides again from the hub's next start on")
        return
    if checkpoint is None:
        raise InvalidInput("name the checkpoint to promote, a file that ends in .npz, or say --rollback")
    settings = _policy_in_settings()
    evidence = _judge(checkpoint, against or _in_force(directory, settings), store, last)
    if as_json:
        print_json({"promoted": evidence.passed and not dry_run, "evidence": evidence})
    else:
        _show(evidence)
    if not evidence.passed:
        raise InvalidInput(f"{checkpoint} is not promoted: {'; '.join(evidence.reasons)}")
    if not dry_run:
        from farlane.cli.output import plain

        found = promoted.promote(directory, checkpoint.read_bytes(), settings, time.time(), plain(evidence))
        say(f"{found.checkpoint} decides in place of {settings} from the hub's next start on")


def _judge(checkpoint: Path, against: str, store: Path | None, last: int | None) -> Evidence:
    from farlane.lab.policies import checkpoint_policy, policy_of
    from farlane.lab.promotion import judge

    candidate = checkpoint_policy(checkpoint)
    history = read_history(store, last)
    return judge(history, (str(checkpoint), candidate), (against, policy_of(against)), progress_of)


def _show(evidence: Evidence) -> None:
    click.echo(
        f"{evidence.candidate} against {evidence.against}: {evidence.jobs} jobs, {evidence.tasks} tasks in "
        f"{evidence.windows} windows"
    )
    click.echo(f"completion time  x {evidence.completion}")
    click.echo(f"wait             {evidence.wait_s} s more")
    click.echo(f"slowdown         {evidence.slowdown} more")
    click.echo(f"without result   {evidence.lost} tasks, {evidence.theirs_lost} before")


def _hub_directory() -> Path:
    from farlane.app.layout import Layout
    from farlane.sdk.context import data_directory

    return Layout(data_directory()).hub


def _policy_in_settings() -> str:
    """Return the policy that the settings of this machine's network name; the default where there is none."""
    from farlane.app.layout import Layout
    from farlane.app.network_file import load_if_there
    from farlane.hub.settings import HubSettings
    from farlane.sdk.context import data_directory

    known = load_if_there(Layout(data_directory()))
    return HubSettings().policy if known is None else known.configuration().hub.policy


def _in_force(directory: Path, settings: str) -> str:
    """Return what decides now: what is promoted, else the policy of the settings."""
    from farlane.hub.deciding import promoted

    found = promoted.promotion(directory)
    if found is None or found.instead_of != settings:
        return settings
    return str(directory / promoted.FOLDER / found.checkpoint)
