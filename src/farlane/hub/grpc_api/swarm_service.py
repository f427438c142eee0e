"""SwarmService: for each version or delta a node fetches or has, a stream: it tells its blocks, hears of others'."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import grpc

from farlane.errors import ConnectionLost, FarlaneError, InvalidInput, NotFound
from farlane.hub.hub import Hub
from farlane.hub.models.access import ModelAccess
from farlane.hub.models.swarms import Seat, Swarms
from farlane.hub.models.threads import Threads
from farlane.hub.models.ticket_office import RENEW_S, TicketOffice
from farlane.hub.node_proof import proven_node
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import Cid
from farlane.models.deltas import block_list, deltas_for
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.models.transfer.bitmap import pack, unpack
from farlane.models.transfer.http_connection import parse_address
from farlane.models.version_blocks import dag_of
from farlane.wire import limits
from farlane.wire.outbox import Outbox
from farlane.wire.serving import Identity, current_identity
from farlane.wire.status import abort
from farlane.wire.stream import pump, received
from farlane.wire.swarms import block_news, joined_news, left_news
from farlane.wire.v1 import models_pb2, models_pb2_grpc
from farlane.wire.versions import check_peer

log = logging.getLogger(__name__)
HELLO_S: Final = 15.0
KEPT_COUNTS: Final = 4096
"""Versions of which it is remembered how many blocks they have."""
DOING: Final = "a swarm's stream"
Requests = AsyncIterator[models_pb2.SwarmMessage]
Context = grpc.aio.ServicerContext[models_pb2.SwarmMessage, models_pb2.SwarmNews]


class _Due(Enum):
    """What the writer is to look for."""

    NEWS = "news"


_Item = models_pb2.SwarmNews | _Due


@dataclass(slots=True)
class _Stream:
    """One stream. due: whether the outbox says already that there may be news; error: why it ends."""

    who: Identity
    hello: models_pb2.SwarmHello
    outbox: Outbox[_Item]
    due: bool = False
    error: FarlaneError | None = None

    def wake(self) -> None:
        """Have the writer look for news."""
        if not self.due:
            self.due = True
            self.outbox.put(_Due.NEWS)


class SwarmService(models_pb2_grpc.SwarmServiceServicer):
    """Serves the swarms of a hub.

    Args:
        hub: returns the hub in force.
        repository: the hub's.
        access: who may have what.
        swarms: where members meet.
        office: makes out tickets.
        renew_s: after how long a node gets a new ticket, if the version is still its to have.
    """

    def __init__(
        self,
        hub: Callable[[], Hub],
        repository: Repository,
        access: ModelAccess,
        swarms: Swarms,
        office: TicketOffice,
        renew_s: float = RENEW_S,
    ) -> None:
        self._hub, self._repository, self._access = hub, repository, access
        self._swarms, self._office, self._renew_s = swarms, office, renew_s
        self._threads = Threads("swarms", 1)
        self._counts: OrderedDict[Cid, int] = OrderedDict()

    async def Join(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: Requests, context: Context
    ) -> None:
        """Run one node's stream for one version."""
        try:
            await self._serve(request_iterator, context)
        except ConnectionLost as error:
            log.debug("%s", error.message)  # nobody is left to be told
        except FarlaneError as error:
            await abort(context, error)

    async def _serve(self, requests: Requests, context: Context) -> None:
        stream = _Stream(current_identity(), await _hello(requests), Outbox())
        cid = await self._checked(stream)
        stream.outbox.put(self._ticket(stream, cid))  # before the first news: peers are asked with it
        seat = await self._seated(stream, cid)
        try:
            async with TaskSupervisor("swarm stream") as tasks:
                stream.wake()
                tasks.start(_read(stream, seat, requests), "swarm stream reader")
                tasks.start(self._renew(stream, cid), "swarm tickets")
                await pump(stream.outbox, context, lambda items: _encoded(stream, seat, items), doing=DOING)
        finally:
            seat.leave()
        if stream.error is not None:
            raise stream.error

    async def _checked(self, stream: _Stream) -> Cid:
        """Check who says hello and that the version is theirs to have; return the version.

        Raises:
            PermissionRefused: the node's secret or token is another's.
            NotFound: there is no such version that the node may have.
        """
        hello = stream.hello
        check_peer(hello.version)
        proven_node(self._hub().reactor.state, hello.node, hello.secret, stream.who.organisation)
        text = limits.text("CID of the version", hello.version_cid, limits.MAX_CID_CHARS, required=True)
        if "@" in text or not text.startswith("baf"):
            raise InvalidInput("a swarm is joined by the CID of a version's manifest")
        if hello.address:
            parse_address(limits.text("address of the block server", hello.address, limits.MAX_NAME_CHARS))
        return (await self._found(stream, text))[0]

    async def _found(self, stream: _Stream, text: str) -> tuple[Cid, Manifest]:
        proof = models_pb2.NodeProof(node=stream.hello.node, secret=stream.hello.secret)
        version, manifest = await asyncio.to_thread(self._access.find, stream.who, text, proof)
        return version.manifest, manifest

    async def _seated(self, stream: _Stream, cid: Cid) -> Seat:
        """Take the node into the swarm.

        Raises:
            InvalidInput: it counts the blocks otherwise.
            NotFound: the version has no such delta.
        """
        hello = stream.hello
        root = await asyncio.to_thread(self._delta_of, cid, hello.delta) if hello.delta else cid
        blocks = self._swarms.blocks_of(root)
        if blocks is None and hello.delta:
            blocks = len(await asyncio.to_thread(block_list, self._repository.blocks, root))
        elif blocks is None:
            _, manifest = await self._found(stream, cid.text)
            blocks = await self._threads.run(self._count, root, manifest)
        if hello.blocks != blocks:
            raise InvalidInput(
                f"the node counts {hello.blocks} blocks of {root} where the hub counts {blocks}: upgrade farlane "
                "on both"
            )
        have = unpack(hello.have, blocks)
        return self._swarms.take_seat(root, hello.node, hello.address, have, stream.wake, stream.outbox.close)

    def _count(self, version: Cid, manifest: Manifest) -> int:
        """Count the blocks of a version once, however often its swarm begins and ends."""
        if version not in self._counts:
            self._counts[version] = count_blocks(self._repository, manifest)
            if len(self._counts) > KEPT_COUNTS:
                self._counts.popitem(last=False)
        return self._counts[version]

    def _delta_of(self, version: Cid, text: str) -> Cid:
        for row in deltas_for(self._repository, version):
            if row.root.text == text:
                return row.root
        raise NotFound(f"version {version} has no delta {text[:80]!r} here (any more)")

    async def _renew(self, stream: _Stream, cid: Cid) -> None:
        """Give new tickets in time; end the stream of a node that may not have the version any more."""
        try:
            while True:
                await asyncio.sleep(self._renew_s)
                await self._found(stream, cid.text)
                stream.outbox.put(self._ticket(stream, cid))
        except FarlaneError as error:
            stream.error = error
            stream.outbox.close()

    def _ticket(self, stream: _Stream, cid: Cid) -> models_pb2.SwarmNews:
        ticket = self._office.ticket(self._hub().store.network, stream.hello.node, cid)
        return models_pb2.SwarmNews(ticket=ticket, ticket_key=self._office.public_key)


