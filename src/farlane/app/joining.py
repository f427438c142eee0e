"""Joining: wait until the nodes that were started have been welcomed by the hub."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from farlane.app.layout import Layout
from farlane.app.network_file import NetworkFile, load
from farlane.domain.ids import NodeId
from farlane.node.identity import FILE, load_identity
from farlane.sdk.client import AsyncClient
from farlane.sdk.context import read_client_file
from farlane.sdk.values import NodeStatus

JOIN_S = 15.0
POLL_S = 0.1
_GONE = ("offline", "lost")


def await_joined(
    directory: Path,
    names: Sequence[str],
    since: float,
    tell: Callable[[str], None],
    timeout_s: float = JOIN_S,
) -> dict[str, str]:
    """Wait until nodes of the network in a directory have joined, for a bounded time.

    Args:
        directory: the network's.
        names: the nodes that were started.
        since: unix seconds before they were started: what the hub heard earlier does not count.
        tell: progress for people.
        timeout_s: how long to wait at most; a node whose process has ended is not waited for.

    Returns:
        Name -> what became of it, for each node that has not joined.
    """
    if not names:
        return {}
    layout = Layout(directory)
    return asyncio.run(_await_joined(layout, load(layout), list(names), since, tell, timeout_s))


async def _await_joined(
    layout: Layout,
    known: NetworkFile,
    names: list[str],
    since: float,
    tell: Callable[[str], None],
    timeout_s: float,
) -> dict[str, str]:
    tell(f"waiting for {', '.join(names)} to join")
    endpoint = read_client_file(layout.root)
    left, late = list(names), dict[str, str]()
    end = time.monotonic() + timeout_s
    async with AsyncClient(endpoint.url, endpoint.token) as client:
        while True:
            online = _online(await client.nodes(), since)
            for name in [name for name in left if _identity(layout.node(name)) in online]:
                left.remove(name)
                tell(f"{name} has joined")
            for name in [name for name in left if not known.node_alive(name)]:
                left.remove(name)
                late[name] = "ended before it joined"
            if not left:
                return late
            if time.monotonic() > end:
                return late | dict.fromkeys(left, f"has not joined within {timeout_s:g} s; it goes on trying")
            await asyncio.sleep(POLL_S)


def _online(nodes: list[NodeStatus], since: float) -> set[NodeId]:
    return {node.spec.node for node in nodes if node.state not in _GONE and node.last_seen >= since}


def _identity(directory: Path) -> NodeId | None:
    """Return a node's id, None before it has made one: a name may be another machine's too."""
    return load_identity(directory).node if (directory / FILE).exists() else None
