"""Layout: where a network on this machine keeps what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The files below one network directory."""

    root: Path

    @property
    def hub(self) -> Path:
        """The hub's own directory."""
        return self.root / "hub"

    @property
    def store(self) -> Path:
        """The hub's store."""
        return self.hub / "store.db"

    @property
    def blobs(self) -> Path:
        """The hub's blobs."""
        return self.hub / "blobs"

    @property
    def credentials(self) -> Path:
        """Digests of the secrets the hub knows."""
        return self.hub / "credentials.json"

    @property
    def tls(self) -> Path:
        """The hub's TLS key and certificate."""
        return self.hub / "tls"

    @property
    def ready(self) -> Path:
        """Written by the hub once it listens: its port and process id."""
        return self.hub / "ready.json"

    @property
    def network(self) -> Path:
        """What `up` has started: hub and nodes with their options and process ids."""
        return self.root / "network.json"

    @property
    def client(self) -> Path:
        """URL and token for the CLI and the SDK on this machine."""
        return self.root / "client.json"

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.root / "logs"

    def node(self, name: str) -> Path:
        """A node's own directory."""
        return self.root / "nodes" / name

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"
