"""Blocks of one version over one call to a hub: several may be fetched at once, each answered for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import grpc

from farlane.errors import ConnectionLost, Corrupted, FarlaneError
from farlane.kit.tasks import TaskSupervisor
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire
from farlane.wire.stream import pump, received
from farlane.wire.v1 import models_pb2, models_pb2_grpc

log = logging.getLogger(__name__)
MAX_BLOCK_BYTES: Final = 2 << 20
"""What a hub sends for one block; more is refused."""
MAX_WANTED: Final = 4096
"""CIDs in one message."""
DOING: Final = "fetching blocks of a model"


class BlockStream:
    """Fetches blocks, open inside `async with`. What comes is not verified: the caller knows what it asked for.

    Args:
        channel: from `farlane.wire.channel.open_channel`.
        version: CID of the version's manifest; only its blocks are given.
        node: which node asks, for private versions.
    """

    def __init__(
        self, channel: grpc.aio.Channel, version: str, node: models_pb2.NodeProof | None = None
    ) -> None:
        self._channel, self._version, self._node = channel, version, node
        self._waiting: dict[bytes, list[asyncio.Future[bytes]]] = {}
        self._parts: dict[bytes, bytearray] = {}
        self._outbox: Outbox[models_pb2.BlockWants] = Outbox()
        self._tasks = TaskSupervisor("blocks of a model")
        self._end: FarlaneError | None = None
        self.received_bytes = 0

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        call = models_pb2_grpc.BlockServiceStub(self._channel).GetBlocks()
        self._outbox.put(models_pb2.BlockWants(version=self._version, node=self._node))
        self._tasks.start(self._write(call), "wants written")
        self._tasks.start(self._read(call), "blocks read")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._fail(ConnectionLost(f"{DOING}: the stream was closed"))
        await self._tasks.__aexit__(kind, error, traceback)

    async def fetch(self, cid: bytes) -> bytes:
        """Return a block by its CID in binary form; cancelling gives it up.

        Raises:
            NotFound: the hub does not have it, or it is of another version.
            Unavailable: the hub went away; so it is for every later block.
            FarlaneError: what the hub refused.
        """
        if self._end is not None:
            raise self._end
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(cid, [])
        waiting.append(answer)
        if len(waiting) == 1:
            self._outbox.put(models_pb2.BlockWants(cids=[cid]))
        return await answer

    async def fetch_all(self, cids: Sequence[bytes]) -> list[bytes]:
        """Return several blocks in the order of their CIDs; raises as `fetch`, for the first that fails."""
        return await asyncio.gather(*map(self.fetch, cids))

    async def _write(
        self, call: grpc.aio.StreamStreamCall[models_pb2.BlockWants, models_pb2.BlockPart]
    ) -> None:
        try:
            await pump(self._outbox, call, _together, doing=DOING)
        except FarlaneError as error:
            log.debug("%s", error.message)  # who reads hears it too

    async def _read(
        self, call: grpc.aio.StreamStreamCall[models_pb2.BlockWants, models_pb2.BlockPart]
    ) -> None:
        try:
            async for part in received(call, doing=DOING):
                self._take(part)
            self._fail(ConnectionLost(f"{DOING}: the hub ended the stream"))
        except FarlaneError as error:
            self._fail(error)
        finally:
            call.cancel()

    def _take(self, part: models_pb2.BlockPart) -> None:
        if part.HasField("error"):
            self._parts.pop(part.cid, None)
            self._answer(part.cid, error_from_wire(part.error))
            return
        self.received_bytes += len(part.data)
        so_far = self._parts.setdefault(part.cid, bytearray())
        so_far += part.data
        if len(so_far) > MAX_BLOCK_BYTES:
            raise Corrupted(
                f"the hub sends a block of more than {MAX_BLOCK_BYTES} bytes: no block has so many"
            )
        if part.last:
            self._answer(part.cid, bytes(self._parts.pop(part.cid)))

    def _answer(self, cid: bytes, answer: bytes | FarlaneError) -> None:
        for one in self._waiting.pop(cid, ()):
            if one.done():
                continue
            if isinstance(answer, FarlaneError):
                one.set_exception(answer)
            else:
                one.set_result(answer)

    def _fail(self, error: FarlaneError) -> None:
        self._end = self._end or error
        self._outbox.close()
        for cid in list(self._waiting):
            self._answer(cid, self._end)


def _together(wants: list[models_pb2.BlockWants]) -> Iterator[models_pb2.BlockWants]:
    """Yield what waited in few messages; the first says of which version."""
    head, *rest = wants
    cids = [*head.cids, *(cid for one in rest for cid in one.cids)]
    for at in range(0, max(len(cids), 1), MAX_WANTED):
        yield models_pb2.BlockWants(version=head.version, node=head.node if head.HasField("node") else None,
                                    cids=cids[at : at + MAX_WANTED])  # fmt: skip
