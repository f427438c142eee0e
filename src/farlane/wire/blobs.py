"""Fetching and storing blobs at the hub: in chunks, out of band, verified against their CID before use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import BinaryIO, TypeVar

import grpc

from farlane.domain.jobs import BlobRef
from farlane.errors import Corrupted, TooLarge, Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.cid import BlobHasher
from farlane.kit.files import disk_full_as_error, fsync_directory
from farlane.wire.jobs import blob_to_wire
from farlane.wire.status import final_error, from_rpc_error, remember_end
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
MAX_CIDS_PER_HAS = 1000
ASK_TIMEOUT_S = 30.0
MIN_BYTES_PER_S = 128 * 1024
"""A transfer slower than this is given up; the deadline follows from the blob's size."""
TRIES = 5
_DOING = "transferring a blob"


class BlobClient:
    """Blobs of one hub.

    A transfer that breaks off is begun again from its start, after a pause.

    Args:
        channel: from `open_channel`.
        backoff: pauses between tries.
        random: source of the jitter.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        self._stub = blob_pb2_grpc.BlobServiceStub(channel)
        self._backoff = backoff or Backoff(first_s=0.2, cap_s=5.0)
        self._random = random or Random()

    async def has(self, cids: Sequence[str]) -> list[bool]:
        """Tell for each CID whether the hub holds it.

        Raises:
            FarlaneError: the hub cannot be asked.
        """
        present: list[bool] = []
        for first in range(0, len(cids), MAX_CIDS_PER_HAS):
            asked = cids[first : first + MAX_CIDS_PER_HAS]
            present += await self._retrying(partial(self._has_once, asked))
        return present

    async def put_bytes(self, data: bytes) -> BlobRef:
        """Store bytes and return what to find them by; nothing is sent if the hub holds them.

        Raises:
            FarlaneError: the hub refuses them, or cannot be reached.
        """
        ref = await asyncio.to_thread(_ref_of_bytes, data)
        await self._retrying(lambda: self._put_if_missing(ref, lambda: _byte_chunks(data)))
        return ref

    async def put_file(self, path: Path) -> BlobRef:
        """Store a file and return what to find it by; it is read twice, in constant memory.

        Raises:
            FarlaneError: the hub refuses it (it changed while it was read), or cannot be reached.
            OSError: the file cannot be read.
        """
        ref = await asyncio.to_thread(_ref_of_file, path)
        await self._retrying(lambda: self._put_if_missing(ref, lambda: _file_chunks(path)))
        return ref

    async def get_bytes(self, ref: BlobRef, max_bytes: int) -> bytes:
        """Return a blob's bytes, verified.

        Args:
            ref: which blob.
            max_bytes: what the caller is ready to hold in memory.

        Raises:
            TooLarge: the blob is larger than `max_bytes`; nothing was fetched.
            Corrupted: what came is not what its CID says.
            NotFound: the hub does not hold it.
            FarlaneError: the hub refuses, or cannot be reached.
        """
        if ref.size_bytes > max_bytes:
            raise TooLarge(
                f"blob {ref.cid} has {ref.size_bytes} bytes; expected at most {max_bytes}. Fetch it into a file",
                cid=ref.cid,
                size_bytes=ref.size_bytes,
                limit_bytes=max_bytes,
            )

        async def once() -> bytes:
            return b"".join([chunk async for chunk in self._verified(ref)])

        return await self._retrying(once)

    async def get_file(self, ref: BlobRef, target: Path) -> None:
        """Fetch a blob into a file, which appears under its name only when whole, verified and on disk.

        Raises:
            Corrupted: what came is not what its CID says; the target is as before.
            NotFound: the hub does not hold it.
            DiskFull: there is no room.
            FarlaneError: the hub refuses, or cannot be reached.
            OSError: the target's directory cannot be written.
        """
        await self._retrying(lambda: self._fetch_file(ref, target))

    async def _has_once(self, cids: Sequence[str]) -> list[bool]:
        reply = await self._stub.Has(blob_pb2.HasRequest(cids=cids), timeout=ASK_TIMEOUT_S)
        if len(reply.present) != len(cids):
            raise Corrupted(
                f"the hub answered for {len(reply.present)} of {len(cids)} blobs; expected one answer each"
            )
        return list(reply.present)

    async def _put_if_missing(self, ref: BlobRef, chunks: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        # Asked again on each try: the upload may have arrived and only its reply been lost.
        if (await self._has_once([ref.cid]))[0]:
            return
        call = self._stub.Put(timeout=_deadline_s(ref))
        remember_end(call)
        try:
            # The hub may end the call early; its status, not the failed write, says why.
            with contextlib.suppress(asyncio.InvalidStateError):
                await call.write(blob_pb2.BlobChunk(blob=blob_to_wire(ref)))
                async with contextlib.aclosing(chunks()) as pieces:
                    async for data in pieces:
                        await call.write(blob_pb2.BlobChunk(data=data))
                await call.done_writing()
            reply = await call
        except grpc.aio.AioRpcError as error:
            raise await final_error(call, error, _DOING) from error
        finally:
            call.cancel()
        if reply.cid != ref.cid or reply.size_bytes != ref.size_bytes:
            raise _corrupted(ref, f"the hub stored {reply.size_bytes} bytes as {reply.cid!r}")

    async def _verified(self, ref: BlobRef) -> AsyncGenerator[bytes, None]:
        """Yield a blob's bytes; the last step raises unless all of them together are the blob."""
        hasher = BlobHasher()
        received = 0
        call = self._stub.Get(blob_to_wire(ref), timeout=_deadline_s(ref))
        try:
            async for chunk in call:
                received += len(chunk.data)
                if received > ref.size_bytes:
                    raise _corrupted(ref, f"more than {ref.size_bytes} bytes came")
                await asyncio.to_thread(hasher.update, chunk.data)
                yield chunk.data
        finally:
            call.cancel()
        if received != ref.size_bytes:
            raise _corrupted(ref, f"{received} of {ref.size_bytes} bytes came")
        found = hasher.cid()
        if found != ref.cid:
            raise _corrupted(ref, f"its bytes hash to {found}")

    async def _fetch_file(self, ref: BlobRef, target: Path) -> None:
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
        with disk_full_as_error(target):
            try:
                stream = await asyncio.to_thread(_create_private, temporary)
                with stream:
                    async with contextlib.aclosing(self._verified(ref)) as chunks:
                        async for data in chunks:
                            await asyncio.to_thread(stream.write, data)
                    await asyncio.to_thread(_sync, stream)
                os.replace(temporary, target)
                await asyncio.to_thread(fsync_directory, target.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    async def _retrying(self, once: Callable[[], Awaitable[T]]) -> T:
        delays = self._backoff.delays(self._random)
        for _ in range(TRIES - 1):
            try:
                return await _as_own_errors(once)
            except Unavailable:
                await asyncio.sleep(next(delays))
        return await _as_own_errors(once)


def _ref_of_bytes(data: bytes) -> BlobRef:
    hasher = BlobHasher()
    hasher.update(data)
    return BlobRef(hasher.cid(), len(data))


def _ref_of_file(path: Path) -> BlobRef:
    hasher, size = BlobHasher(), 0
    with path.open("rb") as stream:
        while data := stream.read(CHUNK_BYTES):
            hasher.update(data)
            size += len(data)
    return BlobRef(hasher.cid(), size)


async def _as_own_errors(once: Callable[[], Awaitable[T]]) -> T:
    try:
        return await once()
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, _DOING) from error


async def _byte_chunks(data: bytes) -> AsyncGenerator[bytes, None]:
    view = memoryview(data)
    for first in range(0, len(data), CHUNK_BYTES):
        yield bytes(view[first : first + CHUNK_BYTES])


async def _file_chunks(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as stream:
        while data := await asyncio.to_thread(stream.read, CHUNK_BYTES):
            yield data


def _create_private(path: Path) -> BinaryIO:
    return open(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"
    )


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _deadline_s(ref: BlobRef) -> float:
    return ASK_TIMEOUT_S + ref.size_bytes / MIN_BYTES_PER_S


def _corrupted(ref: BlobRef, what: str) -> Corrupted:
    return Corrupted(
        f"blob {ref.cid} is not what its CID says: {what}. Nothing of it was kept; try again, and if it stays, put "
        "the original again",
        cid=ref.cid,
    )
