"""A node's membership of one swarm, of a version or a delta: a stream to the hub, opened again while it is wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Final, Protocol

import grpc
import numpy as np

from farlane.errors import FarlaneError, InvalidInput, NotFound, PermissionRefused, Unauthenticated
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import Cid
from farlane.models.transfer.bitmap import pack
from farlane.models.transfer.download import Download
from farlane.node.replicas.port import HubChannel
from farlane.node.replicas.stream import NodeProof
from farlane.wire.outbox import Outbox
from farlane.wire.stream import pump, received
from farlane.wire.swarms import MAX_INDICES
from farlane.wire.v1 import models_pb2, models_pb2_grpc
from farlane.wire.versions import this_version

log = logging.getLogger(__name__)
DOING: Final = "the swarm of a model's version"
BACKOFF: Final = Backoff(first_s=0.2, cap_s=15.0)
_FATAL: Final = (PermissionRefused, Unauthenticated, NotFound, InvalidInput)
"""What no second try can mend."""


class Listener(Protocol):
    """Who hears the news while it fetches."""

    def welcomed(self) -> None:
        """Hear that a stream stands."""

    def hear(self, news: models_pb2.SwarmNews) -> None:
        """Hear news; InvalidInput ends the stream."""


class _Due(Enum):
    """What the writer is to look for."""

    GOT = "got"


_Item = models_pb2.SwarmMessage | _Due
_Call = grpc.aio.StreamStreamCall[models_pb2.SwarmMessage, models_pb2.SwarmNews]


class SwarmMember:
    """Tells the hub what this node has of a version, and hears who has what else.

    Args:
        hub: the way to it.
        proof: who the node is.
        of: CID of the version's manifest, and of the root of a delta that makes it, None for the version itself.
        address: of this node's block server, empty for none.
        blocks: how many the version has.
        on_ticket: (hub's key, ticket) hears of tickets.
    """

    def __init__(
        self,
        hub: HubChannel,
        proof: NodeProof,
        of: tuple[Cid, Cid | None],
        address: str,
        blocks: int,
        on_ticket: Callable[[bytes, str], None],
    ) -> None:
        self._hub, self._proof, self._address = hub, proof, address
        self.version, self._delta = of
        self._blocks, self._on_ticket = blocks, on_ticket
        self._outbox: Outbox[_Item] | None = None
        self._got: list[int] = []
        self._welcomed = False
        self.listener: Listener | None = None
        self.download: Download | None = None
        """Knows what is here; None once that is everything."""
        self.refused: asyncio.Future[FarlaneError] = asyncio.get_running_loop().create_future()
        """Set when the hub wants this node in the swarm no more, or it is of no use."""

    @property
    def root(self) -> Cid:
        """What the swarm is of: a delta, or the version."""
        return self._delta or self.version

    async def run(self) -> None:
        """Keep a stream open until cancelled or refused."""
        delays = BACKOFF.delays(Random())
        while True:
            self._welcomed = False
            try:
                await self._run_stream(await self._hub.channel())
            except _FATAL as error:
                log.info("%s %s: %s", DOING, self.root, error.message)
                self.refuse(error)
                return
            except FarlaneError as error:
                log.debug("%s %s: %s", DOING, self.root, error.message)
            if self._welcomed:
                delays = BACKOFF.delays(Random())
            await asyncio.sleep(next(delays))

    def refuse(self, error: FarlaneError) -> None:
        """Let who waits for blocks know that they do not come."""
        if not self.refused.done():
            self.refused.set_result(error)

    def got(self, index: int) -> None:
        """Say that a block is here."""
        self._got.append(index)
        if self._outbox is not None and len(self._got) == 1:
            self._outbox.put(_Due.GOT)

    def lacks(self, indices: tuple[int, ...]) -> None:
        """Say that no usable source has these blocks."""
        if self._outbox is not None:
            lacks = models_pb2.SwarmLacks(blocks=indices)
            self._outbox.put(models_pb2.SwarmMessage(lacks=lacks))

    async def _run_stream(self, channel: grpc.aio.Channel) -> None:
        call: _Call = models_pb2_grpc.SwarmServiceStub(channel).Join()
        outbox: Outbox[_Item] = Outbox()
        outbox.put(self._hello())
        self._got.clear()  # the hello says it
        self._outbox = outbox
        try:
            async with TaskSupervisor("swarm member") as tasks:
                tasks.start(self._write(outbox, call), "swarm member writer")
                async for news in received(call, doing=DOING):
                    self._hear(news)
        finally:
            self._outbox = None
            call.cancel()

    def _hear(self, news: models_pb2.SwarmNews) -> None:
        if news.ticket:
            self._on_ticket(news.ticket_key, news.ticket)
        if self.listener is not None:
            if not self._welcomed:
                self.listener.welcomed()
            self.listener.hear(news)
        self._welcomed = True

    async def _write(self, outbox: Outbox[_Item], call: _Call) -> None:
        try:
            await pump(outbox, call, self._encoded, doing=DOING)
        except FarlaneError as error:
            log.debug("%s", error.message)  # the reader hears more
            call.cancel()

    def _encoded(self, items: list[_Item]) -> Iterator[models_pb2.SwarmMessage]:
        for item in items:
            if isinstance(item, models_pb2.SwarmMessage):
                yield item
                continue
            got, self._got = self._got, []
            for at in range(0, len(got), MAX_INDICES):
                has = models_pb2.SwarmHas(blocks=got[at : at + MAX_INDICES])
                yield models_pb2.SwarmMessage(has=has)

    def _hello(self) -> models_pb2.SwarmMessage:
        have = self.download.have if self.download is not None else np.ones(self._blocks, np.bool_)
        hello = models_pb2.SwarmHello(
            version=this_version(), node=self._proof.node, secret=self._proof.secret,
            version_cid=self.version.text, delta=self._delta.text if self._delta is not None else "",
            blocks=len(have), have=pack(have), address=self._address,
        )  # fmt: skip
        return models_pb2.SwarmMessage(hello=hello)
