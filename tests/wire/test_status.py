"""The error table: every class of the tree has a real code and comes back as itself, over a stream and a call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from farlane import errors
from farlane.errors import FarlaneError
from farlane.wire.status import (
    ERROR_METADATA,
    abort,
    code_of,
    error_from_wire,
    error_to_wire,
    from_rpc_error,
)
from farlane.wire.v1 import client_pb2, client_pb2_grpc, types_pb2

TREE = sorted(errors.leaves().items())
Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


@pytest.mark.parametrize(("name", "kind"), TREE)
def test_every_error_has_a_code_that_grpc_knows(name: str, kind: type[FarlaneError]) -> None:
    assert code_of(kind) in grpc.StatusCode
    assert code_of(kind) is not grpc.StatusCode.OK
    assert 400 <= kind.http_status < 600


@pytest.mark.parametrize(("name", "kind"), TREE)
def test_every_error_survives_a_stream_with_its_facts(name: str, kind: type[FarlaneError]) -> None:
    sent = kind("was x; expected y; do z", limit=5, path="/a/ü", digest=b"\x01\xff", nothing=None)
    data = error_to_wire(sent).SerializeToString()
    read = error_from_wire(types_pb2.Error.FromString(data))
    assert type(read) is kind
    assert read.message == str(read) == sent.message
    assert read.facts == {"limit": "5", "path": "/a/ü", "digest": "01ff", "nothing": "None"}


def test_an_error_of_a_newer_version_is_still_an_error() -> None:
    read = error_from_wire(types_pb2.Error(name="QuantumDecoherence", message="odd", facts={"a": "b"}))
    assert type(read) is FarlaneError
    assert (read.message, read.facts) == ("odd", {"a": "b"})


def test_a_peer_may_name_its_facts_as_it_likes() -> None:
    read = error_from_wire(types_pb2.Error(name="NotFound", message="m", facts={"message": "1", "self": "2"}))
    assert read.facts == {"message": "1", "self": "2"}
    assert read.message == "m"


def test_an_endless_error_is_clipped_on_both_sides() -> None:
    huge = errors.Internal("m" * 10**6, **{f"fact{n}": "f" * 10**6 for n in range(100)})
    assert error_to_wire(huge).ByteSize() < 2 << 20
    read = error_from_wire(
        types_pb2.Error(name="Internal", message="m" * 10**6, facts={str(n): "" for n in range(1000)})
    )
    assert len(read.message) <= 8192
    assert len(read.facts) == 32


class Refusing(client_pb2_grpc.ClientServiceServicer):
    """Refuses each call with the error a test chooses."""

    def __init__(self) -> None:
        self.error: FarlaneError = errors.Internal("none chosen")

    async def GetJob(  # noqa: N802
        self, request: object, context: grpc.aio.ServicerContext[Any, Any]
    ) -> client_pb2.JobStatus:
        await abort(context, self.error)

    async def FollowLogs(self, request: object, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802
        yield client_pb2.LogLine(task=1)
        await abort(context, self.error)


async def test_every_error_survives_a_call_with_its_facts(serving: Serving) -> None:
    service = Refusing()

    def add(server: grpc.aio.Server) -> None:
        client_pb2_grpc.add_ClientServiceServicer_to_server(service, server)

    async with serving(add) as server, server.channel() as channel:
        stub = client_pb2_grpc.ClientServiceStub(channel)
        for name, kind in TREE:
            service.error = kind(f"{name}: größer als 5 MB", limit=5, where="hub")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetJob(client_pb2.GetJobRequest(), timeout=10)
            assert caught.value.code() is code_of(kind)
            read = from_rpc_error(caught.value, "asking for a job")
            assert type(read) is kind
            assert read.message == service.error.message
            assert read.facts == {"limit": "5", "where": "hub"}


async def test_the_largest_error_still_fits_into_trailing_metadata(serving: Serving) -> None:
    service = Refusing()
    service.error = errors.TaskError("ü" * 10**5, **{f"fact{n}": "ü" * 10**5 for n in range(100)})

    def add(server: grpc.aio.Server) -> None:
        client_pb2_grpc.add_ClientServiceServicer_to_server(service, server)

    async with serving(add) as server, server.channel() as channel:
        stub = client_pb2_grpc.ClientServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetJob(client_pb2.GetJobRequest(), timeout=10)
        read = from_rpc_error(caught.value, "asking")
        assert type(read) is errors.TaskError
        assert read.message.startswith("üüü")
        assert len(read.facts) == 8
        call = stub.FollowLogs(client_pb2.FollowLogsRequest(), timeout=10)
        assert (await call.read()).task == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert type(from_rpc_error(caught.value, "following logs")) is errors.TaskError


def rpc_error(code: grpc.StatusCode, details: str, *trailers: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details)


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses", errors.Unavailable),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", errors.ConnectionLost),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", errors.ConnectionLost),
        (grpc.StatusCode.UNAVAILABLE, "ping timeout", errors.ConnectionLost),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", errors.ConnectionLost),
        (grpc.StatusCode.INTERNAL, "boom", errors.Internal),
        (grpc.StatusCode.CANCELLED, "", errors.ConnectionLost),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", errors.UnsupportedVersion),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", errors.TooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", errors.Exhausted),
        (grpc.StatusCode.UNAUTHENTICATED, "no", errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, "no", errors.PermissionRefused),
        (grpc.StatusCode.UNKNOWN, "Unexpected <class 'KeyError'>: 1", errors.Internal),
    ],
)
def test_what_grpc_itself_says_becomes_an_error_of_the_tree(
    code: grpc.StatusCode, details: str, kind: type[FarlaneError]
) -> None:
    read = from_rpc_error(rpc_error(code, details), "sending tasks")
    assert type(read) is kind
    assert read.message.startswith("sending tasks: ")
    assert details in read.message
    assert read.facts == {"grpc_code": code.name}


def test_every_code_of_grpc_becomes_an_error_of_the_tree() -> None:
    for code in grpc.StatusCode:
        assert isinstance(from_rpc_error(rpc_error(code, "d"), "x"), FarlaneError)


def test_broken_error_metadata_leaves_code_and_details() -> None:
    broken = rpc_error(grpc.StatusCode.NOT_FOUND, "no such job", (ERROR_METADATA, b"\xff\xff\xff"))
    read = from_rpc_error(broken, "asking")
    assert type(read) is errors.NotFound
    assert "no such job" in read.message
