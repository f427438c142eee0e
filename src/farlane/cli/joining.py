"""`farlane join`: this machine as a node, in the foreground."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import bond_units, min_bond_option
from farlane.cli.key_options import password_option, signing_key
from farlane.cli.network import config_option
from farlane.cli.output import json_option, on_terminal, print_json, say
from farlane.errors import InvalidInput, InvalidSetting
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.app.configuration import Configuration


@click.command()
@click.argument("url", required=False)
@click.option("--token", help="The join token `farlane up` printed [or FARLANE_JOIN_TOKEN].")
@click.option(
    "--network",
    "network_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead of URL and token: find a hub of this network file on chain, and be let in by key.",
)
@click.option("--rpc", metavar="RPC-URL", help="With --network: JSON-RPC endpoint of its chain.")
@click.option(
    "--key", "key_name", metavar="NAME", help="With --network: your key that stands in its registry."
)
@min_bond_option
@password_option
@click.option("--name", help="The node's name [default: this machine's].")
@click.option("--dir", "directory", help="The node's directory [default: ~/.farlane/joined/NAME].")
@config_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="[node.]FIELD=VALUE",
    help="A node setting, such as cpu=4 or node.cpu=4.",
)
@json_option
def join(
    url: str | None, token: str | None, name: str | None, directory: str | None, config: Path | None,
    settings: tuple[str, ...], as_json: bool, network_file: Path | None, **chain: Any,
) -> int:  # fmt: skip
    """Add this machine to the network at URL as a node. It only connects outwards. Ends with Ctrl-C or `farlane drain`.

    A token on the command line can be read by other users of this machine: prefer FARLANE_JOIN_TOKEN. The log goes to
    stderr: text on a terminal, else one JSON object a line. With --json, stdout has the node's id, name and directory.
    """
    from farlane.app.configuration import configuration
    from farlane.app.network_file import check_name
    from farlane.app.node_process import TOKEN_VARIABLE, main
    from farlane.wire.channel import parse_url
    from farlane.wire.tokens import parse_token

    if network_file is not None:
        if url is not None or token is not None:
            raise InvalidInput("--network finds the hub by itself: give either it or URL and --token")
        return _join_by_key(network_file, name, directory, config, settings, as_json, chain)
    if chain["min_bond"] is not None:
        raise InvalidInput("--min-bond chooses among the hubs of a network file: give --network too")
    if url is None:
        raise click.UsageError(
            "Missing argument 'URL'; or --network FILE --rpc URL --key NAME instead of it."
        )
    parse_url(url)
    text = token or os.environ.get(TOKEN_VARIABLE, "")
    if not text:
        raise InvalidInput(
            f"no token: give --token or set {TOKEN_VARIABLE}; `farlane token` prints one where the network was started"
        )
    parse_token(text)
    os.environ[TOKEN_VARIABLE] = text
    flags = _flags(settings)
    given = configuration(config, flags)
    name = check_name(name or given.node.name or platform.node().split(".")[0] or "node")
    root = _root(directory, given, name)
    flags |= {"node.name": name, "node.directory": str(root)}
    arguments = [part for key, value in flags.items() for part in ("--set", f"{key}={value}")]
    if config is not None:
        arguments += ["--config", str(config)]
    say(f"node {name} joins {url}; stop it with Ctrl-C (it finishes what it runs)")
    if as_json:
        _print_identity(root, name, url)
    return main(["--dir", str(root), "--url", url, *arguments], "text" if on_terminal() else "json")


def _join_by_key(
    network_file: Path, name: str | None, directory: str | None, config: Path | None, settings: tuple[str, ...],
    as_json: bool, chain: dict[str, Any],
) -> int:  # fmt: skip
    import asyncio
    from dataclasses import replace

    from farlane.app.admitting import work_by_key
    from farlane.app.configuration import configuration
    from farlane.app.network_file import check_name
    from farlane.cli.chain_options import read_network_file
    from farlane.kit.logs import configure

    rpc, key_name = chain["rpc"], chain["key_name"]
    if not rpc or not key_name:
        raise InvalidInput("--network needs --rpc URL and --key NAME too")
    deployment = read_network_file(network_file)
    given = configuration(config, _flags(settings))
    name = check_name(name or given.node.name or platform.node().split(".")[0] or "node")
    root = _root(directory, given, name)
    key = signing_key(key_name, chain["password_file"])
    configure(style="text" if on_terminal() else "json")
    say(f"node {name} looks for a hub of network {deployment.network}; stop it with Ctrl-C")
    if as_json:
        _print_identity(root, name, "")
    least = bond_units(chain["min_bond"], deployment)
    asyncio.run(work_by_key(replace(given.node, name=name, directory=root), rpc, deployment, key, least))
    return 0


def _flags(settings: tuple[str, ...]) -> dict[str, str]:
    """Return `node.field` -> value.

    Raises:
        InvalidSetting: a setting of the hub, or one that has an option of its own.
    """
    from farlane.app.configuration import assignments

    found = {f"node.{key.removeprefix('node.')}": value for key, value in assignments(settings).items()}
    for key, option in (("node.name", "--name"), ("node.directory", "--dir")):
        if key in found:
            raise InvalidSetting(f"--set {key} has an option of its own; use {option}", setting=key)
    return found


def _root(directory: str | None, given: Configuration, name: str) -> Path:
    """Return where the node keeps its data: the option, the configuration, or below the data directory."""
    from farlane.node.settings import NodeSettings

    if directory:
        return Path(directory).expanduser()
    chosen = given.node.directory
    return chosen if chosen != NodeSettings().directory else data_directory() / "joined" / name


def _print_identity(root: Path, name: str, url: str) -> None:
    from farlane.kit.files import private_directory
    from farlane.node.identity import load_identity

    identity = load_identity(private_directory(root))
    print_json({"node": identity.node, "name": name, "url": url, "directory": root.absolute()})
