"""`farlane node serve`: this machine as a node that publishers find on chain and call without any hub."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farlane.cli.chain_options import network_option, read_network_file, signing_options
from farlane.cli.key_options import signing_key
from farlane.cli.network import config_option
from farlane.cli.output import json_option, on_terminal, print_json_line, say
from farlane.errors import InvalidInput
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.ledger.network_registry import Entry
    from farlane.node.direct.settings import DirectSettings


@click.group()
def node() -> None:
    """This machine as a node of its own, without any hub."""


@node.command()
@network_option
@signing_options
@click.option(
    "--listen", default="0.0.0.0:7718", show_default=True, metavar="HOST:PORT", help="Where it listens."
)
@click.option("--endpoint", required=True, metavar="URL", help="How others reach it: https://host:port.")
@click.option(
    "--allow", "payers", multiple=True, metavar="ADDRESS", help="A payer to work for; again for more."
)
@click.option("--cpu", type=float, help="Cores for direct calls [default: all that the node offers].")
@click.option(
    "--credit", default="1", show_default=True, help="Credits that one task may reserve before it is paid."
)
@click.option("--claim-every", default="10m", show_default=True, help="How often vouchers are claimed.")
@click.option("--dir", "directory", help="The node's directory [default: ~/.farlane/direct].")
@config_option
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="node.FIELD=VALUE",
    help="A node setting, such as node.core_hour=0.03.",
)
@json_option
def serve(
    network_file: Path, rpc: str, key_name: str, password_file: Path | None, as_json: bool, **options: Any
) -> None:
    """Register this machine in the network's registry and serve publishers directly. Ends with Ctrl-C.

    Tasks run as the user who starts this, WITHOUT A SANDBOX: only payers named by --allow are let in. The key signs
    what the node did, is paid for it, and needs some of the chain's coin to register and to claim.
    """
    from farlane.app.direct_serving import DirectPlan, serve_directly
    from farlane.kit.logs import configure

    host, port = _listen(options["listen"])
    deployment = read_network_file(network_file)
    key = signing_key(key_name, password_file)
    plan = DirectPlan(
        _node_settings(options), _direct_settings(options), deployment, rpc, host, port, options["endpoint"],
        options["cpu"],
    )  # fmt: skip
    configure(style="text" if on_terminal() else "json")
    if not plan.direct.payers:
        say("nobody is let in: name payers by --allow ADDRESS")

    def ready(entry: Entry) -> None:
        if as_json:
            print_json_line(
                {"key": entry.key, "endpoint": entry.listing.endpoint, "network": deployment.network}
            )
        else:
            say(
                f"node {entry.key} serves at {entry.listing.endpoint}; stop it with Ctrl-C (what runs is finished)"
            )

    asyncio.run(serve_directly(plan, key, ready))


def _listen(text: str) -> tuple[str, int]:
    host, sign, port = text.rpartition(":")
    if not (host and sign and port.isdecimal() and int(port) < 65536):
        raise InvalidInput(f"--listen {text!r} is not HOST:PORT, such as 0.0.0.0:7718 or [::]:7718")
    return host.strip("[]"), int(port)


def _node_settings(options: dict[str, Any]) -> Any:
    from dataclasses import replace

    from farlane.app.configuration import assignments, configuration

    given = configuration(options["config"], assignments(options["settings"])).node
    directory = options["directory"]
    return replace(
        given, directory=Path(directory).expanduser() if directory else data_directory() / "direct"
    )


def _direct_settings(options: dict[str, Any]) -> DirectSettings:
    from farlane.domain.units import parse_credits_floor, parse_seconds
    from farlane.ledger.accounts import parse_address
    from farlane.node.direct.settings import DirectSettings

    return DirectSettings(
        payers=frozenset(parse_address(one) for one in options["payers"]),
        credit_nano=parse_credits_floor(options["credit"]),
        claim_s=parse_seconds(options["claim_every"]),
    )
