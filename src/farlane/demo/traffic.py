"""How many bytes of models the demo's nodes had from their hub and from one another, by their metrics."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from typing import Final

from farlane.app.network import NodePlan

_COME: Final = re.compile(r'^farlane_node_model_bytes_total\{source="(?:hub|peers)"\} (\S+)', re.MULTILINE)


class Traffic:
    """Counts what moves to nodes that were planned with metrics."""

    def __init__(self) -> None:
        self._ports: list[int] = []

    def metered(self, plan: NodePlan) -> NodePlan:
        """Return the plan of a node that also serves its metrics."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._ports.append(listener.getsockname()[1])
        return NodePlan(plan.name, {**plan.settings, "metrics_port": str(self._ports[-1])}, plan.share)

    def model_bytes(self) -> int:
        """Return the bytes of models that have come to all nodes which still answer."""
        return sum(_come(port) for port in self._ports)


def _come(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            return int(sum(float(found) for found in _COME.findall(reply.read().decode())))
    except (urllib.error.URLError, OSError):
        return 0  # one of them was killed
