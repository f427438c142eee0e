"""`farlane scheduler`: the list of its subcommands, each loaded only when it is used."""

from __future__ import annotations

import click

from farlane.cli.lazy import LazyGroup

SUBCOMMANDS = {
    "status": ("scheduler_status", "Who decides where tasks go at this moment, how often and why."),
    "explain": ("scheduler_explain", "What a learned policy's checkpoint says, and what each feature does."),
    "replay": ("scheduler_replay", "Run your own history again under other policies."),
    "promote": ("scheduler_promote", "Put a checkpoint in force if your own history excludes a loss."),
    "train": ("scheduler_train", "Train a policy, pause, and go on."),
    "export": ("scheduler_export", "Write finished trainings as a checkpoint."),
    "evaluate": ("scheduler_evaluate", "Measure a policy's weights against every rule, with a report."),
    "compare": (
        "scheduler_compare",
        "Compare two policies on the same sequences: better, worse, or nobody can tell.",
    ),
    "traces": ("scheduler_traces", "Traces of real clusters: list them, and fetch them."),
}
"""Subcommand -> (module below farlane.cli, one line of help)."""


@click.group(cls=LazyGroup, table=SUBCOMMANDS)
def scheduler() -> None:
    """The scheduler: traces of real clusters, replays of your own history, learned policies."""
