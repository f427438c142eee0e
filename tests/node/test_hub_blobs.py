"""Transfers of blobs through a hub that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import grpc
import pytest

from farlane.domain.jobs import BlobRef
from farlane.errors import ConnectionLost, NotFound
from farlane.kit.backoff import Backoff
from farlane.node.hub_blobs import HubBlobs
from farlane.testing.scripted_hub import ScriptedHub, scripted_hub
from farlane.wire.channel import open_channel

QUICK = Backoff(first_s=0.01, cap_s=0.05)


class Connection:
    """Opens a channel to the hub for each who asks, but not before it may."""

    def __init__(self, hub: ScriptedHub) -> None:
        self.hub = hub
        self.may = asyncio.Event()
        self.may.set()
        self.channels: list[grpc.aio.Channel] = []

    async def channel(self) -> grpc.aio.Channel:
        await self.may.wait()
        self.channels.append(await open_channel(self.hub.url, self.hub.token()))
        return self.channels[-1]


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
async def connection(hub: ScriptedHub) -> AsyncIterator[Connection]:
    connection = Connection(hub)
    yield connection
    for channel in connection.channels:
        await channel.close()


@pytest.fixture
def blobs(connection: Connection) -> HubBlobs:
    return HubBlobs(connection, backoff=QUICK, random=Random(1))


async def test_what_is_stored_is_fetched_again(tmp_path: Path, hub: ScriptedHub, blobs: HubBlobs) -> None:
    (tmp_path / "result").write_bytes(b"r" * 100_000)
    blob = await blobs.store(tmp_path / "result")
    assert (hub.blobs[blob.cid], blobs.stored_bytes) == (b"r" * 100_000, 100_000)
    await blobs.fetch(blob, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == b"r" * 100_000


async def test_a_hub_that_is_away_is_waited_for(
    tmp_path: Path, hub: ScriptedHub, connection: Connection, blobs: HubBlobs
) -> None:
    blob = hub.put(b"data")
    connection.may.clear()
    fetching = asyncio.create_task(blobs.fetch(blob, tmp_path / "data"))
    await asyncio.sleep(0)
    assert not fetching.done()
    connection.may.set()
    await fetching
    assert (tmp_path / "data").read_bytes() == b"data"


async def test_a_connection_that_closes_under_a_transfer_is_replaced(
    tmp_path: Path, hub: ScriptedHub, connection: Connection, blobs: HubBlobs
) -> None:
    blob = hub.put(b"data")
    hub.holding = asyncio.Event()
    fetching = asyncio.create_task(blobs.fetch(blob, tmp_path / "data"))
    async with asyncio.timeout(10):
        while not hub.gets:
            await asyncio.sleep(0.01)
    await connection.channels[0].close()
    hub.holding.set()
    await fetching
    assert (tmp_path / "data").read_bytes() == b"data"
    assert len(connection.channels) == 2


async def test_a_cancelled_transfer_is_cancelled(tmp_path: Path, hub: ScriptedHub, blobs: HubBlobs) -> None:
    blob = hub.put(b"data")
    hub.holding = asyncio.Event()
    fetching = asyncio.create_task(blobs.fetch(blob, tmp_path / "data"))
    async with asyncio.timeout(10):
        while not hub.gets:
            await asyncio.sleep(0.01)
    fetching.cancel()
    await asyncio.wait([fetching])
    assert fetching.cancelled()
    hub.holding.set()


async def test_what_the_hub_does_not_have_is_not_asked_for_twice(
    tmp_path: Path, hub: ScriptedHub, blobs: HubBlobs
) -> None:
    with pytest.raises(NotFound):
        await blobs.fetch(BlobRef("bafkreinothing", 3), tmp_path / "data")
    assert hub.gets == ["bafkreinothing"]


async def test_a_connection_that_never_holds_is_given_up(
    tmp_path: Path, hub: ScriptedHub, connection: Connection, blobs: HubBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_it = connection.channel

    async def closed() -> grpc.aio.Channel:
        channel = await open_it()
        await channel.close()
        return channel

    monkeypatch.setattr(connection, "channel", closed)
    with pytest.raises(ConnectionLost, match="while a blob was on its way"):
        await blobs.fetch(hub.put(b"data"), tmp_path / "data")
    assert len(connection.channels) == 3
