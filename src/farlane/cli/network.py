"""`farlane up`, `down`, `join`, `backup` and `restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from farlane.app.network import NodePlan
from farlane.cli.output import json_option, print_json, say
from farlane.errors import InvalidSetting
from farlane.sdk.context import data_directory

NODE_KEYS = "name, cpu, memory, disk, core_hour, gib_hour, gpu_hour, gib_moved, labels"


def _directory(given: str | None) -> Path:
    return Path(given).expanduser() if given else data_directory()


directory_option = click.option(
    "--dir", "directory", help="The network's directory [default: FARLANE_DIR or ~/.farlane]."
)


@click.command()
@directory_option
@click.option(
    "--nodes", type=click.IntRange(0, 64), help="Nodes on this machine, sharing it evenly [default: 2]."
)
@click.option(
    "--node", "described", multiple=True, metavar="KEY=VALUE,...", help=f"One node in detail: {NODE_KEYS}."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, help="Port to listen on, 0 for any [default: 7717].")
@click.option(
    "--organisation", default="local", show_default=True, help="Who owns the network and its nodes."
)
@click.option("--policy", help="Placement policy: fifo, shortest-first, best-fit or spread.")
@click.option("--metrics-port", type=int, help="Loopback port for the hub's Prometheus metrics.")
@json_option
def up(
    directory: str | None, nodes: int | None, described: tuple[str, ...], host: str, port: int | None,
    organisation: str, policy: str | None, metrics_port: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Start a whole network on this machine: a hub and nodes, each its own process.

    What is already running is left alone; after a stop or a crash every queued job continues.
    """
    from farlane.app.network import up as start

    root = _directory(directory)
    plans = _plans(root, nodes, described)
    settings = {"policy": policy, "metrics_port": None if metrics_port is None else str(metrics_port)}
    running = start(
        root, plans, host=host, port=port, organisation=organisation,
        hub_settings={key: value for key, value in settings.items() if value is not None}, tell=say,
    )  # fmt: skip
    if as_json:
        print_json(running)
        return
    new = f", {len(running.nodes_started)} started now" if running.nodes_started else ""
    click.echo(f"network {running.network} is up: {len(running.nodes)} nodes{new}")
    click.echo(f"  url         {running.url}")
    click.echo(f"  join token  {running.join_token}")
    click.echo(f"  data        {running.directory}")
    click.echo("next:")
    click.echo("  farlane nodes                              # who is there, at what price")
    click.echo("  farlane run -y -- echo hello               # run a command line, see its quote and its log")
    click.echo(f"  farlane join {running.url} --token TOKEN   # on another machine")


def _plans(root: Path, nodes: int | None, described: tuple[str, ...]) -> list[NodePlan]:
    from farlane.app.layout import Layout
    from farlane.app.network import check_name

    if described:
        plans = [_described(text) for text in described]
    elif nodes is None and Layout(root).network.exists():
        return []
    else:
        from farlane.app.sharing import even_share

        count = 2 if nodes is None else nodes
        share = even_share(count) if count else {}
        plans = [NodePlan(f"node-{number}", dict(share)) for number in range(1, count + 1)]
    for plan in plans:
        check_name(plan.name)
    return plans


def _described(text: str) -> NodePlan:
    try:
        values = dict(part.split("=", 1) for part in text.split(","))
        name = values.pop("name")
    except (ValueError, KeyError) as error:
        raise InvalidSetting(
            f"--node {text!r} is not understood; expected name=NAME,KEY=VALUE,... with keys {NODE_KEYS}"
        ) from error
    return NodePlan(name, values)


@click.command()
@directory_option
@json_option
def down(directory: str | None, as_json: bool) -> None:
    """Stop the hub and the nodes of this machine. Queued jobs are kept; `farlane up` continues them."""
    from farlane.app.network import down as stop

    stopped, killed = stop(_directory(directory))
    if as_json:
        print_json({"stopped": stopped, "killed": killed})
        return
    click.echo(f"stopped: {', '.join(stopped) or 'nothing was running'}")
    if killed:
        click.echo(f"did not stop in time and were killed: {', '.join(killed)}")


@click.command()
@click.argument("url")
@click.option("--token", help="The join token `farlane up` printed [or FARLANE_JOIN_TOKEN].")
@click.option("--name", help="The node's name [default: this machine's].")
@click.option("--dir", "directory", help="The node's directory [default: ~/.farlane/joined/NAME].")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="A node setting, such as cpu=4."
)
def join(
    url: str, token: str | None, name: str | None, directory: str | None, settings: tuple[str, ...]
) -> int:
    """Add this machine to the network at URL as a node. It only connects outwards. Ends with Ctrl-C or `farlane drain`.

    A token on the command line can be read by other users of this machine: prefer FARLANE_JOIN_TOKEN.
    """
    import platform

    from farlane.app.network import check_name
    from farlane.app.node_process import TOKEN_VARIABLE, main
    from farlane.wire.tokens import parse_token

    text = token or os.environ.get(TOKEN_VARIABLE, "")
    parse_token(text)
    os.environ[TOKEN_VARIABLE] = text
    name = check_name(name or platform.node().split(".")[0] or "node")
    root = Path(directory).expanduser() if directory else data_directory() / "joined" / name
    wanted = {"name": name, "directory": str(root)} | dict(
        pair.split("=", 1) for pair in settings if "=" in pair
    )
    flags = [part for key, value in wanted.items() for part in ("--set", f"node.{key}={value}")]
    say(f"node {name} joins {url}; stop it with Ctrl-C (it finishes what it runs)")
    return main(["--dir", str(root), "--url", url, *flags])


@click.command()
@click.argument("name", required=False)
@json_option
def backup(name: str | None, as_json: bool) -> None:
    """Write a consistent copy of the hub's store, called NAME, while it runs; prints where it is."""
    import time

    from farlane.cli.connecting import with_client
    from farlane.domain.units import bytes_text

    wanted = name or time.strftime("backup-%Y%m%d-%H%M%S.db")
    made = with_client(lambda client: client.backup(wanted))
    if as_json:
        print_json(made)
    else:
        click.echo(f"{made.path} ({bytes_text(made.size_bytes)})")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@directory_option
def restore(file: str, directory: str | None) -> None:
    """Put the backup FILE in place of a network's store. Older leases become void: a new store epoch begins."""
    from farlane.app.backup import restore_network

    root = _directory(directory)
    kept = restore_network(Path(file), root)
    if kept is not None:
        click.echo(f"the store that was there is kept as {kept}")
    click.echo(f"restored into {root}; `farlane up` continues from there")
