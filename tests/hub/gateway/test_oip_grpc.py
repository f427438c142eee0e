"""The gRPC listener: tokens, caps, cancellation and streams, with this project's own messages."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from farlane.errors import Unavailable
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip import inference_pb2_grpc
from farlane.testing.fake_router import FakeRouter
from farlane.testing.running_gateway import RunningGateway, running_gateway

Stub = inference_pb2_grpc.GRPCInferenceServiceStub


@asynccontextmanager
async def stub_of(gateway: RunningGateway) -> AsyncIterator[Stub]:
    """Return a stub for the calls of one test."""
    async with grpc.aio.insecure_channel(gateway.grpc) as channel:
        yield Stub(channel)


def who(gateway: RunningGateway, role: str = "client") -> tuple[tuple[str, str], ...]:
    """Return the metadata of a new caller."""
    token = gateway.token("node" if role == "node" else "client")
    return (("authorization", f"Bearer {token}"),)


def numbers(count: int = 3) -> pb.ModelInferRequest:
    """Return a request to the mirror."""
    one = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[count])
    raw = struct.pack(f"<{count}f", *range(count))
    return pb.ModelInferRequest(model_name="mirror", id="mine", inputs=[one], raw_input_contents=[raw])


async def code_of(call: grpc.aio.UnaryUnaryCall[object, object]) -> grpc.StatusCode:
    """Return the code with which a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_arrays_come_back_and_are_booked() -> None:
    async with running_gateway() as gateway, stub_of(gateway) as stub:
        answer = await stub.ModelInfer(numbers(), metadata=who(gateway))
    assert (answer.id, list(answer.raw_output_contents)) == ("mine", [struct.pack("<3f", 0, 1, 2)])
    booked = gateway.usage.all[0]
    assert (booked.outcome, booked.reply_bytes, booked.request_bytes) == (
        "ok", answer.ByteSize(), numbers().ByteSize()
    )  # fmt: skip
    assert gateway.gateway.bodies.held == 0


async def test_only_health_is_open() -> None:
    async with running_gateway() as gateway, stub_of(gateway) as stub:
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert await code_of(stub.ModelInfer(numbers())) is grpc.StatusCode.UNAUTHENTICATED
        assert (
            await code_of(stub.ServerMetadata(pb.ServerMetadataRequest())) is grpc.StatusCode.UNAUTHENTICATED
        )
        node = who(gateway, "node")
        assert await code_of(stub.ModelInfer(numbers(), metadata=node)) is grpc.StatusCode.PERMISSION_DENIED
        two = who(gateway) + who(gateway)
        assert await code_of(stub.ModelInfer(numbers(), metadata=two)) is grpc.StatusCode.UNAUTHENTICATED


async def test_errors_have_the_codes_of_the_tree() -> None:
    router = FakeRouter()
    async with running_gateway(router, body_bytes=1 << 16) as gateway, stub_of(gateway) as stub:
        me = who(gateway)
        unknown = pb.ModelReadyRequest(name="nobody")
        assert await code_of(stub.ModelReady(unknown, metadata=me)) is grpc.StatusCode.NOT_FOUND
        large = numbers(1 << 16)
        assert await code_of(stub.ModelInfer(large, metadata=me)) is grpc.StatusCode.RESOURCE_EXHAUSTED
        load = pb.RepositoryModelLoadRequest(model_name="mirror")
        assert await code_of(stub.RepositoryModelLoad(load, metadata=me)) is grpc.StatusCode.PERMISSION_DENIED
        router.failure = Unavailable("no replica is up")
        assert await code_of(stub.ModelInfer(numbers(), metadata=me)) is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_outlives_what_fails_in_it() -> None:
    async def requests() -> AsyncIterator[pb.ModelInferRequest]:
        for name in ("mirror", "nobody", "mirror"):
            request = numbers()
            request.model_name = name
            yield request

    async with running_gateway() as gateway, stub_of(gateway) as stub:
        found = [one async for one in stub.ModelStreamInfer(requests(), metadata=who(gateway))]
    assert [bool(one.error_message) for one in found] == [False, True, False]
    assert [one.outcome for one in gateway.usage.all] == ["ok", "ok"]
