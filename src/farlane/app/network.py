"""A whole network on one machine: `up` starts what is missing, `down` stops what is ours."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farlane.app.addresses import certificate_names
from farlane.app.configuration import Configuration
from farlane.app.gateway_addresses import gateway_addresses
from farlane.app.layout import Layout
from farlane.app.network_file import (
    CONFIG,
    NetworkFile,
    NodePlan,
    check_name,
    check_organisation,
    load,
    load_if_there,
    prefixed,
    save,
)
from farlane.app.processes import Process, last_lines, start_detached, stop_all
from farlane.errors import Conflict, Unavailable
from farlane.hub.credentials import Credentials
from farlane.hub.deciding.opening import rule_of
from farlane.kit.file_lock import FileLock
from farlane.kit.files import private_directory
from farlane.kit.keys import random_secret, server_certificate
from farlane.sdk.context import Endpoint, read_client_file, write_client_file
from farlane.wire.tokens import Token

__all__ = ["NetworkFile", "NodePlan", "Running", "add_node", "check_name", "down", "load", "up"]

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.03
DEFAULT_ORGANISATION = "local"


@dataclass(frozen=True, slots=True)
class Running:
    """What `up` found or started.

    waiting: settings that were asked for but come into force at the next start, for people.
    """

    url: str
    join_token: str = field(repr=False)
    network: str
    directory: Path
    client: Path
    hub_started: bool
    nodes: tuple[str, ...]
    nodes_started: tuple[str, ...]
    waiting: tuple[str, ...]
    gateway: str
    """Base URL for clients of served models; empty where there is none."""
    gateway_grpc: str
    """Host and port of the same over gRPC; empty where there is none."""


def up(
    directory: Path,
    plans: Sequence[NodePlan],
    *,
    host: str | None = None,
    port: int | None = None,
    organisation: str | None = None,
    hub_settings: Mapping[str, str] | None = None,
    node_settings: Mapping[str, str] | None = None,
    config: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Running:
    """Start the hub and the nodes that are not running yet; everything queued continues.

    What is given is remembered, and comes into force when the process it concerns starts next.

    Args:
        directory: the network's directory, made when missing.
        plans: nodes; where the network already has nodes and none are named, those are started again.
        host: address the hub listens on, 127.0.0.1 where none was ever given.
        port: its port, 0 for any; an old network keeps its own unless one is given.
        organisation: who owns a new network.
        hub_settings: `hub.field` without the prefix.
        node_settings: of every node, `node.field` without the prefix.
        config: configuration file of the hub and the nodes.
        tell: progress for people.

    Raises:
        InvalidSetting: settings that cannot be; nothing was started.
        Conflict: the network belongs to another organisation.
        Unavailable: a process did not start; the message shows the end of its log.
    """
    layout = Layout(private_directory(directory).absolute())
    places = {"host": host, "port": None if port is None else str(port)}
    given = {**(hub_settings or {}), **{key: value for key, value in places.items() if value is not None}}
    with FileLock(layout.root / "up.lock"):
        known = load_if_there(layout) or _new_network(organisation)
        _check_organisation(known, organisation)
        _remember(known, plans, given, node_settings or {}, config)
        settings = known.configuration()
        rule_of(settings.hub)
        ready, hub_started = _start_hub(layout, known, settings, tell)
        started = tuple(name for name in known.plans if _start_node(layout, known, name, settings))
        save(layout, known)
        waiting = known.waiting(settings)
    return Running(
        known.url, known.join_token, ready["network"], layout.root, layout.client, hub_started, tuple(known.plans),
        started, tuple(waiting), *gateway_addresses(settings.hub, ready),
    )  # fmt: skip


def down(directory: Path) -> tuple[list[str], list[str]]:
    """Stop everything `up` has started here; returns the names stopped and those that had to be killed.

    Raises:
        NotFound: no network in this directory.
    """
    layout = Layout(directory)
    known = load(layout)
    nodes = {
        name: process for name, process in known.nodes.items() if process is not None and process.alive()
    }
    killed = stop_all(list(nodes.values()), STOP_S)
    hub = [known.hub] if known.hub is not None and known.hub.alive() else []
    killed += stop_all(hub, STOP_S)
    names = [*nodes, *(["hub"] if hub else [])]
    by_pid = {process.pid: name for name, process in nodes.items()} | {process.pid: "hub" for process in hub}
    return names, [by_pid[process.pid] for process in killed]


def add_node(directory: Path, plan: NodePlan) -> None:
    """Start one more node of a network that runs here."""
    layout = Layout(directory.absolute())
    with FileLock(layout.root / "up.lock"):
        known = load(layout)
        _remember(known, [plan], {}, {}, None)
        _start_node(layout, known, plan.name, known.configuration())
        save(layout, known)


def _new_network(organisation: str | None) -> NetworkFile:
    name = DEFAULT_ORGANISATION if organisation is None else check_organisation(organisation)
    return NetworkFile(name, "", 0, "")


def _check_organisation(known: NetworkFile, organisation: str | None) -> None:
    if organisation not in (None, known.organisation):
        raise Conflict(
            f"this network belongs to {known.organisation!r}, which tokens and nodes refer to, and not to "
            f"{organisation!r}. Leave --organisation out, or make another network with --dir"
        )


def _remember(
    known: NetworkFile,
    plans: Sequence[NodePlan],
    hub_settings: Mapping[str, str],
    node_settings: Mapping[str, str],
    config: Path | None,
) -> None:
    """Take new options into what is known."""
    ignored = "port" if known.hub_alive and hub_settings.get("port") == "0" else None  # any port: it has one
    known.hub_settings |= {key: value for key, value in hub_settings.items() if key != ignored}
    known.node_settings |= node_settings
    for plan in known.plans.values():
        # The last word wins: what is now asked of all nodes goes before what was once asked of one.
        for key in node_settings:
            plan.pop(key, None)
    known.plans |= {plan.name: dict(plan.settings) for plan in plans}
    known.shares |= {plan.name: dict(plan.share) for plan in plans}
    if config is not None:
        known.config = str(config.absolute())


def _found(layout: Layout, known: NetworkFile) -> None:
    """Make a new network: TLS key, secrets, client file."""
    certificate = server_certificate(layout.tls, certificate_names(known.host))
    credentials = Credentials(layout.credentials)
    publisher = f"{known.organisation}/{getpass.getuser()}"
    secrets = {"client": random_secret(), "node": random_secret()}
    credentials.add(secrets["client"], "client", known.organisation, publisher, admin=True, owner=True)
    credentials.add(secrets["node"], "node", known.organisation, "")
    pin = certificate.spki_sha256
    client = Token("client", known.organisation, publisher, pin, secrets["client"])
    known.join_token = Token("node", known.organisation, "", pin, secrets["node"]).text()
    write_client_file(layout.root, Endpoint(known.local_url, client.text()))


def _start_hub(
    layout: Layout, known: NetworkFile, settings: Configuration, tell: Callable[[str], None]
) -> tuple[dict[str, Any], bool]:
    """Start the hub unless it runs; returns what it said when it was ready and whether it was started."""
    hub, started = known.hub, False
    if hub is None or not hub.alive():
        tell("starting the hub")
        layout.ready.unlink(missing_ok=True)
        values = known.hub_values(settings)
        known.host, known.port = values["host"], int(values["port"])
        if not known.join_token:
            _found(layout, known)
        arguments = ["--dir", str(layout.root), *_options(known, "hub", values)]
        hub = known.hub = start_detached("farlane.app.hub_process", arguments, layout.log("hub"), {})
        started = True
    ready = _await_ready(layout, hub)
    known.port = ready["port"]
    if started:
        if "port" in known.hub_settings:
            known.hub_settings["port"] = str(known.port)
        known.started["hub"] = known.with_config(known.hub_values(settings) | {"port": str(known.port)})
    client = read_client_file(layout.root)
    if client.url != known.local_url:
        write_client_file(layout.root, Endpoint(known.local_url, client.token))
    return ready, started


def _await_ready(layout: Layout, hub: Process) -> dict[str, Any]:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if layout.ready.exists():
            ready: dict[str, Any] = json.loads(layout.ready.read_bytes())
            if ready["pid"] == hub.pid:
                return ready
        if not hub.alive():
            break
        time.sleep(POLL_S)
    raise Unavailable(
        f"the hub did not start; the end of {layout.log('hub')} says:\n{last_lines(layout.log('hub'))}"
    )


def _start_node(layout: Layout, known: NetworkFile, name: str, settings: Configuration) -> bool:
    if known.node_alive(name):
        return False
    values = known.node_values(name, settings)
    places = {"name": name, "directory": str(layout.node(name))}
    arguments = [
        "--dir", str(layout.root), "--url", known.local_url, *_options(known, "node", places | values),
    ]  # fmt: skip
    environment = {"FARLANE_JOIN_TOKEN": known.join_token}
    known.nodes[name] = start_detached("farlane.app.node_process", arguments, layout.log(name), environment)
    known.started[name] = known.with_config(values)
    return True


def _options(known: NetworkFile, group: str, values: dict[str, str]) -> list[str]:
    """Return the command line of a process: its configuration file and settings."""
    config = [] if known.config is None else [CONFIG, known.config]
    return config + [
        part for key, value in prefixed(group, values).items() for part in ("--set", f"{key}={value}")
    ]
