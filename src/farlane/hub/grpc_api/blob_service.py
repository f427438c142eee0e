"""BlobService: large payloads, functions, files and results, verified before they exist."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.models.store import ContentStore
from farlane.wire.status import abort
from farlane.wire.stream import STALL_S, received
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc, types_pb2

CHUNK_BYTES = 256 * 1024
MAX_BLOB_BYTES = 64 << 30
MAX_ASKED = 10_000
DOING = "taking a blob"

Context = grpc.aio.ServicerContext[Any, Any]


class BlobService(blob_pb2_grpc.BlobServiceServicer):
    """Serves the hub's blobs. `blobs` returns the content store in force."""

    def __init__(self, blobs: Callable[[], ContentStore]) -> None:
        self._blobs = blobs

    async def Put(
        self, request_iterator: AsyncIterator[blob_pb2.BlobChunk], context: Context
    ) -> types_pb2.BlobRef:
        """Take one blob; it is visible only when its bytes match its CID."""
        try:
            return await self._put(received(request_iterator, doing=DOING, silence_s=STALL_S))
        except FarlaneError as error:
            await abort(context, error)
            raise

    async def _put(self, chunks: AsyncIterator[blob_pb2.BlobChunk]) -> types_pb2.BlobRef:
        loop = asyncio.get_running_loop()
        first = await anext(chunks, None)
        if first is None or not first.blob.cid:
            raise InvalidInput("a blob upload begins with its CID and size")
        if first.blob.size_bytes > MAX_BLOB_BYTES:
            raise TooLarge(f"the blob has {first.blob.size_bytes} bytes; at most {MAX_BLOB_BYTES} are taken")
        writer = await loop.run_in_executor(None, self._blobs().begin, first.blob.cid)
        size = 0
        try:
            data: bytes | None = first.data
            while data is not None:
                size += len(data)
                if size > first.blob.size_bytes:
                    raise InvalidInput(f"the blob is longer than the {first.blob.size_bytes} bytes announced")
                await loop.run_in_executor(None, writer.write, data)
                following = await anext(chunks, None)
                data = None if following is None else following.data
            if size != first.blob.size_bytes:
                raise InvalidInput(
                    f"the blob has {size} bytes; {first.blob.size_bytes} were announced: send it again"
                )
            cid = await loop.run_in_executor(None, writer.commit)
        except BaseException:
            writer.abort()
            raise
        return types_pb2.BlobRef(cid=cid, size_bytes=size)

    async def Get(self, request: types_pb2.BlobRef, context: Context) -> AsyncIterator[blob_pb2.BlobChunk]:
        """Send one blob in chunks."""
        loop = asyncio.get_running_loop()
        try:
            store = self._blobs()
            size = await loop.run_in_executor(None, store.size, request.cid)
            yield blob_pb2.BlobChunk(blob=types_pb2.BlobRef(cid=request.cid, size_bytes=size))
            with store.open(request.cid) as file:
                while data := await loop.run_in_executor(None, file.read, CHUNK_BYTES):
                    yield blob_pb2.BlobChunk(data=data)
        except FarlaneError as error:
            await abort(context, error)

    async def Has(self, request: blob_pb2.HasRequest, context: Context) -> blob_pb2.HasReply:
        """Tell which blobs are here."""
        if len(request.cids) > MAX_ASKED:
            await abort(
                context, TooLarge(f"asked for {len(request.cids)} blobs at once; at most {MAX_ASKED}")
            )
        store = self._blobs()
        try:
            present = await asyncio.get_running_loop().run_in_executor(
                None, lambda: [store.has(cid) for cid in request.cids]
            )
        except FarlaneError as error:
            await abort(context, error)
        return blob_pb2.HasReply(present=present)
