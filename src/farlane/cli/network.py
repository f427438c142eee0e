"""`farlane up`, `down`, `backup` and `restore`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.output import counted, json_option, plain, print_json, say
from farlane.errors import InvalidSetting
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.app.network import NodePlan, Running

NODE_KEYS = "name, cpu, memory, disk, core_hour, gib_hour, gpu_hour, gib_moved, labels"
LOG_LINES = 8


def network_directory(given: str | None) -> Path:
    """Return a network's directory: the one given, else the user's."""
    return Path(given).expanduser() if given else data_directory()


directory_option = click.option(
    "--dir", "directory", help="The network's directory [default: FARLANE_DIR or ~/.farlane]."
)
config_option = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Configuration file (TOML or YAML, one table per group).",
)


@click.command()
@directory_option
@click.option(
    "--nodes", type=click.IntRange(0, 64), help="Nodes on this machine, sharing it evenly [default: 2]."
)
@click.option(
    "--node", "described", multiple=True, metavar="KEY=VALUE,...", help=f"One node in detail: {NODE_KEYS}."
)
@click.option("--host", help="Address to listen on, 0.0.0.0 for every one [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any [default: 7717].")
@click.option("--organisation", help="Who owns the network and its nodes [default: local].")
@click.option("--policy", help="Placement policy: fifo, shortest-first, best-fit or spread.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Loopback port for the hub's Prometheus metrics."
)
@config_option
@click.option(
    "--set", "settings", multiple=True, metavar="GROUP.FIELD=VALUE", help="A setting, such as hub.lease_s=20."
)
@json_option
def up(directory: str | None, as_json: bool, **options: Any) -> int:
    """Start a whole network on this machine: a hub and nodes, each its own process.

    What is already running is left alone; after a stop or a crash every queued job continues. Options are remembered
    and come into force when the process they concern starts next.
    """
    from farlane.app.joining import await_joined
    from farlane.app.network import up as start

    root, since = network_directory(directory), time.time()
    hub, nodes = _settings(options)
    running = start(
        root, _plans(root, options["nodes"], options["described"]), organisation=options["organisation"],
        hub_settings=hub, node_settings=nodes, config=options["config"], tell=say,
    )  # fmt: skip
    late = await_joined(running.directory, running.nodes_started, since, say)
    _complain(running.directory, late)
    if as_json:
        print_json({**plain(running), "not_joined": sorted(late)})
    else:
        _show(running, late)
    return 1 if late else 0


def _settings(options: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of the hub and of every node that `--set` and options of their own give."""
    from farlane.app.configuration import assignments, by_group

    hub, nodes = by_group(assignments(options["settings"]))
    for key in ("policy", "metrics_port", "host", "port"):
        if options[key] is not None and key in hub:
            raise InvalidSetting(
                f"--{key.replace('_', '-')} and --set hub.{key} say the same; give one of them"
            )
        if options[key] is not None:
            hub[key] = str(options[key])
    return hub, nodes


def _complain(root: Path, late: dict[str, str]) -> None:
    from farlane.app.layout import Layout
    from farlane.app.processes import last_lines

    for name, what in late.items():
        log = Layout(root).log(name)
        say(f"{name} {what}; the end of {log} says:\n{last_lines(log, LOG_LINES)}")


def _show(running: Running, late: dict[str, str]) -> None:
    from farlane.app.addresses import is_loopback
    from farlane.wire.channel import parse_url

    new = f", {len(running.nodes_started)} started now" if running.nodes_started else ""
    lacking = f", {len(late)} not joined" if late else ""
    click.echo(f"network {running.network} is up: {counted(len(running.nodes), 'node')}{new}{lacking}")
    click.echo(f"  url         {running.url}")
    click.echo(f"  join token  {running.join_token}")
    click.echo(f"  client      {running.client}")
    click.echo(f"  data        {running.directory}")
    if running.gateway:
        click.echo(f"  models      {running.gateway}/v1 (OpenAI), {running.gateway}/v2 (Open Inference)")
    if running.gateway_grpc:
        click.echo(f"              {running.gateway_grpc} (Open Inference over gRPC)")
    if running.waiting:
        say(f"not in force yet: {'; '.join(running.waiting)}")
        say("to bring it into force: `farlane down`, then `farlane up`; queued jobs are kept")
    where = "here; for other machines: farlane up --host 0.0.0.0"
    click.echo("next:")
    click.echo("  farlane nodes                              # who is there, at what price")
    click.echo("  farlane run -y -- echo hello               # run a command line, see its quote and its log")
    click.echo(
        f"  farlane join {running.url} --token TOKEN   # "
        f"{where if is_loopback(parse_url(running.url)[0]) else 'on another machine'}"
    )


def _plans(root: Path, nodes: int | None, described: tuple[str, ...]) -> list[NodePlan]:
    from farlane.app.layout import Layout
    from farlane.app.network_file import NodePlan, check_name

    if described:
        plans = [_described(text) for text in described]
    elif nodes is None and Layout(root).network.exists():
        return []
    else:
        from farlane.app.sharing import even_share

        count = 2 if nodes is None else nodes
        share = even_share(count) if count else {}
        plans = [NodePlan(f"node-{number}", share=dict(share)) for number in range(1, count + 1)]
    for plan in plans:
        check_name(plan.name)
    return plans


def _described(text: str) -> NodePlan:
    from farlane.app.network_file import NodePlan

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

    stopped, killed = stop(network_directory(directory))
    if as_json:
        print_json({"stopped": stopped, "killed": killed})
        return
    click.echo(f"stopped: {', '.join(stopped) or 'nothing was running'}")
    if killed:
        click.echo(f"did not stop in time and were killed: {', '.join(killed)}")


@click.command()
@click.argument("name", required=False)
@json_option
def backup(name: str | None, as_json: bool) -> None:
    """Write a consistent copy of the hub's store, called NAME, while it runs; prints where it is."""
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
@json_option
def restore(file: str, directory: str | None, as_json: bool) -> None:
    """Put the backup FILE in place of a network's store. Older leases become void: a new store epoch begins."""
    from farlane.app.backup import restore_network

    root = network_directory(directory)
    kept = restore_network(Path(file), root)
    if as_json:
        print_json({"directory": root, "kept": kept})
        return
    if kept is not None:
        click.echo(f"the store that was there is kept as {kept}")
    click.echo(f"restored into {root}; `farlane up` continues from there")
