"""BlockService: what a version is, and its blocks, for publishers who pull and nodes that serve."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import grpc

from farlane.errors import ConnectionLost, FarlaneError, InvalidInput, TooLarge, Unavailable
from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.grpc_api.model_messages import delta_message, version_message
from farlane.hub.models.access import ModelAccess
from farlane.hub.models.reading import BlockReading, VersionBlocks
from farlane.kit.tasks import TaskSupervisor
from farlane.models.deltas import deltas_for
from farlane.models.repository import Repository
from farlane.wire import limits
from farlane.wire.block_stream import MAX_WANTED
from farlane.wire.outbox import Outbox
from farlane.wire.serving import Identity, current_identity
from farlane.wire.status import abort, error_to_wire
from farlane.wire.stream import pump, received
from farlane.wire.v1 import models_pb2, models_pb2_grpc

log = logging.getLogger(__name__)
DOING: Final = "sending blocks of a model"
PIECE_BYTES: Final = 1 << 20
"""A larger block goes in several messages."""
AHEAD_BYTES: Final = 4 << 20
"""Blocks read ahead of what a reader has taken."""
ALL_AHEAD_BYTES: Final = 1 << 30
"""Of all readers; one block is read ahead in any case."""
MAX_READERS: Final = 2048
"""Streams at a time."""
MAX_READERS_EACH: Final = 1024
"""Of one organisation's clients and nodes."""
HELLO_S: Final = 15.0
RECHECK_S: Final = 60.0
"""How long a reader is believed to be one who may have the version."""
MAX_REFERENCE_CHARS: Final = 256

Open = Callable[[], Awaitable[VersionBlocks]]
Wants = AsyncIterator[models_pb2.BlockWants]
BlockContext = grpc.aio.ServicerContext[models_pb2.BlockWants, models_pb2.BlockPart]


class BlockService(models_pb2_grpc.BlockServiceServicer):
    """Serves the blocks of the hub's repository.

    Args:
        repository: the hub's.
        access: who may read what.
    """

    def __init__(self, repository: Repository, access: ModelAccess) -> None:
        self._repository, self._access = repository, access
        self._reading = BlockReading(repository)
        self._readers: Counter[str] = Counter()

    @answered
    async def DescribeVersion(
        self, request: models_pb2.DescribeVersionRequest, context: Context
    ) -> models_pb2.VersionDescription:
        """Tell what a version is: its manifest and who signed it."""
        return await asyncio.to_thread(self._described, current_identity(), request)

    async def GetBlocks(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: Wants, context: BlockContext
    ) -> None:
        """Send the blocks of one version that are asked for."""
        organisation = current_identity().organisation
        try:
            if self._readers.total() >= MAX_READERS or self._readers[organisation] >= MAX_READERS_EACH:
                raise Unavailable(
                    "the hub sends blocks to as many as it can at a time; try again in a moment"
                )
            self._readers[organisation] += 1
            try:
                await self._send(request_iterator, context)
            finally:
                self._readers[organisation] -= 1
        except ConnectionLost as error:
            log.debug("%s", error.message)  # nobody is left to be told
        except FarlaneError as error:
            await abort(context, error)

    def _described(
        self, who: Identity, request: models_pb2.DescribeVersionRequest
    ) -> models_pb2.VersionDescription:
        reference = limits.text("reference", request.reference, MAX_REFERENCE_CHARS, required=True)
        version, manifest = self._access.find(who, reference, request.node)
        return models_pb2.VersionDescription(
            version=version_message(version, manifest),
            manifest=self._repository.blocks.get(version.manifest),
            deltas=map(delta_message, deltas_for(self._repository, version.manifest)),
        )

    async def _send(self, requests: Wants, context: BlockContext) -> None:
        wants = received(requests, doing=DOING, silence_s=HELLO_S)
        try:
            first = await anext(wants)
        except StopAsyncIteration:
            return
        reader = _Reader(self._open(current_identity(), first))
        await reader.check()
        ahead = min(AHEAD_BYTES, ALL_AHEAD_BYTES // self._readers.total())
        outbox: Outbox[models_pb2.BlockPart] = Outbox(max_bytes=ahead, size_of=models_pb2.BlockPart.ByteSize)
        failed: list[FarlaneError] = []
        async with TaskSupervisor("blocks of a model") as tasks:
            tasks.start(_answer(reader, first, requests, outbox, failed), "blocks read")
            await pump(outbox, context, iter, doing=DOING)
        if failed:
            raise failed[0]

    def _open(self, who: Identity, first: models_pb2.BlockWants) -> Open:
        return lambda: self._reading.opening.run(self._blocks, who, first)

    def _blocks(self, who: Identity, first: models_pb2.BlockWants) -> VersionBlocks:
        version, manifest = self._access.find(who, _cid_text(first.version), first.node)
        self._access.require_acceptance(who, version, manifest)
        return self._reading.of(version.manifest, manifest)


class _Reader:
    """Who reads a version, as long as they may.

    Args:
        open_version: returns its blocks; raises if they may not have them any more.
    """

    def __init__(self, open_version: Open) -> None:
        self._open_version = open_version
        self._blocks: VersionBlocks | None = None
        self._checked_s = 0.0

    async def check(self) -> VersionBlocks:
        """Return the blocks, asked for anew now and then: versions are removed, and leases end."""
        now = time.monotonic()
        if self._blocks is None or now - self._checked_s >= RECHECK_S:
            self._blocks, self._checked_s = await self._open_version(), now
        return self._blocks


async def _answer(
    reader: _Reader, first: models_pb2.BlockWants, requests: Wants, outbox: Outbox[models_pb2.BlockPart],
    failed: list[FarlaneError],
) -> None:  # fmt: skip
    """Read what is wanted until the reader ends the stream; no faster than it takes the blocks."""
    try:
        await _answer_one(await reader.check(), first, outbox)
        async for message in received(requests, doing=DOING):
            await _answer_one(await reader.check(), message, outbox)
    except FarlaneError as error:
        failed.append(error)
    finally:
        outbox.close()


async def _answer_one(
    blocks: VersionBlocks, message: models_pb2.BlockWants, outbox: Outbox[models_pb2.BlockPart]
) -> None:
    if len(message.cids) > MAX_WANTED:
        raise TooLarge(f"{len(message.cids)} blocks were asked for at once; expected at most {MAX_WANTED}")
    for cid in message.cids:
        if not await outbox.room():
            return
        try:
            data = await blocks.read(cid)
        except FarlaneError as error:
            outbox.put(models_pb2.BlockPart(cid=cid[:64], last=True, error=error_to_wire(error)))
            continue
        for part in _parts(cid, data):
            outbox.put(part)


def _parts(cid: bytes, data: bytes) -> Iterator[models_pb2.BlockPart]:
    for at in range(0, max(len(data), 1), PIECE_BYTES):
        piece = data[at : at + PIECE_BYTES]
        yield models_pb2.BlockPart(cid=cid, data=piece, last=at + PIECE_BYTES >= len(data))


def _cid_text(text: str) -> str:
    if not text.startswith("baf") or "@" in text:
        raise InvalidInput(
            "blocks are asked for by the CID of a version's manifest, in the first message; ask DescribeVersion for it"
        )
    return limits.text("CID of the version", text, limits.MAX_CID_CHARS)
