"""Nodes that fetch from one another: little comes from the hub, and what some do wrong does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from farlane.models.catalog.values import Version
from farlane.models.cid import parse_cid
from farlane.testing.block_serving import StallingProxy
from farlane.testing.model_nodes import ModelNode
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

MakeNode = Callable[..., ModelNode]
Publish = Callable[..., Version]
MIB = 1 << 20


async def test_eight_nodes_take_little_more_than_one_copy_from_the_hub(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    size = sum(map(len, content.values()))
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(f"n{number}")) for number in range(8)]
        async with asyncio.timeout(100):
            fetched = await asyncio.gather(*(one.fetch(version) for one in nodes))
        assert all(files == content for files in fetched)
        assert sum(one.cache.figures.hub for one in nodes) <= 1.3 * size
        assert sum(one.cache.figures.peers for one in nodes) >= 6.5 * size


async def test_who_comes_later_fetches_from_who_has_it(
    hub: RunningHub, node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node("n1") as first, node("n2") as second:
        await first.fetch(version)
        await until(lambda: len(hub.service.swarms.whole(parse_cid(version))) == 1)
        assert await second.fetch(version) == content
        assert second.cache.figures.peers >= sum(map(len, content.values()))
        assert first.cache.read().sent == second.cache.figures.peers


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextlib.asynccontextmanager
async def behind(node: MakeNode, **manners: object) -> AsyncIterator[ModelNode]:
    """Lend a node n1 whose blocks others get through a proxy with such manners."""
    port = free_port()
    proxy = StallingProxy(port, **manners)  # type: ignore[arg-type]
    try:
        async with node("n1", listen=f"127.0.0.1:{port}", address=proxy.address) as one:
            yield one
    finally:
        proxy.close()


async def test_a_lying_peer_is_dropped_and_the_version_is_right(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with behind(node, flip=True) as liar, node("n2") as other:
        await liar.fetch(version)
        assert await other.fetch(version) == content
        assert other.cache.figures.hub >= 8 * MIB
        assert liar.cache.read().sent <= 5 * MIB  # one block on each connection, and then no more


async def test_a_peer_that_stalls_in_the_last_block_does_not_stop_the_fetch(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    size = sum(map(len, content.values()))
    async with behind(node, after_bytes=int(size * 0.99)) as staller, node("n2") as other:
        await staller.fetch(version)
        assert await other.fetch(version) == content
        assert other.cache.figures.peers >= 0.8 * size
        assert other.cache.figures.hub > 0


async def test_nodes_go_on_with_one_another_while_the_hub_is_away(
    hub: RunningHub, node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with behind(node, rate=1e6) as first, node("n2") as second:
        cid = parse_cid(version)
        await first.fetch(version)
        # What the hub has not heard of yet it would send itself.
        await until(lambda: len(hub.service.swarms.whole(cid)) == 1)
        fetching = asyncio.ensure_future(second.fetch(version))
        await until(lambda: first.cache.read().sent > 0)  # the second knows where to ask, and has its ticket
        await hub.stop()
        try:
            assert await fetching == content
            assert second.cache.figures.peers >= 9 * MIB
        finally:
            await hub.start()
        await until(lambda: len(hub.service.swarms.members(cid)) == 2)
