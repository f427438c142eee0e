"""Authentication of every call: who may call what, and what a handler knows of its caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from farlane.errors import FarlaneError, PermissionRefused, Unauthenticated
from farlane.wire.serving import Identity, current_identity
from farlane.wire.status import from_rpc_error
from farlane.wire.tokens import Role
from farlane.wire.v1 import (
    blob_pb2,
    blob_pb2_grpc,
    client_pb2,
    client_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    types_pb2,
)

Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Context = grpc.aio.ServicerContext[Any, Any]


class Node(node_pb2_grpc.NodeServiceServicer):
    async def Link(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:  # noqa: N802
        async for _ in requests:
            yield node_pb2.NodeCommand(welcome=node_pb2.NodeWelcome(network=current_identity().organisation))


class Client(client_pb2_grpc.ClientServiceServicer):
    async def GetJob(self, request: Any, context: Context) -> client_pb2.JobStatus:  # noqa: N802
        await asyncio.sleep(0.01)  # let the other calls in between
        return client_pb2.JobStatus(job=request.job, publisher=current_identity().publisher)

    async def FollowLogs(self, request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: N802
        yield client_pb2.LogLine(stream=current_identity().publisher)


class Blob(blob_pb2_grpc.BlobServiceServicer):
    async def Put(self, requests: AsyncIterator[Any], context: Context) -> types_pb2.BlobRef:  # noqa: N802
        async for _ in requests:
            pass
        return types_pb2.BlobRef(cid=current_identity().role)


def services(server: grpc.aio.Server) -> None:
    node_pb2_grpc.add_NodeServiceServicer_to_server(Node(), server)
    client_pb2_grpc.add_ClientServiceServicer_to_server(Client(), server)
    blob_pb2_grpc.add_BlobServiceServicer_to_server(Blob(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)


async def link(channel: grpc.aio.Channel) -> str:
    call = node_pb2_grpc.NodeServiceStub(channel).Link(timeout=10)
    await call.write(node_pb2.NodeMessage())
    reply = await call.read()
    await call.done_writing()
    return str(reply.welcome.network)


async def get_job(channel: grpc.aio.Channel) -> str:
    reply = await client_pb2_grpc.ClientServiceStub(channel).GetJob(
        client_pb2.GetJobRequest(job=1), timeout=10
    )
    return str(reply.publisher)


async def follow_logs(channel: grpc.aio.Channel) -> str:
    call = client_pb2_grpc.ClientServiceStub(channel).FollowLogs(client_pb2.FollowLogsRequest(), timeout=10)
    return "".join([line.stream async for line in call])


async def put_blob(channel: grpc.aio.Channel) -> str:
    reply = await blob_pb2_grpc.BlobServiceStub(channel).Put(iter([blob_pb2.BlobChunk()]), timeout=10)
    return str(reply.cid)


Call = Callable[[grpc.aio.Channel], Any]


@pytest.mark.parametrize(
    ("call", "role", "known"),
    [
        (link, "node", "lab"),
        (get_job, "client", "anna"),
        (follow_logs, "client", "anna"),
        (put_blob, "client", "client"),
        (put_blob, "node", "node"),
    ],
)
async def test_a_token_opens_the_services_of_its_role(
    serving: Serving, call: Call, role: Role, known: str
) -> None:
    async with serving(services) as server, server.channel(server.token(role)) as channel:
        assert await call(channel) == known


async def failure(call: Call, channel: grpc.aio.Channel) -> FarlaneError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel)
    return from_rpc_error(caught.value, "calling")


@pytest.mark.parametrize(("call", "role"), [(link, "client"), (get_job, "node"), (follow_logs, "node")])
async def test_a_token_of_the_other_role_is_refused(serving: Serving, call: Call, role: Role) -> None:
    async with serving(services) as server, server.channel(server.token(role)) as channel:
        error = await failure(call, channel)
    assert type(error) is PermissionRefused
    assert f"a {role} token cannot call farlane.v1." in error.message
    assert error.facts["role"] == role


@pytest.mark.parametrize("call", [link, get_job, follow_logs, put_blob])
async def test_a_withdrawn_token_is_refused_on_every_kind_of_call(serving: Serving, call: Call) -> None:
    async with serving(services) as server:
        token = server.token("node" if call is link else "client")
        async with server.channel(token) as channel:
            await call(channel)
            server.identities.clear()
            error = await failure(call, channel)
    assert type(error) is Unauthenticated
    assert "does not know the token" in error.message
    assert token.secret not in error.message


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((), "the call carries no token"),
        ((("authorization", "Basic abc"),), "not one 'Bearer <secret>'"),
        ((("authorization", ""),), "not one 'Bearer <secret>'"),
        ((("authorization", "Bearer"),), "not one 'Bearer <secret>'"),
        ((("authorization", "Bearer "),), "does not know the token"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), "not one 'Bearer <secret>'"),
    ],
)
async def test_without_a_proper_token_nothing_is_answered_but_health(
    serving: Serving, metadata: tuple[tuple[str, str], ...], said: str
) -> None:
    async with serving(services) as server:
        credentials = grpc.ssl_channel_credentials(server.certificate.certificate_pem)
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            stub = client_pb2_grpc.ClientServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetJob(client_pb2.GetJobRequest(), timeout=10, metadata=metadata)
            error = from_rpc_error(caught.value, "asking")
            assert type(error) is Unauthenticated
            assert said in error.message
            assert "`farlane token` on the hub's machine" in error.message
            checks = health_pb2_grpc.HealthStub(channel)
            reply = await checks.Check(health_pb2.HealthCheckRequest(), timeout=10, metadata=metadata)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_scheme_may_be_written_in_lower_case(serving: Serving) -> None:
    async with serving(services) as server:
        secret = server.token().secret
        credentials = grpc.ssl_channel_credentials(server.certificate.certificate_pem)
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            stub = client_pb2_grpc.ClientServiceStub(channel)
            metadata = (("authorization", f"bearer {secret}"),)
            reply = await stub.GetJob(client_pb2.GetJobRequest(), timeout=10, metadata=metadata)
            assert reply.publisher == "anna"


async def test_an_unknown_service_is_closed_to_everybody(serving: Serving) -> None:
    async with serving(services) as server, server.channel() as channel:
        call = channel.unary_unary("/farlane.v1.SecretService/Do")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=10)
    assert type(from_rpc_error(caught.value, "calling")) is PermissionRefused


async def test_calls_at_the_same_time_do_not_mix_up_their_callers(serving: Serving) -> None:
    async with serving(services) as server, contextlib.AsyncExitStack() as stack:
        names = [f"publisher{n}" for n in range(8)]
        channels = [
            await stack.enter_async_context(server.channel(server.token(publisher=name))) for name in names
        ]
        found = await asyncio.gather(*(get_job(channel) for channel in channels * 10))
        assert found == names * 10


def test_outside_a_call_there_is_no_caller() -> None:
    with pytest.raises(Unauthenticated, match="no authenticated caller"):
        current_identity()
    assert Identity("node", "lab", "") == Identity("node", "lab", "")
