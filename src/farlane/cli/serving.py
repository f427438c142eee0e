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
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.app.direct_serving import Serving
    from farlane.node.settings import NodeSettings


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
    "--credit", help="Credits that one payer may owe, what runs included [default: 1, or node.direct_credit]."
)
@click.option("--claim-every", help="How often vouchers are claimed [default: 10m, or node.direct_claim_s].")
@click.option(
    "--delegation",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What `farlane key delegate` wrote: that provider is paid, and lists the node.",
)
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
    from farlane.node.direct.beside import parse_listen
    from farlane.node.direct.settings import direct_settings

    host, port = parse_listen("--listen", options["listen"])
    deployment = read_network_file(network_file)
    key = signing_key(key_name, password_file)
    settings = _node_settings(options)
    plan = DirectPlan(
        settings, direct_settings(settings), deployment, rpc, host, port, options["endpoint"], options["cpu"],
        options["policy"],
    )  # fmt: skip
    configure(style="text" if on_terminal() else "json")
    if not plan.direct.payers:
        say("nobody is let in: name payers by --allow ADDRESS")

    def ready(found: Serving) -> None:
        if as_json:
            print_json_line(
                {
                    "key": found.key, "provider": found.provider, "endpoint": plan.endpoint,
                    "network": deployment.network, "listed": found.listed,
                }
            )  # fmt: skip
        else:
            say(f"node {found.key} serves at {plan.endpoint}; stop it with Ctrl-C (what runs is finished)")
            if not found.listed:
                say(f"{found.provider} must still list it: the line above says how")

    asyncio.run(serve_directly(plan, key, ready))


def _node_settings(options: dict[str, Any]) -> NodeSettings:
    """Return the settings, with what the options say over them."""
    from dataclasses import replace

    from farlane.app.configuration import assignments, configuration
    from farlane.domain.units import parse_seconds

    given = configuration(options["config"], assignments(options["settings"])).node
    directory, credit, every = options["directory"], options["credit"], options["claim_every"]
    return replace(
        given,
        directory=Path(directory).expanduser() if directory else data_directory() / "direct",
        delegation=options["delegation"] or given.delegation,
        direct_allow=(*given.direct_allow, *options["payers"]),
        direct_credit=credit or given.direct_credit,
        direct_claim_s=given.direct_claim_s if every is None else parse_seconds(every),
    )
