"""The pinned TLS channel against real servers: the right hub, the wrong one, none, and one that is no hub."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from farlane.errors import ConnectionLost, InvalidInput, TooLarge, Unauthenticated, Unavailable, WrongHub
from farlane.kit.keys import server_certificate
from farlane.wire.channel import (
    CLIENT_OPTIONS,
    CLIENT_PING_S,
    SERVER_OPTIONS,
    open_channel,
    parse_url,
    server_credentials,
)
from farlane.wire.limits import MAX_MESSAGE_BYTES
from farlane.wire.serving import current_identity
from farlane.wire.status import from_rpc_error
from farlane.wire.tokens import Token
from farlane.wire.v1 import client_pb2, client_pb2_grpc

Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Context = grpc.aio.ServicerContext[Any, Any]


class Greeter(client_pb2_grpc.ClientServiceServicer):
    """Says who calls, and how much came."""

    async def Session(  # noqa: N802
        self, requests: AsyncIterator[client_pb2.ClientMessage], context: Context
    ) -> AsyncIterator[client_pb2.ClientReply]:
        async for message in requests:
            welcome = client_pb2.ClientWelcome(publisher=current_identity().publisher)
            yield client_pb2.ClientReply(request=message.request, welcome=welcome)

    async def StopJob(self, request: client_pb2.StopJobRequest, context: Context) -> client_pb2.JobStatus:  # noqa: N802
        return client_pb2.JobStatus(job=len(request.reason), reason="x" * request.job)


def greeter(server: grpc.aio.Server) -> None:
    client_pb2_grpc.add_ClientServiceServicer_to_server(Greeter(), server)


async def greet(channel: grpc.aio.Channel) -> str:
    call = client_pb2_grpc.ClientServiceStub(channel).Session(timeout=10)
    await call.write(client_pb2.ClientMessage(request=7))
    reply = await call.read()
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return str(reply.welcome.publisher)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hub.example.org:7420", ("hub.example.org", 7420)),
        (" https://127.0.0.1:1/ ", ("127.0.0.1", 1)),
        ("https://[::1]:7420", ("::1", 7420)),
    ],
)
def test_a_url_is_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not a hub's URL"),
        ("hub:7420", "not a hub's URL"),
        ("127.0.0.1:7420", "not a hub's URL"),
        ("http://hub:7420", "write https:// instead of http://"),
        ("https://hub", "has no port"),
        ("https://hub:0", "has no port"),
        ("https://:7420", "not a hub's URL"),
        ("https://hub:99999", "not a hub's URL"),
        ("https://hub:seven", "not a hub's URL"),
        ("https://[::1:7420", "not a hub's URL"),
        ("https://my hub:7420", "not a hub's URL"),
        ("https://me@hub:7420", "more than host and port"),
        ("https://hub:7420/path", "more than host and port"),
        ("https://hub:7420?a=b", "more than host and port"),
    ],
)
async def test_what_is_no_url_is_refused(url: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_url(url)
    with pytest.raises(InvalidInput, match="https://"):
        await open_channel(url, Token("client", "lab", "anna", bytes(32), "s" * 40))


async def test_the_right_key_lets_the_caller_in(serving: Serving) -> None:
    async with serving(greeter) as server, server.channel(server.token(publisher="berta")) as channel:
        assert await greet(channel) == "berta"


async def test_the_wrong_key_is_named_beside_the_right_one(serving: Serving) -> None:
    async with serving(greeter) as server:
        token = replace(server.token(), spki_sha256=bytes(range(32)))
        with pytest.raises(WrongHub) as caught:
            await open_channel(server.url, token)
        message = caught.value.message
        assert bytes(range(32)).hex() in message
        assert server.certificate.spki_sha256.hex() in message
        assert "not the one the token was made for" in message
        assert "ask the hub's operator for a new token" in message
        assert token.secret not in message


async def test_a_hub_that_is_replaced_behind_an_open_channel_gets_nothing(
    serving: Serving, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Thief(Greeter):
        async def StopJob(self, request: Any, context: Context) -> client_pb2.JobStatus:  # noqa: N802
            seen.append(str(context.invocation_metadata()))
            return client_pb2.JobStatus()

    async with serving(greeter) as server:
        channel = await open_channel(server.url, server.token())
        assert await greet(channel) == "anna"
        port = server.port
    stranger = server_certificate(tmp_path / "stranger", ["127.0.0.1", "localhost"])
    thief = grpc.aio.server(options=SERVER_OPTIONS)
    client_pb2_grpc.add_ClientServiceServicer_to_server(Thief(), thief)
    thief.add_secure_port(f"127.0.0.1:{port}", server_credentials(stranger.certificate_pem, stranger.key_pem))
    await thief.start()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client_pb2_grpc.ClientServiceStub(channel).StopJob(client_pb2.StopJobRequest(), timeout=10)
        assert isinstance(from_rpc_error(caught.value, "stopping a job"), Unavailable)
        assert seen == []
    finally:
        await channel.close()
        await thief.stop(0)


async def test_a_hub_that_comes_back_with_the_same_key_is_found_again(serving: Serving) -> None:
    async with serving(greeter) as server:
        token, port = server.token(), server.port
        channel = await open_channel(server.url, token)
        assert await greet(channel) == "anna"
    async with serving(greeter, port=port) as again:
        again.identities.update(server.identities)
        stub = client_pb2_grpc.ClientServiceStub(channel)
        reply = await stub.StopJob(client_pb2.StopJobRequest(reason="abc"), timeout=10, wait_for_ready=True)
        assert reply.job == 3
    await channel.close()


async def test_an_unknown_secret_is_unauthenticated(serving: Serving) -> None:
    async with serving(greeter) as server:
        stranger = replace(server.token(), secret="w" * 43)
        async with server.channel(stranger) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await greet(channel)
        error = from_rpc_error(caught.value, "connecting")
        assert type(error) is Unauthenticated
        assert "withdrawn, or belongs to another hub" in error.message


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_nothing_listening_is_unavailable() -> None:
    url = f"https://127.0.0.1:{free_port()}"
    with pytest.raises(Unavailable, match="Check that the hub runs there") as caught:
        await open_channel(url, Token("client", "lab", "anna", bytes(32), "s" * 40))
    assert url in caught.value.message


async def test_a_host_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"cannot reach https://no-such-host\.invalid:1"):
        await open_channel("https://no-such-host.invalid:1", Token("node", "lab", "", bytes(32), "s" * 40))


@contextlib.asynccontextmanager
async def tcp_server(answer: bytes | None) -> AsyncIterator[int]:
    """A server that is no hub: it answers the first bytes with `answer`, or closes, or (None) says nothing."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer is None:
            await ended.wait()
        elif await reader.read(10):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_server_without_tls_is_unavailable(answer: bytes) -> None:
    async with tcp_server(answer) as port:
        with pytest.raises(Unavailable, match=r"does not speak TLS|cannot reach") as caught:
            await open_channel(
                f"https://127.0.0.1:{port}", Token("client", "lab", "anna", bytes(32), "s" * 40)
            )
    assert str(port) in caught.value.message


