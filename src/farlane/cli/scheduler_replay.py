"""`farlane scheduler replay`: what your own past would have been under other policies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.output import json_option, on_terminal, print_json, print_table, say

if TYPE_CHECKING:
    from farlane.lab.history import History
    from farlane.lab.replay_report import Figure, Figures

STORE_OPTION = click.option(
    "--store", type=click.Path(path_type=Path, dir_okay=False),
    help="A hub's store or a backup of one [default: that of this machine's network]. It is only read, also while the "
    "hub runs.",
)  # fmt: skip
RULES = ("fifo", "shortest-first", "best-fit", "spread")


@click.command()
@click.option(
    "--policy", "policies", multiple=True, metavar="NAME",
    help="A rule, `learned`, or a checkpoint (a file that ends in .npz); again for more [default: every rule].",
)  # fmt: skip
@STORE_OPTION
@click.option(
    "--last", type=click.IntRange(1), metavar="JOBS", help="Replay only so many of the newest jobs."
)
@click.option(
    "--preempt", is_flag=True, help="Let work of high priority displace others, as `hub.preempt` does."
)
@click.option(
    "--simulated",
    is_flag=True,
    help="Run rules on the simulator that mirrors them: the same figures; compiled where numba is there.",
)
@json_option
def replay(
    policies: tuple[str, ...], store: Path | None, last: int | None, preempt: bool, simulated: bool, as_json: bool
) -> None:  # fmt: skip
    """Run the hub's own history again under policies, and compare what comes of it.

    Jobs come as they came, nodes come and go as they did, tasks run as long as they did; the hub's own reactor does the
    rest, in virtual time. Intervals are 95 % bootstrap intervals over days (or runs of jobs where there are few days).
    """
    from farlane.lab.hub_columns import simulate, unlike
    from farlane.lab.policies import policy_of
    from farlane.lab.replay import ROUND_S
    from farlane.lab.replay import replay as run
    from farlane.lab.replay_report import RECORDED, figures, recorded

    chosen = [policy_of(name) for name in dict.fromkeys(policies or RULES)]
    history = read_history(store, last)
    outcomes = {RECORDED: recorded(history)}
    mirrored = simulated and not preempt and not unlike(history)
    for name, policy in zip(dict.fromkeys(policies or RULES), chosen, strict=True):
        if mirrored and name in RULES:
            outcomes[name] = simulate(history, name, ROUND_S)
        else:
            outcomes[name] = run(history, policy, preempt=preempt, progress=progress_of(name))
    found = figures(history, outcomes)
    if as_json:
        print_json(
            {"jobs": len(history.jobs), "tasks": history.tasks, "notes": history.notes, "policies": found}
        )
        return
    say(f"{len(history.jobs)} jobs, {history.tasks} tasks, {len(history.nodes)} nodes")
    for note in history.notes:
        say(f"note: {note}")
    print_table(
        ("POLICY", "COMPLETION", "WAIT", "P95 WAIT", "SLOWDOWN", "USED", "LOST"), [_row(each) for each in found],
        right=range(1, 7),
    )  # fmt: skip


def read_history(store: Path | None, last: int | None) -> History:
    """Return the history of a store, or of this machine's hub, and of it only the newest jobs if asked."""
    from farlane.app.layout import Layout
    from farlane.lab.traces.journal import read_journal
    from farlane.sdk.context import data_directory

    history = read_journal(store if store is not None else Layout(data_directory()).store)
    return history if last is None else replace(history, jobs=history.jobs[-last:])


def _row(each: Figures) -> tuple[str, ...]:
    return (
        each.policy, _seconds(each.completion_s), _seconds(each.wait_s), _seconds(each.wait_p95_s),
        _number(each.slowdown), f"{100 * each.utilisation:.0f} %", str(each.lost),
    )  # fmt: skip


def _seconds(figure: Figure) -> str:
    return f"{_number(figure)} s"


def _number(figure: Figure) -> str:
    """Return a figure with its bounds, where there are any."""
    if math.isnan(figure.low):
        return f"{figure.value:.4g}"
    return f"{figure.value:.4g} [{figure.low:.4g}, {figure.high:.4g}]"


def progress_of(name: str) -> Callable[[int, int], None]:
    """Return what shows on a terminal how far a replay is."""

    def show(done: int, tasks: int) -> None:
        if on_terminal() and (done == tasks or done % 200 == 0):
            click.echo(f"\r{name}: {done} of {tasks} tasks", err=True, nl=done >= tasks)

    return show
