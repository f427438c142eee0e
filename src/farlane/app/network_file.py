"""network.json: what `farlane up` has started and with which options, so that the next `up` goes on with them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from farlane.app.addresses import local_host, outward_host, url_of
from farlane.app.configuration import Configuration, configuration
from farlane.app.layout import Layout
from farlane.app.processes import Process
from farlane.errors import Corrupted, InvalidSetting, NotFound
from farlane.hub.settings import HubSettings
from farlane.kit.files import atomic_write, read_private
from farlane.node.settings import NodeSettings


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node `up` should run: its name and settings (`node.field` without the prefix).

    share: what it offers where neither its own settings nor those of all nodes say so.
    """

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    share: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class NetworkFile:
    """What `up` has started and with which options, as it stands in network.json.

    host and port are what the hub was last started with; hub_settings, node_settings, plans and shares are wanted at
    the next start of a process, without their group; started is what each process was started with, by its name.
    """

    organisation: str
    host: str
    port: int
    join_token: str = field(repr=False)
    hub: Process | None = None
    hub_settings: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, Process | None] = field(default_factory=dict)
    plans: dict[str, dict[str, str]] = field(default_factory=dict)
    shares: dict[str, dict[str, str]] = field(default_factory=dict)
    node_settings: dict[str, str] = field(default_factory=dict)
    config: str | None = None
    started: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The hub's URL as other machines reach it."""
        return url_of(outward_host(self.host), self.port)

    @property
    def local_url(self) -> str:
        """The hub's URL on this machine, which stays the same when the machine changes networks."""
        return url_of(local_host(self.host), self.port)

    @property
    def hub_alive(self) -> bool:
        """Tell whether the hub runs."""
        return self.hub is not None and self.hub.alive()

    def node_alive(self, name: str) -> bool:
        """Tell whether a node runs."""
        process = self.nodes.get(name)
        return process is not None and process.alive()

    def configuration(self) -> Configuration:
        """Return the settings of the hub, and those all nodes have in common.

        Raises:
            InvalidSetting: an unknown setting, a bad value, or one that `up` decides itself.
        """
        file = Path(self.config) if self.config is not None else None
        common = prefixed("hub", self.hub_settings) | prefixed("node", self.node_settings)
        for plan in self.plans.values():
            configuration(file, common | prefixed("node", plan))
        found = configuration(file, common)
        _check_places(found)
        return found

    def hub_values(self, settings: Configuration) -> dict[str, str]:
        """Return what the hub is to be started with, by `hub.field` without the prefix.

        The port of a network stays, unless one is given; what else the configuration file says, the hub reads there.
        """
        port = settings.hub.port
        if "port" not in self.hub_settings and port == HubSettings().port:
            port = self.port or port
        return self.hub_settings | {"host": settings.hub.host, "port": str(port)}

    def node_values(self, name: str, settings: Configuration) -> dict[str, str]:
        """Return what a node is to be started with, by `node.field` without the prefix."""
        share = self.shares.get(name, {})
        left = {key: value for key, value in share.items() if getattr(settings.node, key) is None}
        return left | self.node_settings | self.plans[name]

    def waiting(self, settings: Configuration) -> list[str]:
        """Return what was asked for but comes into force at the next start of a process that runs, for people."""
        wanted = {"hub": self.hub_values(settings)} if self.hub_alive else {}
        wanted |= {name: self.node_values(name, settings) for name in self.plans if self.node_alive(name)}
        found = []
        for name, values in wanted.items():
            before = self.started.get(name)
            if before is None:
                continue
            now = self.with_config(values)
            where = "hub." if name == "hub" else f"{name}: node."
            for key in sorted(now.keys() | before.keys()):
                any_port = (name, key, now.get(key)) == ("hub", "port", "0")  # the one it has will do
                if now.get(key) != before.get(key) and not any_port:
                    label = f"{name}: --config " if key == CONFIG else f"{where}{key}="
                    found.append(f"{label}{now.get(key, 'default')}")
        return found

    def with_config(self, values: dict[str, str]) -> dict[str, str]:
        """Return what a process is started with, the configuration file included."""
        return values if self.config is None else {**values, CONFIG: self.config}


CONFIG = "--config"
"""Key of the configuration file in `NetworkFile.started`; no setting begins with a dash."""


def prefixed(group: str, values: dict[str, str]) -> dict[str, str]:
    """Return settings under their full names, `group.field`."""
    return {f"{group}.{key}": value for key, value in values.items()}


def load(layout: Layout) -> NetworkFile:
    """Read network.json.

    Raises:
        NotFound: there is none.
        Corrupted: it is not one.
    """
    known = load_if_there(layout)
    if known is None:
        raise NotFound(
            f"no network in {layout.root}: run `farlane up` there first, or name another with --dir"
        )
    return known


def load_if_there(layout: Layout) -> NetworkFile | None:
    """Read network.json; None where there is none.

    Raises:
        Corrupted: it is not one.
    """
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


def save(layout: Layout, known: NetworkFile) -> None:
    """Write network.json, readable by its owner only."""
    atomic_write(layout.network, json.dumps(asdict(known), indent=1).encode(), mode=0o600)


def check_name(name: str) -> str:
    """Return a node's name, if it can be a directory's.

    Raises:
        InvalidSetting: it cannot.
    """
    if not name or len(name) > 63 or not all(letter.isalnum() or letter in "-_" for letter in name):
        raise InvalidSetting(f"{name!r} cannot name a node; use 1 to 63 letters, digits, '-' and '_'")
    if name == "hub":
        raise InvalidSetting(f"{name!r} is taken; choose another name for the node")
    return name


def check_organisation(name: str) -> str:
    """Return an organisation's name, if lists of organisations and names of publishers can carry it.

    Raises:
        InvalidSetting: it is empty, or has a character that separates names from one another.
    """
    if not name or name != name.strip() or not name.isprintable() or set(name) & set(",/"):
        raise InvalidSetting(
            f"{name!r} cannot name an organisation; use letters, digits, '-', '_', '.' and spaces between them: ',' "
            "separates organisations in node.serves, and '/' a publisher from its organisation"
        )
    return name


def _check_places(settings: Configuration) -> None:
    decided = (
        ("hub.directory", settings.hub.directory != HubSettings().directory, "choose it with --dir"),
        ("node.directory", settings.node.directory != NodeSettings().directory, "choose it with --dir"),
        ("node.name", settings.node.name is not None, "name nodes with --node name=NAME,..."),
    )
    for name, given, instead in decided:
        if given:
            raise InvalidSetting(f"{name} is decided by `farlane up`; {instead}", setting=name)
