"""One try at pushing a version: the offer, and an answer to everything that the hub wants of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import grpc

from farlane.errors import FarlaneError, InvalidInput, PermissionRefused, Unavailable, UnsupportedVersion
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import cid_from_bytes, parse_cid
from farlane.models.deltas import block_list
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.models.transfer.bitmap import unpack
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.version_blocks import dag_of
from farlane.wire.outbox import Outbox
from farlane.wire.stream import pump, received
from farlane.wire.v1 import models_pb2, models_pb2_grpc
from farlane.wire.versions import check_peer

log = logging.getLogger(__name__)
DOING: Final = "pushing a model"
GROUP_BYTES: Final = 1 << 20
"""Small blocks go together up to so many bytes; a larger one goes alone."""
GROUP_BLOCKS: Final = 4096
AHEAD_BYTES: Final = 4 << 20
"""Blocks read ahead of what the connection has taken."""
WANTS_AHEAD: Final = 64

OnKept = Callable[[int, int], None]
"""(bytes at the hub, bytes in all) as they rise; begins anew with each try."""
Call = grpc.aio.StreamStreamCall[models_pb2.PushMessage, models_pb2.PushCommand]


class PushTry:
    """One call.

    Args:
        repository: has the version.
        manifest: of the version.
        offer: the first message.
        on_kept: told of progress.
    """

    def __init__(
        self, repository: Repository, manifest: Manifest, offer: models_pb2.PushOffer, on_kept: OnKept
    ) -> None:
        self._repository, self._manifest, self._offer, self._on_kept = repository, manifest, offer, on_kept
        self._failure: FarlaneError | None = None
        self._dag: tuple[int, FileDag] | None = None
        self._given: frozenset[bytes] | None = None
        self._kept = self._total = 0
        self.sent_bytes = 0

    async def run(self, channel: grpc.aio.Channel) -> models_pb2.Published:
        """Push, and return what the hub says in the end.

        Raises:
            Unavailable: the hub went away.
            Corrupted, NotFound: the version is damaged here.
            FarlaneError: what the hub refused.
        """
        call: Call = models_pb2_grpc.ModelServiceStub(channel).Push()
        outbox: Outbox[models_pb2.PushMessage] = Outbox(max_bytes=AHEAD_BYTES, size_of=_size)
        outbox.put(models_pb2.PushMessage(offer=self._offer))
        wants: asyncio.Queue[models_pb2.PushCommand] = asyncio.Queue(WANTS_AHEAD)
        async with TaskSupervisor("push of a model") as tasks:
            tasks.start(_write(outbox, call), "push written")
            tasks.start(self._answer(wants, outbox, call), "blocks read")
            try:
                return await self._listen(call, wants)
            except Unavailable as error:
                raise (self._failure or error) from error
            finally:
                outbox.close()
                call.cancel()

    async def _listen(self, call: Call, wants: asyncio.Queue[models_pb2.PushCommand]) -> models_pb2.Published:
        async for command in received(call, doing=DOING):
            kind = command.WhichOneof("kind")
            if kind == "published":
                return command.published
            if kind == "welcome":
                check_peer(command.welcome.version)
                self._total = command.welcome.total_bytes
                self._keep(command.welcome.present_bytes)
            elif kind == "kept":
                self._keep(command.kept.bytes)
            elif kind is not None:
                await wants.put(command)
            else:
                raise UnsupportedVersion("the hub sent what this farlane does not know: upgrade it")
        raise Unavailable(f"{DOING}: the hub ended the call before the version was published")

    def _keep(self, count: int) -> None:
        self._kept += count
        self._on_kept(self._kept, self._total)

    async def _answer(
        self, wants: asyncio.Queue[models_pb2.PushCommand], outbox: Outbox[models_pb2.PushMessage], call: Call
    ) -> None:
        """Send what is wanted, in the order in which it was; no faster than it is taken."""
        try:
            while True:
                messages = self._messages(await wants.get())
                while (message := await asyncio.to_thread(next, messages, None)) is not None:
                    if not await outbox.room():
                        return
                    outbox.put(message)
                    self.sent_bytes += message.ByteSize()
        except FarlaneError as error:
            self._failure = error
            call.cancel()

    def _messages(self, command: models_pb2.PushCommand) -> Iterator[models_pb2.PushMessage]:
        if command.WhichOneof("kind") == "leaves":
            return self._leaves(command.leaves)
        return self._blocks(command.blocks.cids)

    def _blocks(self, wanted: Sequence[bytes]) -> Iterator[models_pb2.PushMessage]:
        if self._given is None:
            self._given = frozenset(self._to_give())
        if not self._given.issuperset(wanted):
            raise PermissionRefused(
                "the hub wants blocks that are not of the version that is pushed; nothing more is sent"
            )
        blocks = ((raw, self._repository.blocks.get(cid_from_bytes(raw))) for raw in wanted)
        for group in _groups(blocks):
            cids, data = zip(*group, strict=True)
            yield models_pb2.PushMessage(blocks=models_pb2.PushBlocks(cids=cids, data=data))

    def _to_give(self) -> Iterator[bytes]:
        """Yield the CIDs of the inner nodes of the version's files, and of the blocks of its deltas."""
        blocks = self._repository.blocks
        for file in self._manifest.files:
            for root in {file.cid, file.ipfs_cid}:
                yield from (cid.bytes for cid in dag_of(blocks, root, file.size).nodes)
        for delta in self._offer.deltas:
            yield from (cid.bytes for cid in block_list(blocks, parse_cid(delta.cid)))

    def _leaves(self, wanted: models_pb2.WantLeaves) -> Iterator[models_pb2.PushMessage]:
        leaves = self._outline(wanted.file).leaves
        indices = unpack(wanted.missing, len(leaves)).nonzero()[0].tolist()
        blocks = ((index, self._repository.blocks.get(leaves.cid(index))) for index in indices)
        for group in _groups(blocks):
            numbers, data = zip(*group, strict=True)
            yield models_pb2.PushMessage(
                leaves=models_pb2.PushLeaves(file=wanted.file, indices=numbers, data=data)
            )

    def _outline(self, number: int) -> FileDag:
        if number >= len(self._manifest.files):
            raise InvalidInput(f"the hub wants file {number} of {len(self._manifest.files)}; upgrade it")
        if self._dag is None or self._dag[0] != number:
            file = self._manifest.files[number]
            self._dag = (number, dag_of(self._repository.blocks, file.cid, file.size))
        return self._dag[1]


def _groups(blocks: Iterator[tuple[Any, bytes]]) -> Iterator[list[tuple[Any, bytes]]]:
    """Put blocks together up to the size of a message."""
    group: list[tuple[Any, bytes]] = []
    size = 0
    for key, block in blocks:
        if group and (size + len(block) > GROUP_BYTES or len(group) >= GROUP_BLOCKS):
            yield group
            group, size = [], 0
        group.append((key, block))
        size += len(block)
    if group:
        yield group


def _size(message: models_pb2.PushMessage) -> int:
    return message.ByteSize()


async def _write(outbox: Outbox[models_pb2.PushMessage], call: Call) -> None:
    try:
        await pump(outbox, call, iter, doing=DOING)
    except FarlaneError as error:
        log.debug("%s", error.message)  # who listens hears it too
