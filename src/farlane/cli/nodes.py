"""`farlane nodes` and `farlane drain`."""

from __future__ import annotations

import time

import click

from farlane.cli.connecting import with_client
from farlane.cli.output import ago, counted, json_option, money, print_json, print_table, say
from farlane.domain.ids import NodeId
from farlane.domain.prices import hourly_ceiling
from farlane.domain.resources import GIB, Resources
from farlane.domain.units import bytes_text
from farlane.sdk.values import NodeStatus

GONE_S = 24 * 3600.0
"""An offline node that was not seen for so long is not listed unless asked for."""


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Nodes that left long ago too.")
@json_option
def nodes(everything: bool, as_json: bool) -> None:
    """List nodes. Prices are credits an hour for one core and one GiB.

    Offline nodes that were not seen for 24 hours, or not since the hub was started, are left out without --all.
    """
    known = with_client(lambda client: client.nodes())
    found = [node for node in known if everything or not _long_gone(node, time.time())]
    if len(found) < len(known):
        gone = len(known) - len(found)
        say(
            f"{counted(gone, 'node')} offline for long {'is' if gone == 1 else 'are'} left out; --all shows all"
        )
    if as_json:
        print_json(found)
        return
    if not known:
        click.echo("no node has joined yet; start one with `farlane join`, or `farlane up --nodes 2`")
        return
    headings = ("NODE", "STATE", "CPU", "MEMORY", "GPUS", "PYTHON", "CORE/H", "GIB/H", "LEASES", "DONE", "FAILED",
                "LOST", "EARNED", "SEEN")  # fmt: skip
    print_table(headings, [_row(node) for node in found], right=(6, 7, 8, 9, 10, 11, 12, 13))


def _long_gone(node: NodeStatus, now: float) -> bool:
    # A hub that was started anew knows when a node joined first, but not when it was last there.
    return node.state == "offline" and max(node.last_seen, node.joined_at) < now - GONE_S


def _row(node: NodeStatus) -> tuple[str, ...]:
    spec = node.spec
    capacity = spec.capacity
    cpu = f"{node.used_cpu_milli / 1000:g}/{capacity.cpu_milli / 1000:g}"
    memory = f"{bytes_text(node.used_memory_bytes)}/{bytes_text(capacity.memory_bytes)}"
    gpus = " ".join(f"{count}x{kind.model}" for kind, count in capacity.gpus) or "-"
    core = hourly_ceiling(spec.rates, Resources(1000, 1, 0))
    gib = spec.rates.gib_second * 3600 * GIB // GIB
    return (
        spec.name, node.state, cpu, memory, gpus, spec.python, money(core), money(gib), str(node.leases),
        str(node.tasks_done), str(node.tasks_failed), str(node.attempts_lost), money(node.earned),
        ago(node.last_seen),
    )  # fmt: skip


@click.command()
@click.argument("node")
@click.option("--hand-back", is_flag=True, help="Also return what has not started; what runs is finished.")
@json_option
def drain(node: str, hand_back: bool, as_json: bool) -> None:
    """Give NODE (name or id) no new work; it finishes or hands back what it holds and leaves."""
    leases = with_client(lambda client: client.drain(NodeId(node), hand_back=hand_back))
    if as_json:
        print_json({"node": node, "leases": leases})
    else:
        done = "it is done" if leases == 1 else "they are done"
        click.echo(
            f"{node} takes no new work; it still holds {counted(leases, 'task')} and leaves when {done}"
        )