async def test_a_plain_text_grpc_server_is_unavailable() -> None:
    server = grpc.aio.server()
    greeter(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with pytest.raises(Unavailable, match="something listens there, but it does not speak TLS"):
            await open_channel(
                f"https://127.0.0.1:{port}", Token("client", "lab", "anna", bytes(32), "s" * 40)
            )
    finally:
        await server.stop(0)


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farlane.wire.channel.CONNECT_TIMEOUT_S", 0.2)
    async with tcp_server(None) as port:
        with pytest.raises(Unavailable, match=r"did not answer within 0.2 s"):
            await open_channel(f"https://127.0.0.1:{port}", Token("node", "lab", "", bytes(32), "s" * 40))


async def test_oversized_messages_are_refused_in_both_directions(serving: Serving) -> None:
    async with serving(greeter) as server, server.channel() as channel:
        stub = client_pb2_grpc.ClientServiceStub(channel)
        fits = client_pb2.StopJobRequest(reason="r" * (MAX_MESSAGE_BYTES - 100))
        assert (await stub.StopJob(fits, timeout=10)).job == MAX_MESSAGE_BYTES - 100
        for request in (
            client_pb2.StopJobRequest(reason="r" * (MAX_MESSAGE_BYTES + 1)),
            client_pb2.StopJobRequest(job=MAX_MESSAGE_BYTES + 1),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.StopJob(request, timeout=10)
            error = from_rpc_error(caught.value, "stopping a job")
            assert type(error) is TooLarge
            assert "send smaller batches, or large data as blobs" in error.message


async def test_a_peer_without_a_cap_of_its_own_and_a_gzip_bomb_are_refused_by_the_server(
    serving: Serving,
) -> None:
    async with serving(greeter) as server:
        channel = await open_channel(
            server.url, server.token(), options=[("grpc.max_send_message_length", -1)]
        )
        stub = client_pb2_grpc.ClientServiceStub(channel)
        bomb = client_pb2.StopJobRequest(reason="r" * (64 << 20))
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.StopJob(bomb, timeout=20, compression=compression)
            assert type(from_rpc_error(caught.value, "stopping a job")) in (TooLarge, ConnectionLost)
        assert (await stub.StopJob(client_pb2.StopJobRequest(reason="ok"), timeout=10)).job == 2
        await channel.close()


def test_pings_are_rarer_than_the_server_demands_and_ports_are_never_shared() -> None:
    client, server = dict(CLIENT_OPTIONS), dict(SERVER_OPTIONS)
    assert client["grpc.keepalive_time_ms"] == CLIENT_PING_S * 1000
    assert client["grpc.keepalive_time_ms"] >= 2 * int(server["grpc.http2.min_ping_interval_without_data_ms"])
    assert client["grpc.keepalive_permit_without_calls"] == server["grpc.keepalive_permit_without_calls"] == 1
    assert client["grpc.http2.max_pings_without_data"] == 0
    assert server["grpc.so_reuseport"] == 0


async def test_an_idle_stream_lives_if_pings_are_half_as_frequent_as_allowed(serving: Serving) -> None:
    # Our ratio of 20 s to 10 s, twenty times faster; beside it a server that allows a tenth of these pings.
    pings = [("grpc.keepalive_time_ms", 1000)]
    async with serving(greeter, min_ping_ms=500) as patient, serving(greeter, min_ping_ms=10_000) as strict:
        channels = [
            await open_channel(server.url, server.token(), options=pings) for server in (patient, strict)
        ]
        calls = [client_pb2_grpc.ClientServiceStub(channel).Session(timeout=30) for channel in channels]
        for call in calls:
            await call.write(client_pb2.ClientMessage(request=1))
            assert (await call.read()).request == 1
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)too.many.pings") as caught:
            await calls[1].read()
        assert type(from_rpc_error(caught.value, "waiting")) is ConnectionLost
        await calls[0].write(client_pb2.ClientMessage(request=2))
        assert (await calls[0].read()).request == 2
        for channel in channels:
            await channel.close()


async def test_a_second_server_cannot_take_the_same_port(serving: Serving) -> None:
    async with serving(greeter) as server:
        with pytest.raises(RuntimeError, match="Failed to bind"):
            async with serving(greeter, port=server.port):
                pass
