"""What a node's models have moved and hold: the figures of its cache, for metrics and for the log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ModelFigures:
    """Figures since the start.

    peers, hub, local, delta: bytes of versions that came from other nodes, from the hub, from other files here, and by
    deltas; sent, refused: bytes given to other nodes and requests turned away; versions: held whole at present;
    swarms: that the node is in; stored: bytes of everything kept.
    """

    peers: int = 0
    hub: int = 0
    local: int = 0
    delta: int = 0
    sent: int = 0
    refused: int = 0
    versions: int = 0
    swarms: int = 0
    stored: int = 0
