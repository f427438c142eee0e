"""`farlane direct run`: have a node that was found on chain run a command, without any hub."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import (
    Chain,
    bond_units,
    min_bond_option,
    network_chain,
    network_option,
    signing_options,
)
from farlane.cli.key_options import signing_key
from farlane.cli.output import ask, json_option, money, print_json, say
from farlane.errors import InvalidInput
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.ledger.accounts import PrivateKey
    from farlane.sdk.direct import DirectPublisher
    from farlane.sdk.direct_channel import Spending
    from farlane.sdk.direct_nodes import FoundNode
    from farlane.sdk.direct_task import DirectRun, DirectTask

RECEIPTS = "receipts"
DEPOSIT_TASKS = 10
"""A channel is filled for so many tasks like the one at hand, as far as the payer has it, unless --deposit says."""

channels_option = click.option(
    "--dir", "directory", help="Where channels are kept [default: ~/.farlane/channels]."
)


def channels_directory(given: str | None) -> Path:
    """Return where channels are kept."""
    return Path(given).expanduser() if given else data_directory() / "channels"


@click.command(context_settings={"ignore_unknown_options": True})
@network_option
@signing_options
@click.option(
    "--node", "wanted", default="cheapest", show_default=True, metavar="ADDRESS", help="Which node: its key."
)
@min_bond_option
@click.option("--cpu", default="1", show_default=True, help="Cores to reserve.")
@click.option("--memory", default="1GiB", show_default=True, help="Memory to reserve.")
@click.option("--disk", default="1GiB", show_default=True, help="Scratch space to reserve.")
@click.option("--gpu", help="GPUs to reserve, such as 1, A100:1 or 24GB.")
@click.option(
    "--max-duration", default="10m", show_default=True, help="Longest run; with the rest it makes the price."
)
@click.option("--max-price", help="The most credits the task may cost.")
@click.option(
    "--deposit", help="Credits to put into a channel that is new or too small [default: ten such tasks]."
)
@click.option("-y", "--yes", is_flag=True, help="Open or fill the channel without asking.")
@click.option("-i", "--input", "inputs", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file to bring along, under its name; again for more.")  # fmt: skip
@click.option(
    "-o", "--output", "outputs", multiple=True, metavar="GLOB", help="Files to bring back; again for more."
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where they go [default: here].",
)
@click.option("--receipt", type=click.Path(dir_okay=False, path_type=Path), help="Where the receipt goes.")
@channels_option
@json_option
@click.argument("command", nargs=-1, required=True)
def run(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, as_json: bool,
    command: tuple[str, ...], **options: Any,
) -> int:  # fmt: skip
    """Run COMMAND on a node of the network, show what it prints as it comes, and keep the receipt.

    The node is the cheapest that the task fits on. The most it can cost is said before anything is signed or spent.
    The exit code is the command's, 1 where it failed otherwise.
    """
    task = _task(command, options)
    key = signing_key(key_name, password_file)
    done = asyncio.run(_run(network_file, rpc, key, task, options, as_json))
    file = save_receipt(done, options["receipt"])
    for path, content in done.outputs.items():
        target = options["into"] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    _tell(done, file, as_json)
    return done.exit_code


def _task(command: tuple[str, ...], options: dict[str, Any]) -> DirectTask:
    from farlane.domain.units import parse_seconds
    from farlane.sdk.direct_task import command_task
    from farlane.sdk.options import read_resources

    inputs = {path.name: path.read_bytes() for path in options["inputs"]}
    if len(inputs) < len(options["inputs"]):
        raise InvalidInput("two input files have the same name; expected each name once")
    return command_task(
        command[0] if len(command) == 1 else shlex.join(command),
        resources=read_resources(options["cpu"], options["memory"], options["gpu"], options["disk"]),
        timeout_s=parse_seconds(options["max_duration"]),
        inputs=inputs,
        outputs=options["outputs"],
    )


async def _run(
    network_file: Path, url: str, key: PrivateKey, task: DirectTask, options: dict[str, Any], as_json: bool
) -> DirectRun:
    from farlane.domain.units import parse_credits_floor

    async with network_chain(network_file, url, options["policy"]) as chain:
        publisher, node = await _publisher(chain, key, task, options)
        cap = None if options["max_price"] is None else parse_credits_floor(options["max_price"])
        deposit = _deposit(chain, publisher.quote_ceiling(task), options["deposit"])
        spending = await publisher.spending(task, deposit)
        say(
            f"node {node.entry.key} at {node.entry.listing.endpoint}: at most {money(spending.ceiling_nano)} credits"
        )
        if cap is None or spending.ceiling_nano <= cap:  # beyond the cap `run` refuses, and nothing is asked
            _ask(chain, spending, options["yes"])
        return await publisher.run(
            task,
            max_nano=cap,
            deposit_units=spending.deposit_units,
            on_output=_quiet if as_json else _print,
            on_recovered=lambda found: say(f"an order left behind was finished: {save_receipt(found, None)}"),
        )


def _deposit(chain: Chain, ceiling_nano: int, given: str | None) -> int:
    """Return how many units go into a channel that is new or too small."""
    from farlane.domain.units import parse_credits_floor
    from farlane.ledger.vouchers import units_floor

    nano = DEPOSIT_TASKS * ceiling_nano if given is None else parse_credits_floor(given)
    return units_floor(nano, chain.deployment.units_per_credit)


def _ask(chain: Chain, spending: Spending, yes: bool) -> None:
    """Ask before money moves on chain.

    Raises:
        InvalidInput: nobody is there to be asked.
        Abort: the answer is no.
    """
    from farlane.ledger.vouchers import nano_floor

    if not spending.deposit_units:
        return
    amount = money(nano_floor(spending.deposit_units, chain.deployment.units_per_credit))
    what = f"{'open a channel with' if spending.opens else 'add to the channel'} {amount} credits"
    if yes:
        say(f"this will {what}")
    elif not sys.stdin.isatty():
        raise InvalidInput(f"this would {what}, and nobody is there to be asked: say --yes")
    elif not ask(f"{what[0].upper()}{what[1:]}?", default=True):
        raise click.Abort


async def _publisher(
    chain: Chain, key: PrivateKey, task: DirectTask, options: dict[str, Any]
) -> tuple[DirectPublisher, FoundNode]:
    from farlane.ledger.accounts import parse_address
    from farlane.sdk.direct import DirectPublisher
    from farlane.sdk.direct_nodes import by_key, cheapest, find_nodes

    least = bond_units(options["min_bond"], chain.deployment)
    found, silent = await find_nodes(chain.rpc, chain.deployment, least)
    for entry, why in silent:
        say(f"{entry.key}: {why}")
    wanted = options["wanted"]
    node = cheapest(found, task.spec) if wanted == "cheapest" else by_key(found, parse_address(wanted))
    directory = channels_directory(options["directory"])
    return DirectPublisher(directory, chain.ledger(), key, node), node


def save_receipt(done: DirectRun, file: Path | None) -> Path:
    """Write a receipt down; returns where."""
    from farlane.ledger.receipt import to_json

    receipt = done.receipt
    path = file or data_directory() / RECEIPTS / f"{receipt.channel.id.hex()[:16]}-{receipt.index}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(receipt))
    return path


def _print(stream: str, data: bytes) -> None:
    target = sys.stdout if stream == "stdout" else sys.stderr
    target.buffer.write(data)
    target.buffer.flush()


def _quiet(stream: str, data: bytes) -> None:
    """Print nothing: it all stands in the JSON at the end."""


def _tell(done: DirectRun, file: Path, as_json: bool) -> None:
    failure = done.failure
    if as_json:
        print_json(
            {
                "failure": None if failure is None else {"kind": failure.kind, "message": failure.message},
                "exit_code": done.exit_code, "node": done.node, "stdout": done.stdout, "stderr": done.stderr,
                "files": sorted(done.outputs), "lease_ms": done.leaf.lease_ms,
                "amount_nano": done.leaf.amount_nano, "receipt": file.absolute(),
            }
        )  # fmt: skip
        return
    say(f"{done.leaf.lease_ms / 1000:g} s, {money(done.leaf.amount_nano)} credits; receipt in {file}")
    if failure is not None:
        say(f"failed ({failure.kind.value}; {failure.rule.words()}): {failure.message}")
