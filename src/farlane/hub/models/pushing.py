"""One push: a publisher offers a version, the hub asks for what it lacks of it, and names it once it is whole.

Whatever has come is kept, so a push that was broken off anywhere goes on from there. A file that somebody else of the
organisation is pushing too is waited for, while nothing else of this version is under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from farlane.errors import Conflict, ConnectionLost, DiskFull, InvalidInput, TooLarge
from farlane.hub.grpc_api.model_messages import move_message, version_message
from farlane.hub.models.access import ModelAccess
from farlane.hub.models.aliases import expected_of, require_standing
from farlane.hub.models.private_files import PrivateFiles
from farlane.hub.models.threads import Threads
from farlane.models.arrival import Arrival, Part, check_arriving
from farlane.models.arriving_delta import MAX_OFFERS, DeltaOffer
from farlane.models.catalog.catalog import ANYWHERE, Expected
from farlane.models.catalog.values import AliasMove, Author
from farlane.models.cid import Cid, parse_cid
from farlane.models.manifest.codec import decode, manifest_cid
from farlane.models.manifest.signature import SIGNATURE_BYTES, Signature
from farlane.models.manifest.values import MAX_MANIFEST_BYTES, MAX_TEXT_BYTES, Manifest
from farlane.models.repository import Repository
from farlane.models.transfer.bitmap import flags_of, pack
from farlane.wire.serving import Identity
from farlane.wire.v1 import models_pb2
from farlane.wire.versions import check_peer, this_version

log = logging.getLogger(__name__)
FILES_AT_ONCE: Final = 16
"""Files under way at the same time in one push, so that many small ones do not wait for each other's round trip."""
BLOCKS_AT_ONCE: Final = 2048
"""Inner nodes, or parts of a delta, asked for in one message."""
WRITES_AHEAD: Final = 2
"""Messages of leaves that are checked and written while the next one comes."""
BUSY_S: Final = 0.25
"""How often a file is looked at that another push is bringing."""

Send = Callable[[models_pb2.PushCommand], object]
Messages = AsyncIterator[models_pb2.PushMessage]
Blocks = list[tuple[Cid, bytes]]


