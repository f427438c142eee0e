"""Nodes with real model caches and block servers on a real hub; of the rest of a node there is only its stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from farlane.errors import FarlaneError
from farlane.kit.clock import Clock, SystemClock
from farlane.node.models.cache_settings import CacheSettings
from farlane.node.models.model_cache import ModelCache
from farlane.node.replicas.stream import NodeProof
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_node import SECRET, ScriptedNode
from farlane.wire.channel import open_channel

LOOPBACK = "127.0.0.1:0"
RETRY_S = 0.1


class ModelNode:
    """One node, up inside `async with`; it comes back to a hub that was away. It is its cache's `HubChannel`.

    Args:
        hub: which it joins.
        directory: of its models; the same one again is the same node.
        name: of the node.
        max_bytes: budget of its models.
        listen: where its blocks are served, None for nowhere.
        address: what others call it by, None for where it listens.
        idle_s: how long it stays in a swarm for nothing.
        clock: None for the machine's.
        beside: versions that it has whole elsewhere.
    """

    def __init__(
        self,
        hub: RunningHub,
        directory: Path,
        name: str = "n1",
        *,
        max_bytes: int = 1 << 30,
        listen: str | None = LOOPBACK,
        address: str | None = None,
        idle_s: float = 600.0,
        clock: Clock | None = None,
        beside: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._hub, self.name = hub, name
        settings = CacheSettings(directory, max_bytes, listen, address, idle_s)
        self.cache = ModelCache(settings, KeyedHashSigner.recover, clock or SystemClock(), beside)
        self.held: list[tuple[str, ...]] = []
        """What the cache has said that it has whole, each time."""
        self._open = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._link = asyncio.ensure_future(self._stay())
        proof = NodeProof(f"id-{self.name}", SECRET)
        await self._open.wait()
        await self._stack.enter_async_context(self.cache.running(self, proof, self.held.append))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._stack.aclose()
        finally:
            self._link.cancel()
            await asyncio.wait([self._link])

    async def channel(self) -> grpc.aio.Channel:
        """See `HubChannel`."""
        while True:
            await self._open.wait()
            if self._channel is not None:
                return self._channel

    async def fetch(self, version: str) -> dict[str, bytes]:
        """Hold a version for a moment; return its files by path."""
        async with self.cache.hold(version) as folder:
            return await asyncio.to_thread(read_folder, folder)

    async def _stay(self) -> None:
        token = self._hub.token("node", "", "lab")
        while True:
            with contextlib.suppress(FarlaneError, grpc.aio.AioRpcError):
                async with self._hub.node(self.name) as node:
                    await self._be_linked(node, await open_channel(self._hub.url, token))
            await asyncio.sleep(RETRY_S)

    async def _be_linked(self, node: ScriptedNode, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._open.set()
        try:
            await asyncio.shield(node.ended)
        finally:
            self._open.clear()
            self._channel = None
            await channel.close()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
