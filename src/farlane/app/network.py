"""A whole network on one machine: `up` starts what is missing, `down` stops what is ours."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from farlane.app.layout import Layout
from farlane.app.processes import Process, last_lines, start_detached, stop_all
from farlane.errors import Corrupted, InvalidSetting, NotFound, Unavailable
from farlane.hub.credentials import Credentials
from farlane.kit.file_lock import FileLock
from farlane.kit.files import atomic_write, private_directory, read_private
from farlane.kit.keys import random_secret, server_certificate
from farlane.sdk.context import Endpoint, read_client_file, write_client_file
from farlane.wire.tokens import Token

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.03


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node `up` should run: its name and settings (`node.field` without the prefix)."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class NetworkFile:
    """What `up` has started and with which options, as it stands in network.json."""

    organisation: str
    host: str
    port: int
    join_token: str = field(repr=False)
    hub: Process | None = None
    hub_settings: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Process | None] = field(default_factory=dict)
    plans: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The hub's URL on this machine."""
        return f"https://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Running:
    """What `up` found or started."""

    url: str
    join_token: str = field(repr=False)
    network: str
    directory: Path
    hub_started: bool
    nodes: tuple[str, ...]
    nodes_started: tuple[str, ...]


def up(
    directory: Path,
    plans: Sequence[NodePlan],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    organisation: str = "local",
    hub_settings: dict[str, str] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Running:
    """Start the hub and the nodes that are not running yet; everything queued continues.

    Args:
        directory: the network's directory, made when missing.
        plans: nodes; where the network already has nodes and none are named, those are started again.
        host: address the hub of a new network listens on.
        port: its port, 0 for any; an old network keeps its own unless one is given.
        organisation: who owns a new network.
        hub_settings: `hub.field` without the prefix.
        tell: progress for people.

    Raises:
        Unavailable: a process did not start; the message shows the end of its log.
    """
    layout = Layout(private_directory(directory))
    with FileLock(layout.root / "up.lock"):
        known = _load(layout) or _found(layout, host, port, organisation)
        if port is not None and known.hub is not None and not known.hub.alive():
            known.port = port
        known.hub_settings |= hub_settings or {}
        known.plans |= {plan.name: plan.settings for plan in plans}
        network, hub_started = _start_hub(layout, known, tell)
        started = tuple(name for name in known.plans if _start_node(layout, known, name))
        _save(layout, known)
    return Running(
        known.url, known.join_token, network, layout.root, hub_started, tuple(known.plans), started
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
    layout = Layout(directory)
    with FileLock(layout.root / "up.lock"):
        known = load(layout)
        known.plans[plan.name] = plan.settings
        _start_node(layout, known, plan.name)
        _save(layout, known)


def load(layout: Layout) -> NetworkFile:
    """Read network.json.

    Raises:
        NotFound: there is none.
    """
    known = _load(layout)
    if known is None:
        raise NotFound(
            f"no network in {layout.root}: run `farlane up` there first, or name another with --dir"
        )
    return known


def _found(layout: Layout, host: str, port: int | None, organisation: str) -> NetworkFile:
    """Make a new network: TLS key, secrets, client file."""
    certificate = server_certificate(layout.tls, [host, "localhost"])
    credentials = Credentials(layout.credentials)
    publisher = f"{organisation}/{getpass.getuser()}"
    secrets = {"client": random_secret(), "node": random_secret()}
    credentials.add(secrets["client"], "client", organisation, publisher)
    credentials.add(secrets["node"], "node", organisation, "")
    pin = certificate.spki_sha256
    client = Token("client", organisation, publisher, pin, secrets["client"])
    join = Token("node", organisation, "", pin, secrets["node"])
    known = NetworkFile(organisation, host, 7717 if port is None else port, join.text())
    write_client_file(layout.root, Endpoint(known.url, client.text()))
    return known


def _start_hub(layout: Layout, known: NetworkFile, tell: Callable[[str], None]) -> tuple[str, bool]:
    """Start the hub unless it runs; returns the network's id and whether it was started."""
    started = False
    if known.hub is None or not known.hub.alive():
        tell("starting the hub")
        layout.ready.unlink(missing_ok=True)
        values = {"host": known.host, "port": str(known.port)} | known.hub_settings
        arguments = ["--dir", str(layout.root), *_assignments("hub", values)]
        known.hub = start_detached("farlane.app.hub_process", arguments, layout.log("hub"), {})
        started = True
    ready = _await_ready(layout, known.hub)
    if ready["port"] != known.port:
        known.port = ready["port"]
    client = read_client_file(layout.root)
    if client.url != known.url:
        write_client_file(layout.root, Endpoint(known.url, client.token))
    return ready["network"], started


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


def _start_node(layout: Layout, known: NetworkFile, name: str) -> bool:
    process = known.nodes.get(name)
    if process is not None and process.alive():
        return False
    values = {"name": name, "directory": str(layout.node(name))} | known.plans[name]
    arguments = ["--dir", str(layout.root), "--url", known.url, *_assignments("node", values)]
    environment = {"FARLANE_JOIN_TOKEN": known.join_token}
    known.nodes[name] = start_detached("farlane.app.node_process", arguments, layout.log(name), environment)
    return True


def _assignments(group: str, values: dict[str, str]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{group}.{key}={value}")]


def _load(layout: Layout) -> NetworkFile | None:
    if not layout.network.exists():
        return None
    try:
        raw = json.loads(read_private(layout.network))
        raw["hub"] = Process(**raw["hub"]) if raw["hub"] else None
        raw["nodes"] = {name: Process(**found) if found else None for name, found in raw["nodes"].items()}
        return NetworkFile(**raw)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupted(
            f"{layout.network} is not a network file ({error}); restore it from a backup, or move the directory away"
        ) from error


def _save(layout: Layout, known: NetworkFile) -> None:
    atomic_write(layout.network, json.dumps(asdict(known), indent=1).encode(), mode=0o600)


def check_name(name: str) -> str:
    """Return a node's name, if it can be a directory's.

    Raises:
        InvalidSetting: it cannot.
    """
    if not name or len(name) > 63 or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise InvalidSetting(f"{name!r} cannot name a node; use 1 to 63 letters, digits, '-' and '_'")
    if name == "hub" or os.sep in name:
        raise InvalidSetting(f"{name!r} is taken; choose another name for the node")
    return name
