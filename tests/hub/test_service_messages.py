"""What peers may say: versions, first words, sizes, and blobs; a peer that breaks a rule harms only itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from farlane.domain.jobs import MAX_INLINE_BYTES
from farlane.errors import (
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    TooLarge,
    UnsupportedVersion,
)
from farlane.kit.cid import cid_of
from farlane.testing.builders import a_node
from farlane.testing.running_hub import RunningHub, small_job, submit
from farlane.testing.scripted_client import ScriptedClient
from farlane.testing.scripted_node import ScriptedNode
from farlane.wire.channel import open_channel
from farlane.wire.limits import MAX_MESSAGE_BYTES
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc, client_pb2, node_pb2, types_pb2
from farlane.wire.v1.client_pb2_grpc import ClientServiceStub
from farlane.wire.versions import PROTOCOL_MAJOR, PROTOCOL_MINOR

ACCEPTED = [(PROTOCOL_MAJOR, PROTOCOL_MINOR - 1), (PROTOCOL_MAJOR, PROTOCOL_MINOR + 1)]
REFUSED = {
    "too old": (PROTOCOL_MAJOR - 1, 9),
    "newer": (PROTOCOL_MAJOR + 1, 0),
    "did not say": (0, 0),
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
        yield running


@pytest.mark.parametrize("version", ACCEPTED)
async def test_one_minor_older_and_any_newer_minor_still_work(
    hub: RunningHub, version: tuple[int, int]
) -> None:
    claimed = types_pb2.Version(major=version[0], minor=version[1], software="farlane 0.0")
    node = ScriptedNode(hub.url, hub.token("node"), a_node(), version=claimed)
    async with node, ScriptedClient(hub.url, hub.token(), version=claimed) as client:
        assert (client.welcome.version.major, client.welcome.version.minor) == (
            PROTOCOL_MAJOR,
            PROTOCOL_MINOR,
        )
        job = (await client.open(small_job(), "k")).job
        await client.add(job, 0, [b"in"], seal=True)
        await client.watch(job)
        await node.end(await node.take(), b"out")
        assert (await client.results()).results.inline == [b"out"]


@pytest.mark.parametrize("why", REFUSED)
async def test_an_unknown_version_is_told_which_side_to_upgrade(hub: RunningHub, why: str) -> None:
    major, minor = REFUSED[why]
    claimed = types_pb2.Version(major=major, minor=minor, software="strange 9.9" if major else "")
    with pytest.raises(UnsupportedVersion, match=why):
        async with ScriptedNode(hub.url, hub.token("node"), a_node(), version=claimed):
            pytest.fail("it was let in")
    with pytest.raises(UnsupportedVersion, match=why):
        async with ScriptedClient(hub.url, hub.token(), version=claimed):
            pytest.fail("it was let in")
    async with hub.client() as ada:
        assert await ada.nodes() == []


async def test_a_client_that_does_not_begin_with_its_hello_gets_nothing(hub: RunningHub) -> None:
    async with ScriptedClient(hub.url, hub.token(), silent=True) as client:
        await client.say(client_pb2.ClientMessage(open=client_pb2.OpenJob(key="k")))
        error = await client.refusal()
        assert isinstance(error, InvalidInput)
        assert "hello" in error.message
    async with hub.client() as ada:
        assert await ada.jobs(all=True) == []


async def test_a_node_that_does_not_begin_with_its_hello_gets_nothing(hub: RunningHub) -> None:
    heartbeat = node_pb2.NodeMessage(heartbeat=node_pb2.Heartbeat(sequence=1))
    with pytest.raises(InvalidInput, match="hello"):
        async with ScriptedNode(hub.url, hub.token("node"), a_node(), hello=heartbeat):
            pytest.fail("it was let in")


async def test_a_hello_with_uneven_columns_is_refused(hub: RunningHub) -> None:
    held = node_pb2.AttemptColumns(tasks=[1, 2], attempts=[1], copies=[0, 0], epoch=1)
    node = ScriptedNode(hub.url, hub.token("node"), a_node())
    node._hello.hello.held.CopyFrom(held)
    with pytest.raises(InvalidInput, match="attempts"):
        async with node:
            pytest.fail("it was let in")


async def test_a_message_of_a_kind_that_is_not_known_is_answered_and_changes_nothing(hub: RunningHub) -> None:
    async with ScriptedClient(hub.url, hub.token()) as client:
        with pytest.raises(InvalidInput, match="upgrade"):
            await client.ask(client_pb2.ClientMessage())
        assert (await client.open(small_job(), "k")).job == 1


async def test_an_oversized_message_ends_its_own_stream_only(hub: RunningHub) -> None:
    huge = client_pb2.ClientMessage(open=client_pb2.OpenJob(key="x" * (MAX_MESSAGE_BYTES + 1)))
    async with ScriptedClient(hub.url, hub.token()) as other:
        # A client without our own cap on what it sends.
        channel = await open_channel(hub.url, hub.token(), options=(("grpc.max_send_message_length", -1),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in ClientServiceStub(channel).Session(iter([huge])):
                pass
        await channel.close()
        assert isinstance(from_rpc_error(caught.value, "sending"), TooLarge)
        assert (await other.open(small_job(), "k")).job == 1


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (types_pb2.BytesColumn(inline=[b"x" * (MAX_INLINE_BYTES + 1)]), TooLarge),
        (types_pb2.BytesColumn(inline=[b""] * 4097), TooLarge),
        (
            types_pb2.BytesColumn(inline=[b""], blob_rows=[7], blobs=[types_pb2.BlobRef(cid="b")]),
            InvalidInput,
        ),
        (
            types_pb2.BytesColumn(inline=[b""], blob_rows=[0], blobs=[types_pb2.BlobRef(cid="../x")]),
            InvalidInput,
        ),
    ],
    ids=["a row", "rows", "blob rows", "blob name"],
)
async def test_a_batch_beyond_its_caps_is_refused_and_the_stream_goes_on(
    hub: RunningHub, column: types_pb2.BytesColumn, expected: type[FarlaneError]
) -> None:
    async with ScriptedClient(hub.url, hub.token()) as client:
        job = (await client.open(small_job(), "k")).job
        with pytest.raises(expected):
            await client.ask(client_pb2.ClientMessage(add=client_pb2.AddTasks(job=job, payloads=column)))
        assert await client.add(job, 0, [b"x"]) == 1


@pytest.mark.parametrize("key", ["", "k" * 201, "a\0b"])
async def test_a_key_is_a_short_text(hub: RunningHub, key: str) -> None:
    async with ScriptedClient(hub.url, hub.token()) as client:
        with pytest.raises(InvalidInput, match="idempotency key"):
            await client.open(small_job(), key)


async def test_a_reason_is_a_short_text(hub: RunningHub) -> None:
    async with hub.client() as ada:
        job = await submit(ada, [b"x"])
        with pytest.raises(InvalidInput, match="reason"):
            await job.stop("why " * 1000)
        assert not (await job.status()).state.final


# --- blobs ----------------------------------------------------------------------------------------------------------


def blob(data: bytes, cid: str | None = None, size_bytes: int | None = None) -> list[blob_pb2.BlobChunk]:
    ref = types_pb2.BlobRef(
        cid=cid_of(data) if cid is None else cid, size_bytes=len(data) if size_bytes is None else size_bytes
    )
    return [blob_pb2.BlobChunk(blob=ref, data=data[:5]), blob_pb2.BlobChunk(data=data[5:])]


async def refused(call: object) -> FarlaneError:
    try:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            async for _ in call:
                pass
        else:
            await call  # type: ignore[misc]
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error, "blobs")
    pytest.fail("it was answered")


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], InvalidInput),
        ([blob_pb2.BlobChunk(data=b"no name")], InvalidInput),
        (blob(b"0123456789", cid="../../etc/passwd"), InvalidInput),
        (blob(b"0123456789", cid=cid_of(b"something else")), Corrupted),
        (blob(b"0123456789", size_bytes=9), InvalidInput),
        (blob(b"0123456789", size_bytes=11), InvalidInput),
        (blob(b"0123456789", size_bytes=1 << 60), TooLarge),
    ],
    ids=["nothing", "no name", "a path", "other bytes", "longer", "shorter", "huge"],
)
async def test_a_blob_that_is_not_what_it_says_never_exists(
    hub: RunningHub, chunks: list[blob_pb2.BlobChunk], expected: type[FarlaneError]
) -> None:
    async with hub.channel() as channel:
        stub = blob_pb2_grpc.BlobServiceStub(channel)
        assert isinstance(await refused(stub.Put(iter(chunks), timeout=10)), expected)
        good = cid_of(b"0123456789")
        reply = await stub.Has(blob_pb2.HasRequest(cids=[good]), timeout=10)
        assert list(reply.present) == [False]
        await stub.Put(iter(blob(b"0123456789")), timeout=10)
        assert list((await stub.Has(blob_pb2.HasRequest(cids=[good]), timeout=10)).present) == [True]
    assert not [path for path in (hub.directory / "blobs").rglob("*") if "passwd" in path.name]


@pytest.mark.parametrize(
    "cid", ["", "x", "../../etc/passwd", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"]
)
async def test_names_that_are_no_cids_are_refused_as_such(hub: RunningHub, cid: str) -> None:
    async with hub.channel() as channel:
        stub = blob_pb2_grpc.BlobServiceStub(channel)
        for call in (
            stub.Has(blob_pb2.HasRequest(cids=[cid]), timeout=10),
            stub.Get(types_pb2.BlobRef(cid=cid), timeout=10),
        ):
            error = await refused(call)
            assert isinstance(error, InvalidInput)
            assert "CID" in error.message
        many = blob_pb2.HasRequest(cids=[cid_of(b"")] * 10_001)
        assert isinstance(await refused(stub.Has(many, timeout=10)), TooLarge)
        missing = types_pb2.BlobRef(cid=cid_of(b"never put"))
        assert isinstance(await refused(stub.Get(missing, timeout=10)), NotFound)