class Push:
    """One push, from its offer to its end.

    Args:
        repository: the hub's.
        access: as whom the publisher changes names.
        private: whose files the publisher may not have.
        threads: for what blocks.
        max_bytes: what the repository may hold; 0 is without limit.
        who: the publisher.
        send: tells the publisher something; never blocks.
    """

    def __init__(
        self,
        repository: Repository,
        access: ModelAccess,
        private: PrivateFiles,
        threads: Threads,
        max_bytes: int,
        who: Identity,
        send: Send,
    ) -> None:
        self._repository, self._access, self._max_bytes = repository, access, max_bytes
        self._private, self._threads = private, threads
        self._who, self._send = who, send
        self._open: dict[int, Part] = {}
        self._due: dict[int, int] = {}  # leaves of files under way that have not come
        self._writing: deque[tuple[asyncio.Future[None], int, int]] = deque()  # and their files and bytes
        self._received = 0
        self._cid: Cid
        self._manifest: Manifest
        self._signature: Signature | None
        self._author: Author
        self._expected: Expected = ANYWHERE

    async def run(self, messages: Messages) -> None:
        """Serve one push.

        Raises:
            FarlaneError: why nothing was published; what had come is kept.
        """
        offer = await _offer(messages)
        with ExitStack() as ending:
            arrival = await self._threads.run(self._accepted, offer, ending)
            await self._threads.run(arrival.hold)
            self._welcome(arrival)
            await self._take_blocks(arrival.lacking, partial(self._put_nodes, arrival), messages)
            delta = await self._threads.run(arrival.choose, _deltas(offer))
            if delta is not None:
                await self._take_blocks(delta.lacking, delta.put, messages)
            await self._take_files(arrival, messages)
            published = await self._threads.run(self._publish, arrival, offer.alias)
        told = published.version
        log.info("%s published %s@v%d %s", self._who.publisher, told.name, told.number, told.cid)
        self._send(models_pb2.PushCommand(published=published))

    def _accepted(self, offer: models_pb2.PushOffer, ending: ExitStack) -> Arrival:
        """Check everything that can be checked before a byte is taken."""
        catalog = self._repository.catalog
        self._cid, self._manifest = _described(offer)
        self._signature = _signature(offer)
        self._author = self._access.author(self._who, self._manifest.name)
        check_arriving(self._repository, self._manifest, self._cid, self._signature, self._author)
        if offer.alias:
            self._expected = expected_of(catalog, self._manifest.name, offer)
            require_standing(catalog, self._manifest.name, offer.alias, self._expected, self._cid)
        ending.enter_context(self._private.arriving(self._manifest, self._author.organisation))
        guard = self._private.guard(self._who)
        arrival = Arrival(self._repository, self._manifest, self._cid, self._who.organisation, guard)
        ending.callback(arrival.close)
        self._require_room(arrival)
        return arrival

    def _welcome(self, arrival: Arrival) -> None:
        welcome = models_pb2.PushWelcome(
            version=this_version(), total_bytes=self._manifest.size_bytes, present_bytes=arrival.present_bytes
        )
        self._send(models_pb2.PushCommand(welcome=welcome))

    def _require_room(self, arrival: Arrival) -> None:
        arriving = {self._manifest.files[number].sha256.hex() for number in arrival.files}
        blocks = self._repository.blocks
        held = blocks.total_bytes + blocks.partial_bytes(arriving, self._who.organisation)
        if self._max_bytes and held + arrival.awaited_bytes > self._max_bytes:
            raise DiskFull(
                f"the hub's models may take {self._max_bytes} bytes and take {held}: there is no room for the "
                f"{arrival.awaited_bytes} of {self._manifest.name} that are not here. Its owner removes versions "
                "(`farlane models rm`, `gc`) or raises hub.models_bytes",
                limit_bytes=self._max_bytes,
            )

    async def _take_blocks(
        self, next_lacking: Callable[[], Sequence[Cid]], put: Callable[[Blocks], None], messages: Messages
    ) -> None:
        """Ask for blocks, as long as those that came name more."""
        while lacking := await self._threads.run(next_lacking):
            for at in range(0, len(lacking), BLOCKS_AT_ONCE):
                wanted = {cid.bytes: cid for cid in lacking[at : at + BLOCKS_AT_ONCE]}
                self._send(models_pb2.PushCommand(blocks=models_pb2.WantBlocks(cids=list(wanted))))
                while wanted:
                    came = _blocks(await _next(messages, "blocks"), wanted)
                    self._received += sum(len(block) for _, block in came)
                    await self._threads.run(put, came)

    def _put_nodes(self, arrival: Arrival, blocks: Blocks) -> None:
        digests = [cid.digest for cid, _ in blocks]
        self._private.nodes_come(self._manifest, self._author.organisation, digests)
        arrival.put_nodes(blocks)

    async def _take_files(self, arrival: Arrival, messages: Messages) -> None:
        waiting = list(reversed(arrival.files))
        while waiting or self._open or self._writing:
            busy = False
            while waiting and len(self._open) < FILES_AT_ONCE and not busy:
                busy = not await self._begin(arrival, waiting[-1])
                if not busy:
                    waiting.pop()
            if any(self._due.values()):
                await self._take_leaves(arrival, await _next(messages, "leaves"))
            elif self._writing:
                await self._written(arrival)
            elif self._open:
                raise InvalidInput(
                    "a leaf came twice and another one not at all; upgrade the publisher's farlane"
                )
            elif busy:
                await asyncio.sleep(BUSY_S)

    async def _begin(self, arrival: Arrival, file: int) -> bool:
        """Ask for what is missing of a file; False while somebody else brings it."""
        try:
            part = await self._threads.run(arrival.begin, file)
        except Conflict:
            return False
        if part is None:
            self._kept(self._manifest.files[file].size)
            return True
        self._open[file], self._due[file] = part, len(part.missing)
        self._kept(part.present_bytes)
        if not part.missing:
            await self._commit(arrival, file)
            return True
        bits = pack(flags_of(len(part.assembly.leaves), part.missing))
        self._send(models_pb2.PushCommand(leaves=models_pb2.WantLeaves(file=file, missing=bits)))
        return True

    async def _take_leaves(self, arrival: Arrival, message: models_pb2.PushMessage) -> None:
        leaves = message.leaves
        part = self._open.get(leaves.file)
        if part is None or len(leaves.indices) != len(leaves.data) or not leaves.indices:
            raise InvalidInput("leaves came that were not asked for; upgrade the publisher's farlane")
        self._due[leaves.file] -= len(leaves.indices)
        if self._due[leaves.file] < 0:
            raise InvalidInput("more leaves came than were asked for; upgrade the publisher's farlane")
        size = sum(map(len, leaves.data))
        write = self._threads.start(_write, part, leaves.indices, leaves.data)
        self._writing.append((write, leaves.file, size))
        if len(self._writing) > WRITES_AHEAD:
            await self._written(arrival)

    async def _written(self, arrival: Arrival) -> None:
        """Wait for the oldest write, and commit its file if that was the last."""
        write, file, size = self._writing.popleft()
        await write
        self._received += size
        self._kept(size)
        if file in self._open and not self._open[file].missing:
            await self._commit(arrival, file)

    async def _commit(self, arrival: Arrival, file: int) -> None:
        await self._threads.run(arrival.commit, file)
        del self._open[file], self._due[file]

    def _kept(self, count: int) -> None:
        if count:
            self._send(models_pb2.PushCommand(kept=models_pb2.PushKept(bytes=count)))

    def _publish(self, arrival: Arrival, alias: str) -> models_pb2.Published:
        version = arrival.publish(self._signature, self._author)
        told = version_message(version, self._manifest)
        done = models_pb2.Published(version=told, received_bytes=self._received)
        if alias and (moved := self._move(alias)) is not None:
            done.move.CopyFrom(move_message(moved))
        return done

    def _move(self, alias: str) -> AliasMove | None:
        """Put the alias on the version, unless it stands there: a push whose end was not heard is pushed again."""
        name, catalog = self._manifest.name, self._repository.catalog
        if catalog.aliases(name).get(alias) == self._cid:
            return None
        return catalog.move(name, alias, self._cid, self._author, self._expected)


