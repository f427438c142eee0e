"""One try at pulling a version: its inner nodes, then its files, several blocks asked for ahead, each verified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import grpc

from farlane.errors import Conflict, Corrupted, NotFound
from farlane.models.arrival import Arrival, Part
from farlane.models.arriving_delta import DeltaOffer
from farlane.models.cid import Cid
from farlane.wire.block_stream import BlockStream

BLOCKS_AT_ONCE: Final = 8
"""Blocks that are asked for before the first of them has come and is kept."""
NODES_AT_ONCE: Final = 64
BUSY_S: Final = 0.25
"""How often a file is looked at that another process is bringing."""

OnKept = Callable[[int], None]
"""So many more bytes are here."""


class PullTry:
    """One stream.

    Args:
        arrival: of the version.
        cid: of its manifest.
        sizes: of its files, in bytes.
        deltas: what the hub has to make its files from those of other versions.
        on_kept: told of progress.
    """

    def __init__(
        self, arrival: Arrival, cid: Cid, sizes: Sequence[int], deltas: Sequence[DeltaOffer], on_kept: OnKept
    ) -> None:
        self._arrival, self._cid, self._sizes, self._on_kept = arrival, cid, sizes, on_kept
        self._deltas = deltas
        self._parts: dict[int, Part] = {}
        self.received_bytes = 0

    async def run(self, channel: grpc.aio.Channel) -> None:
        """Bring everything that is missing.

        Raises:
            Unavailable: the hub went away.
            Corrupted: what came is not the version.
            NotFound, PermissionRefused: the hub does not have it (any more), or not for us.
            DiskFull: no room.
        """
        await asyncio.to_thread(self._arrival.hold)
        async with BlockStream(channel, self._cid.text) as blocks:
            try:
                await _bring_blocks(blocks, self._arrival.lacking, self._arrival.put_nodes)
                await self._bring_delta(blocks)
                await self._bring_files(blocks)
            finally:
                self.received_bytes += blocks.received_bytes

    async def _bring_delta(self, blocks: BlockStream) -> None:
        delta = await asyncio.to_thread(self._arrival.choose, self._deltas)
        if delta is None:
            return
        try:
            await _bring_blocks(blocks, delta.lacking, delta.put)
        except (NotFound, Corrupted) as error:  # the hub's copy is gone or damaged: the blocks will do
            delta.drop(error)

    async def _bring_files(self, blocks: BlockStream) -> None:
        wanted, turn = self._wanted(), asyncio.Lock()

        async def bring() -> None:
            while True:
                try:
                    async with turn:
                        file, leaf = await anext(wanted)
                except StopAsyncIteration:
                    return
                await self._bring_leaf(blocks, file, leaf)

        workers = [asyncio.ensure_future(bring()) for _ in range(BLOCKS_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for one in workers:
                one.cancel()
            await asyncio.wait(workers)

    async def _wanted(self) -> AsyncIterator[tuple[int, int]]:
        """Yield the leaves to bring, file by file; a file is begun when its turn comes."""
        for file in self._arrival.files:
            part = await self._begun(file)
            if part is None:
                self._on_kept(self._sizes[file])
                continue
            self._on_kept(part.present_bytes)
            self._parts[file] = part
            if not part.missing:
                await self._commit(file)
            for leaf in sorted(part.missing):
                yield file, leaf

    async def _begun(self, file: int) -> Part | None:
        while True:
            try:
                return await asyncio.to_thread(self._arrival.begin, file)
            except Conflict:  # another process brings it
                await asyncio.sleep(BUSY_S)

    async def _bring_leaf(self, blocks: BlockStream, file: int, leaf: int) -> None:
        part = self._parts[file]
        block = await blocks.fetch(self._arrival.leaf(file, leaf).bytes)
        await asyncio.to_thread(part.write, leaf, block)
        self._on_kept(len(block))
        if not part.missing and file in self._parts:
            await self._commit(file)

    async def _commit(self, file: int) -> None:
        del self._parts[file]
        await asyncio.to_thread(self._arrival.commit, file)


async def _bring_blocks(
    blocks: BlockStream,
    next_lacking: Callable[[], Sequence[Cid]],
    put: Callable[[list[tuple[Cid, bytes]]], None],
) -> None:
    """Bring blocks, as long as those that came name more."""
    while lacking := await asyncio.to_thread(next_lacking):
        for at in range(0, len(lacking), NODES_AT_ONCE):
            cids = lacking[at : at + NODES_AT_ONCE]
            came = await blocks.fetch_all([cid.bytes for cid in cids])
            await asyncio.to_thread(put, list(zip(cids, came, strict=True)))
