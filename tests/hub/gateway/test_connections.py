"""Connections as hostile or tired clients leave them: silent, slow, too many, gone in the middle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest

from farlane.hub.gateway import sending
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.testing.fake_router import FakeRouter
from farlane.testing.running_gateway import RunningGateway, running_gateway
from farlane.testing.waiting import until


@asynccontextmanager
async def raw(gateway: RunningGateway) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection on which nothing has been said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        yield reader, writer
    finally:
        writer.close()


def chat(gateway: RunningGateway, length: int | None = None, content: str = "hello wide world") -> bytes:
    """Return a request in the bytes of HTTP; `length` lies about its body."""
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": content}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length or len(body)}\r\n"
    return f"{head}Authorization: {gateway.headers()['Authorization']}\r\n\r\n".encode() + body


async def answers(reader: asyncio.StreamReader) -> bytes:
    """Return all that a connection says until it is closed from the other side."""
    async with asyncio.timeout(10):
        return await reader.read()


@pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_that_does_not_come_to_the_point_is_closed(said: bytes) -> None:
    async with running_gateway(idle_timeout_s=0.2) as gateway, raw(gateway) as (reader, writer):
        writer.write(said)
        assert await answers(reader) == b""


async def test_headers_that_trickle_in_are_not_waited_for_after_a_first_request_either() -> None:
    async with running_gateway(idle_timeout_s=0.2) as gateway, raw(gateway) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n")
        assert (await answers(reader)).count(b"200 OK") == 1


async def test_a_body_that_trickles_in_is_given_up_and_frees_its_place() -> None:
    async with running_gateway(read_timeout_s=0.2) as gateway, raw(gateway) as (reader, writer):
        writer.write(chat(gateway, length=1000))
        assert (await reader.readline()).startswith(b"HTTP/1.1 504")
        assert gateway.gateway.concurrency.running == {}
        assert gateway.gateway.bodies.held == 0


async def test_connections_above_the_cap_are_told_to_come_back_and_the_others_go_on() -> None:
    async with running_gateway(connections=1) as gateway, raw(gateway) as (reader, writer):
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await reader.readline()
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/health") as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert "try again" in (await refused.json())["error"]["message"]
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nok\n")
        writer.close()
        await writer.wait_closed()

        async def back() -> int:
            async with aiohttp.ClientSession() as session, session.get(f"{gateway.url}/health") as got:
                return got.status

        async with asyncio.timeout(10):
            while await back() != 200:
                await asyncio.sleep(0.01)


async def test_requests_that_are_sent_ahead_are_answered_one_after_the_other() -> None:
    router = FakeRouter(paused=True)
    async with running_gateway(router) as gateway, raw(gateway) as (reader, writer):
        writer.write(chat(gateway) * 3)
        for done in range(3):
            await until(lambda done=done: len(router.asked) == done + 1 and router.running == 1)
            router.step(4)
            assert b"200" in await reader.readline()
            await reader.readuntil(b"}}")


async def test_a_whole_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LEAST_BYTES_S", 1 << 40)
    async with running_gateway(write_timeout_s=0.2) as gateway, raw(gateway) as (_, writer):
        writer.write(chat(gateway, content="x" * (16 << 20)))
        await until(lambda: gateway.gateway.bodies.held > 0 and bool(gateway.usage.all))
        await until(lambda: gateway.gateway.bodies.held == 0)
        assert gateway.usage.all[0].outcome == "ok"


async def test_a_client_that_hangs_up_before_its_answer_is_no_error() -> None:
    router = FakeRouter(paused=True)
    async with running_gateway(router) as gateway:
        async with raw(gateway) as (_, writer):
            writer.write(chat(gateway))
            await until(lambda: router.running == 1)
        await until(lambda: bool(gateway.usage.all))
        assert gateway.usage.all[0].outcome == "cancelled"
        assert router.running == 0
        assert gateway.gateway.concurrency.running == {}


async def test_a_gateway_that_cannot_route_is_alive_but_not_ready() -> None:
    router = FakeRouter()
    router.down = "the hub's store cannot write"
    async with running_gateway(router) as gateway, aiohttp.ClientSession(gateway.url) as session:
        found = {}
        for path in ("/health", "/v2/health/live", "/ready", "/v2/health/ready"):
            async with session.get(path) as got:
                found[path] = got.status, "cannot write" in await got.text()
        async with grpc.aio.insecure_channel(gateway.grpc) as channel:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerLive(pb.ServerLiveRequest())).live
            assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert found == {
        "/health": (200, False), "/v2/health/live": (200, False),
        "/ready": (503, True), "/v2/health/ready": (503, True),
    }  # fmt: skip


async def test_errors_are_counted_whatever_protocol_they_came_by() -> None:
    async with running_gateway() as gateway, grpc.aio.insecure_channel(gateway.grpc) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        mine = (("authorization", gateway.headers()["Authorization"]),)
        unknown = pb.ModelInferRequest(model_name="nobody")

        async def twice() -> AsyncIterator[pb.ModelInferRequest]:
            yield unknown
            yield unknown

        for metadata in (mine, ()):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.ModelInfer(unknown, metadata=metadata)
        assert len([one async for one in stub.ModelStreamInfer(twice(), metadata=mine)]) == 2
        async with aiohttp.ClientSession(gateway.url, headers=gateway.headers(owner=True)) as session:
            async with session.get("/v1/nothing") as got:
                assert got.status == 404
            async with session.get("/metrics") as got:
                lines = [line for line in (await got.text()).splitlines() if "gateway_errors_total{" in line]
    assert set(lines) == {
        'farlane_gateway_errors_total{protocol="grpc",status="INVALID_ARGUMENT"} 3.0',
        'farlane_gateway_errors_total{protocol="grpc",status="UNAUTHENTICATED"} 1.0',
        'farlane_gateway_errors_total{protocol="http",status="404"} 1.0',
    }
