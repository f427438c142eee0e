"""A whole node with a chain of its own choice: it claims without its hub, and before it leaves, and never hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.prices import RateVector
from farlane.node.agent import NodeAgent
from farlane.node.books.opening import open_books
from farlane.node.settings import NodeSettings
from farlane.testing.promised_node import ETHER, PromisedNode, promised_node
from farlane.testing.scripted_hub import ScriptedHub, scripted_hub
from farlane.testing.waiting import until
from farlane.wire.v1 import node_pb2

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[PromisedNode]:
    directory = tmp_path / "node"
    directory.mkdir(mode=0o700)
    async with promised_node(anvil_url, directory) as found:
        yield found


async def settings_of(world: PromisedNode) -> NodeSettings:
    """Return the settings of a node that goes on with the books; its own key gets coin for gas."""
    await world.books.settle()
    world.books.store.close()
    settings = NodeSettings(
        directory=world.directory, name="one", memory="1GiB", disk="64MiB", cache="32MiB", confirmations=0,
        rpc=(world.url,), network_file=world.network_file(),
    )  # fmt: skip
    opened = open_books(settings, RateVector(1), 0.0)
    opened.store.close()
    await world.rpc.call("anvil_setBalance", opened.key.address, hex(ETHER))
    return settings


async def test_a_node_whose_hub_is_gone_claims_and_leaves(world: PromisedNode, hub: ScriptedHub) -> None:
    book, other = world.hub(1), world.hub(2)
    owed, more = await world.promise(book, *range(10)), await world.promise(other, *range(10, 70))
    await world.open(book, owed)
    await world.open(other, more)
    await world.close(book)
    agent = NodeAgent(await settings_of(world), "https://127.0.0.1:1", hub.token())
    work = asyncio.create_task(agent.run())
    await world.wait(owed)
    agent.drain()
    await asyncio.wait_for(work, 30)
    assert await world.paid() == owed + more


async def test_a_drained_node_claims_before_it_leaves(world: PromisedNode, hub: ScriptedHub) -> None:
    book = world.hub()
    owed = await world.promise(book, *range(60))
    await world.open(book, owed)
    agent = NodeAgent(await settings_of(world), hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    stream = await hub.joined()
    await stream.send(drain=node_pb2.DrainRequest(hand_back=True))
    await stream.receive("farewell")
    await asyncio.wait_for(work, 30)
    assert await world.paid() == owed


@asynccontextmanager
async def silence() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Listen, take requests, and never answer; yields the URL and whether somebody came."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}", asked
    finally:
        over.set()
        server.close()


@pytest.mark.parametrize("told_twice", [False, True])
async def test_an_endpoint_that_never_answers_holds_up_no_shutdown(
    world: PromisedNode, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, told_twice: bool,
) -> None:  # fmt: skip
    book = world.hub()
    await world.open(book, await world.promise(book, 0))
    settings = await settings_of(world)
    if not told_twice:
        monkeypatch.setattr("farlane.node.books.claiming.LEAVING_S", 0.2)
    async with silence() as (url, asked):
        agent = NodeAgent(replace(settings, rpc=(url,)), hub.url, hub.token())
        work = asyncio.create_task(agent.run())
        await hub.joined()
        await asyncio.wait_for(asked.wait(), 20)
        agent.drain()
        if told_twice:
            await until(lambda: agent._farewell is not None)
            agent.drain()
        await asyncio.wait_for(work, 5)
    assert ("are not on the chain" in caplog.text) != told_twice
    assert await world.paid() == 0
