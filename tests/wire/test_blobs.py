"""Blobs against a small real server: round trips, corruption, lost connections."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from farlane.domain.jobs import BlobRef
from farlane.errors import Corrupted, DiskFull, FarlaneError, NotFound, TooLarge, Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.cid import BlobHasher
from farlane.wire.blobs import CHUNK_BYTES, TRIES, BlobClient
from farlane.wire.status import abort
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc, types_pb2

Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Context = grpc.aio.ServicerContext[Any, Any]


def cid_of(data: bytes) -> str:
    hasher = BlobHasher()
    hasher.update(data)
    return hasher.cid()


class Blobs(blob_pb2_grpc.BlobServiceServicer):
    """Blobs in a dictionary, and ways to misbehave."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.puts = self.gets = self.largest_chunk = 0
        self.break_off = 0
        """So many transfers end in the middle."""
        self.lose_reply = 0
        """So many uploads are kept, but answered with an error."""
        self.refusal: FarlaneError | None = None
        """What an upload is refused with in its middle."""

    async def Put(  # noqa: N802
        self, requests: AsyncIterator[blob_pb2.BlobChunk], context: Context
    ) -> types_pb2.BlobRef:
        self.puts += 1
        first = await anext(requests)
        data = first.data
        async for chunk in requests:
            self.largest_chunk = max(self.largest_chunk, len(chunk.data))
            data += chunk.data
            if self.refusal is not None:
                await abort(context, self.refusal)
            if self.break_off:
                self.break_off -= 1
                await abort(context, Unavailable("restarting"))
        if cid_of(data) != first.blob.cid or len(data) != first.blob.size_bytes:
            await abort(context, Corrupted("upload does not match its CID"))
        self.held[first.blob.cid] = data
        if self.lose_reply:
            self.lose_reply -= 1
            await abort(context, Unavailable("reply lost"))
        return first.blob

    async def Get(self, request: types_pb2.BlobRef, context: Context) -> AsyncIterator[blob_pb2.BlobChunk]:  # noqa: N802
        self.gets += 1
        data = self.held.get(request.cid)
        if data is None:
            await abort(context, NotFound(f"no blob {request.cid}", cid=request.cid))
        yield blob_pb2.BlobChunk(blob=request)
        for begin in range(0, len(data), CHUNK_BYTES):
            yield blob_pb2.BlobChunk(data=data[begin : begin + CHUNK_BYTES])
            if self.break_off:
                self.break_off -= 1
                await abort(context, Unavailable("restarting"))

    async def Has(self, request: blob_pb2.HasRequest, context: Context) -> blob_pb2.HasReply:  # noqa: N802
        return blob_pb2.HasReply(present=[cid in self.held for cid in request.cids])


@contextlib.asynccontextmanager
async def connected(serving: Serving) -> AsyncIterator[tuple[Blobs, BlobClient]]:
    service = Blobs()

    def add(server: grpc.aio.Server) -> None:
        blob_pb2_grpc.add_BlobServiceServicer_to_server(service, server)

    async with serving(add) as server, server.channel() as channel:
        yield service, BlobClient(channel, backoff=Backoff(first_s=0.001, cap_s=0.01), random=Random(1))


TEN_MB = os.urandom(10_000_000)


@pytest.mark.parametrize("data", [b"", b"x", b"y" * CHUNK_BYTES, TEN_MB], ids=["0", "1", "256K", "10M"])
async def test_bytes_come_back(serving: Serving, data: bytes) -> None:
    async with connected(serving) as (service, client):
        ref = await client.put_bytes(data)
        assert ref == BlobRef(cid_of(data), len(data))
        assert service.held == {ref.cid: data}
        assert await client.get_bytes(ref, max_bytes=len(data)) == data
        assert service.largest_chunk <= CHUNK_BYTES


async def test_a_file_comes_back(serving: Serving, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(TEN_MB)
    async with connected(serving) as (_, client):
        ref = await client.put_file(source)
        assert ref == BlobRef(cid_of(TEN_MB), len(TEN_MB))
        await client.get_file(ref, target)
        assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(TEN_MB).digest()
        assert target.stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]
        target.write_bytes(b"older content")
        await client.get_file(ref, target)
        assert target.stat().st_size == len(TEN_MB)


