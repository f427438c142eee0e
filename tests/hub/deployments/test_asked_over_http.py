"""What is deployed, asked over HTTP: clients that go away, streams that break, and a hub that is not ready."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from farlane.testing.running_gateway import RunningGateway
from farlane.testing.serving_world import ID, OLD, ServingWorld
from farlane.testing.waiting import until

LONG = {"model": "chat", "prompt": " ".join(["word"] * 50_000), "stream": True}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServingWorld]:
    async with ServingWorld(tmp_path).running() as world:
        world.deploy()
        await until(lambda: world.ready(1))
        yield world


def headers(gateway: RunningGateway) -> dict[str, str]:
    """Return the headers of a client of the organisation that serves."""
    return {"Authorization": f"Bearer {gateway.token('client', 'lab')}"}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_frees_the_replica_and_counts_as_no_failure(
    world: ServingWorld, stream: bool
) -> None:
    async with world.gateway() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        body = json.dumps(LONG | {"stream": stream}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Authorization: {headers(gateway)['Authorization']}\r\n\r\n".encode() + body)
        await until(lambda: world.desk.route(ID).in_flight == 1)
        if stream:
            await reader.readuntil(b"word")
        writer.transport.abort()
        await until(lambda: bool(gateway.usage.all) and world.desk.route(ID).in_flight == 0)
        assert gateway.usage.all[0].outcome == "cancelled"
        assert (await world.ask("one word"))[-1].text == OLD
    assert (world.desk.route(ID).counts.requests, world.desk.route(ID).counts.failed) == (2, 0)


async def test_a_replica_that_dies_in_mid_stream_ends_it_with_an_error_event(world: ServingWorld) -> None:
    async with (
        world.gateway() as gateway,
        aiohttp.ClientSession(gateway.url, headers=headers(gateway)) as session,
        session.post("/v1/completions", json=LONG) as got,
    ):
        events = aiter(got.content)
        assert b"word" in await anext(events)
        os.kill(world.host.replicas[0].pid, signal.SIGKILL)
        said = [line async for line in events if line.strip()]
    error = json.loads(said[-2].removeprefix(b"data: "))["error"]
    assert (error["type"], said[-1].strip()) == ("server_error", b"data: [DONE]")
    assert "in the middle of its answer" in error["message"]
    assert world.desk.route(ID).counts.failed == 1


async def test_a_hub_whose_store_cannot_write_is_not_ready(world: ServingWorld) -> None:
    assert world.desk.trouble() == ""
    world.hub.hub.engine.failure = OSError("the disk is gone")
    assert "cannot write" in world.desk.trouble()


async def test_a_hub_that_has_not_taken_up_its_deployments_is_not_ready(world: ServingWorld) -> None:
    assert "taken up" in world.hub.service.serve_models(world.names).trouble()