async def _next(messages: Messages, kind: str) -> models_pb2.PushMessage:
    try:
        message = await anext(messages)
    except StopAsyncIteration as error:
        raise ConnectionLost(
            "the publisher ended its push before all was there; what came is kept"
        ) from error
    if message.WhichOneof("kind") != kind:
        raise InvalidInput(f"the publisher sent something else than the {kind} it was asked for; upgrade it")
    return message


async def _offer(messages: Messages) -> models_pb2.PushOffer:
    offer = (await _next(messages, "offer")).offer
    check_peer(offer.version)
    return offer


def _described(offer: models_pb2.PushOffer) -> tuple[Cid, Manifest]:
    if len(offer.manifest) > MAX_MANIFEST_BYTES:
        raise TooLarge(f"a manifest has at most {MAX_MANIFEST_BYTES} bytes, this one {len(offer.manifest)}")
    cid = manifest_cid(offer.manifest)
    return cid, decode(offer.manifest, cid)


def _signature(offer: models_pb2.PushOffer) -> Signature | None:
    if not offer.HasField("signature"):
        return None
    signer, value = offer.signature.signer, offer.signature.signature
    if len(value) > MAX_TEXT_BYTES or len(signer) > MAX_TEXT_BYTES:
        raise InvalidInput(f"a signature has {SIGNATURE_BYTES} bytes, this one {len(value)}")
    return Signature(signer, value)


def _deltas(offer: models_pb2.PushOffer) -> list[DeltaOffer]:
    return [
        DeltaOffer(parse_cid(one.base), parse_cid(one.cid), one.size_bytes)
        for one in offer.deltas[:MAX_OFFERS]
    ]


def _blocks(message: models_pb2.PushMessage, wanted: dict[bytes, Cid]) -> Blocks:
    """Return the blocks of a message, and take them off what is wanted."""
    cids, data = message.blocks.cids, message.blocks.data
    if not cids or len(cids) != len(data) or len(set(cids)) != len(cids) or not set(cids) <= set(wanted):
        raise InvalidInput("blocks came that were not asked for; upgrade the publisher's farlane")
    return [(wanted.pop(cid), block) for cid, block in zip(cids, data, strict=True)]


def _write(part: Part, indices: Sequence[int], data: Sequence[bytes]) -> None:
    for index, block in zip(indices, data, strict=True):
        part.write(index, block)