async def test_what_the_hub_holds_is_not_sent_again(serving: Serving, tmp_path: Path) -> None:
    async with connected(serving) as (service, client):
        ref = await client.put_bytes(b"data")
        (tmp_path / "same").write_bytes(b"data")
        assert await client.put_bytes(b"data") == await client.put_file(tmp_path / "same") == ref
        assert service.puts == 1
        asked = [f"bafy{n}" for n in range(2500)] + [ref.cid]
        assert await client.has(asked) == [False] * 2500 + [True]
        assert await client.has([]) == []


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (b"", "0 of 10000000 bytes came"),
        (b"other", "5 of 10000000 bytes came"),
        (TEN_MB[:-1], "9999999 of 10000000 bytes came"),
        (TEN_MB + b"x", "more than 10000000 bytes came"),
        (b"!" + TEN_MB[1:], "its bytes hash to bafkrei"),
        (TEN_MB[:-1] + b"!", "its bytes hash to bafkrei"),
    ],
    ids=["empty", "other", "cut off", "longer", "first byte", "last byte"],
)
async def test_corrupted_content_never_gets_a_name(
    serving: Serving, tmp_path: Path, spoilt: bytes, said: str
) -> None:
    data = TEN_MB[:-1] + b"?"
    async with connected(serving) as (service, client):
        ref = await client.put_bytes(data)
        service.held[ref.cid] = spoilt
        with pytest.raises(Corrupted, match=f"blob {ref.cid} is not what its CID says: {said}") as caught:
            await client.get_file(ref, tmp_path / "target")
        assert caught.value.facts == {"cid": ref.cid}
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(Corrupted):
            await client.get_bytes(ref, max_bytes=1 << 30)
        assert service.gets == 2  # the same bytes would come again: no retry


async def test_a_file_that_is_there_survives_a_corrupted_update(serving: Serving, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"good")
    async with connected(serving) as (service, client):
        service.held["bafynonsense"] = b"12345"
        with pytest.raises(Corrupted):
            await client.get_file(BlobRef("bafynonsense", 5), target)
    assert target.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [target]


async def test_a_blob_larger_than_the_caller_wants_is_not_fetched(serving: Serving) -> None:
    async with connected(serving) as (service, client):
        ref = await client.put_bytes(b"12345")
        with pytest.raises(TooLarge, match="has 5 bytes; expected at most 4"):
            await client.get_bytes(ref, max_bytes=4)
        assert service.gets == 0
        service.held[ref.cid] = TEN_MB  # a hub that says 5 and sends more is cut short
        with pytest.raises(Corrupted, match="more than 5 bytes came"):
            await client.get_bytes(ref, max_bytes=5)


async def test_an_unknown_blob_is_not_found(serving: Serving, tmp_path: Path) -> None:
    async with connected(serving) as (_, client):
        with pytest.raises(NotFound, match="no blob bafymissing"):
            await client.get_file(BlobRef("bafymissing", 5), tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


async def test_transfers_that_break_off_begin_again(serving: Serving, tmp_path: Path) -> None:
    async with connected(serving) as (service, client):
        service.break_off = 2
        ref = await client.put_bytes(TEN_MB)
        assert service.puts == 3
        service.break_off = 2
        assert await client.get_bytes(ref, max_bytes=len(TEN_MB)) == TEN_MB
        service.break_off = TRIES - 1
        await client.get_file(ref, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == TEN_MB
        service.break_off = TRIES
        with pytest.raises(Unavailable, match="restarting"):
            await client.get_file(ref, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


async def test_a_refusal_in_the_middle_of_an_upload_says_why(serving: Serving) -> None:
    async with connected(serving) as (service, client):
        service.refusal = TooLarge("blobs are full", limit_bytes=5)
        for _ in range(20):  # the refusal and a write cross each other now and then
            with pytest.raises(TooLarge, match="blobs are full") as caught:
                await client.put_bytes(TEN_MB)
            assert caught.value.facts == {"limit_bytes": "5"}


async def test_an_upload_whose_reply_was_lost_is_not_repeated(serving: Serving) -> None:
    async with connected(serving) as (service, client):
        service.lose_reply = 1
        ref = await client.put_bytes(b"once")
        assert service.puts == 1
        assert service.held == {ref.cid: b"once"}


async def test_a_file_that_changes_while_it_is_read_is_refused(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "changing").write_bytes(b"new")
    monkeypatch.setattr("farlane.wire.blobs._ref_of_file", lambda path: BlobRef(cid_of(b"old"), 3))
    async with connected(serving) as (service, client):
        with pytest.raises(Corrupted, match="does not match its CID"):
            await client.put_file(tmp_path / "changing")
        assert service.held == {}


async def test_a_full_disk_is_named_and_leaves_nothing(serving: Serving, tmp_path: Path) -> None:
    import resource

    async with connected(serving) as (_, client):
        ref = await client.put_bytes(TEN_MB)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (1 << 20, limits[1])
        )  # Python ignores SIGXFSZ: EFBIG instead
        try:
            with pytest.raises(DiskFull, match="Free space"):
                await client.get_file(ref, tmp_path / "target")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
