"""Sharing one machine among several nodes."""

from __future__ import annotations

import os

import psutil

MEMORY_SHARE = 0.8
"""What of the memory all nodes together offer; the rest is for the hub and the owner."""


def even_share(nodes: int) -> dict[str, str]:
    """Return the settings of one of `nodes` equal nodes: at least one core each, whatever there is."""
    cores = max(1, (os.cpu_count() or 1) // nodes)
    memory = int(psutil.virtual_memory().total * MEMORY_SHARE) // nodes
    return {"cpu": str(cores), "memory": str(memory)}