def count_blocks(repository: Repository, manifest: Manifest) -> int:
    """Return how many blocks the plan of a version has; see `farlane.models.transfer.plan`.

    Raises:
        NotFound: the version is not here whole.
    """
    digests: set[bytes] = set()
    for file in manifest.files:
        leaves = dag_of(repository.blocks, file.cid, file.size).leaves
        digests.update(leaves.digest(at) for at in range(len(leaves)))
    return len(digests)


async def _hello(requests: Requests) -> models_pb2.SwarmHello:
    async for message in received(requests, doing=DOING, silence_s=HELLO_S):
        if message.WhichOneof("kind") == "hello":
            return message.hello
        break
    raise InvalidInput("the first message of a swarm's stream must be its hello; upgrade the node")


async def _read(stream: _Stream, seat: Seat, requests: Requests) -> None:
    """Take what the node says until its stream ends."""
    try:
        async for message in received(requests, doing=DOING):
            kind = message.WhichOneof("kind")
            if kind == "has":
                seat.has(message.has.blocks)
            elif kind == "lacks":
                seat.lacks(message.lacks.blocks)
            elif kind == "hello":
                raise InvalidInput("a swarm's stream said hello twice; open one stream for each version")
    except FarlaneError as error:
        stream.error = error
    finally:
        stream.outbox.close()


def _encoded(stream: _Stream, seat: Seat, items: list[_Item]) -> Iterator[models_pb2.SwarmNews]:
    for item in items:
        if isinstance(item, models_pb2.SwarmNews):
            yield item
            continue
        stream.due = False
        news = seat.take_news()
        yield from left_news(news.left)
        yield from joined_news(
            [
                models_pb2.SwarmPeer(name=name, address=address, have=pack(have))
                for name, address, have in news.joined
            ]
        )
        yield from block_news(news.has, news.granted)
