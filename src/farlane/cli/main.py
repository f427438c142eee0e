"""The `farlane` command: its list of subcommands, each loaded only when it is used."""

from __future__ import annotations

import sys
from typing import Any

import click

from farlane.cli.lazy import LazyGroup
from farlane.errors import FarlaneError

COMMANDS = {
    "up": ("network", "Start a whole network on this machine."),
    "down": ("network", "Stop the network of this machine; everything queued is kept."),
    "join": ("joining", "Add this machine to a network as a node."),
    "token": ("tokens", "Print, make, list and withdraw tokens of this machine's network."),
    "backup": ("network", "Write a consistent copy of the hub's store."),
    "restore": ("network", "Put a backup in place of the hub's store."),
    "nodes": ("nodes", "List nodes: size, price, load, earnings."),
    "drain": ("nodes", "Let a node finish or hand back its work and leave."),
    "run": ("submit", "Run a command line on the network."),
    "apply": ("submit", "Submit a job file."),
    "ps": ("jobs", "List jobs, or the tasks of one."),
    "wait": ("jobs", "Wait until jobs have ended."),
    "logs": ("jobs", "Show what a job prints, live with -f."),
    "stop": ("jobs", "Stop a job."),
    "retry": ("jobs", "Run the failed tasks of an ended job again."),
    "why": ("jobs", "Explain why a job waits, or how it failed."),
    "cp": ("files", "Copy a job's output files here."),
    "serve": ("deploying", "Keep a model served."),
    "deployments": ("deploying", "List the models that are served, and their replicas."),
    "scale": ("deploying", "Change how many replicas a served model has."),
    "undeploy": ("deploying", "Serve a model no longer."),
    "network": ("registry", "A network on a chain: deploy it, list who is there, register a hub."),
    "budget": ("budget", "Cap what an organisation and its projects spend and hold."),
    "usage": ("usage", "Show what was used and what it cost, by month."),
    "ledger": ("ledger", "Show what is owed and paid, and settle it."),
    "node": ("serving", "This machine as a node that is called without any hub."),
    "direct": ("direct", "Call a node found on chain yourself, without any hub."),
    "receipt": ("receipts", "Show a receipt file, and check it."),
    "key": ("keys", "Make, list, move and rotate keys; let a node sign for one."),
    "scheduler": ("scheduler", "The scheduler: traces, replays of your own history, learned policies."),
    "models": ("models", "Models: publish, name, compare, export and check versions."),
}
"""Subcommand -> (module below farlane.cli, one line of help)."""


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="farlane")
def cli() -> None:
    """Run AI work on the machines of many owners.

    Start with `farlane up`, then `farlane run -- echo hello`.
    """


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 misused, 130 interrupted."""
    try:
        result: Any = cli.main(arguments, prog_name="farlane", standalone_mode=False)
    except FarlaneError as error:
        click.echo(f"error: {error.message}", err=True)
        return 1
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    sys.exit(main())
