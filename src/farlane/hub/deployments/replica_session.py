"""One replica's stream at the hub: many requests at a time, each with its own answers and its own window of bytes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from farlane.domain.ids import JobId, NodeId
from farlane.domain.inference import InferenceReply, ModelDescription
from farlane.errors import ConnectionLost, FarlaneError, InvalidInput
from farlane.wire.inference import MAX_REPLY_BYTES, PIECE_BYTES, decode_reply, pieces
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire
from farlane.wire.v1 import serving_pb2

WINDOW_BYTES = 4 << 20
"""Bytes of replies a node may send for one request before the hub has passed them on."""
Command = serving_pb2.ReplicaCommand


@dataclass(slots=True, eq=False)
class _Exchange:
    """One request under way. held: bytes of whole replies that wait; ended: the replica has said its last."""

    replies: asyncio.Queue[tuple[InferenceReply | None, int]] = field(default_factory=asyncio.Queue)
    partial: bytearray = field(default_factory=bytearray)
    held: int = 0
    ended: bool = False
    error: FarlaneError | None = None

    def end(self, error: FarlaneError | None) -> None:
        """Let nothing more come."""
        if not self.ended:
            self.ended, self.error = True, error
            self.replies.put_nowait((None, 0))


class ReplicaSession:
    """A replica that answers.

    Args:
        job: whose task it is.
        deployment: which it belongs to.
        version: CID of what it serves.
        node: where.
        description: what it may be asked.
        outbox: the way to it.
    """

    def __init__(
        self,
        job: JobId,
        deployment: str,
        version: str,
        node: NodeId,
        description: ModelDescription,
        outbox: Outbox[Command],
    ) -> None:
        self.job, self.deployment, self.version = job, deployment, version
        self.node, self.description = node, description
        self.outbox = outbox
        self.answered = 0
        self.draining = False
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, _Exchange] = {}
        self._closed: FarlaneError | None = None

    @property
    def in_flight(self) -> int:
        """Requests it has not answered in full."""
        return len(self._exchanges)

    @property
    def open(self) -> bool:
        """Whether it takes requests."""
        return self._closed is None and not self.draining

    async def ask(self, request: bytes, timeout_s: float) -> AsyncGenerator[InferenceReply, None]:
        """Yield the replies to an encoded request; closing the generator cancels it at the replica.

        Args:
            request: see `wire.inference`.
            timeout_s: seconds after which nobody waits any more.

        Raises:
            ConnectionLost: the replica went away.
            FarlaneError: what the replica answered.
        """
        if self._closed is not None:
            raise ConnectionLost(self._closed.message)
        number, exchange = next(self._numbers), _Exchange()
        self._exchanges[number] = exchange
        try:
            for data, last in pieces(request):
                await self.outbox.room()
                part = serving_pb2.RequestPart(request=number, data=data, last=last, timeout_s=timeout_s)
                self.outbox.put(Command(request=part))
            while True:
                reply, size = await exchange.replies.get()
                if reply is None:
                    break
                exchange.held -= size
                self._credit(number, size)
                yield reply
            if exchange.error is not None:
                raise exchange.error
            self.answered += 1
        finally:
            del self._exchanges[number]
            if not exchange.ended and self._closed is None:
                self.outbox.put(Command(cancel=serving_pb2.RequestCancel(request=number)))

    def take(self, message: serving_pb2.ReplicaMessage) -> None:
        """Hear what the replica says.

        Raises:
            InvalidInput: it makes no sense, or is more than was allowed.
        """
        kind = message.WhichOneof("kind")
        if kind == "reply":
            exchange = self._exchanges.get(message.reply.request)
            if exchange is not None and not exchange.ended:
                self._take_part(exchange, message.reply)
        elif kind == "ended":
            ended = self._exchanges.get(message.ended.request)
            if ended is not None:
                ended.end(error_from_wire(message.ended.error) if message.ended.HasField("error") else None)
        elif kind == "health" and not message.health.ready:
            self.draining = True
        elif kind == "hello":
            raise InvalidInput("a replica's stream said hello twice; open one stream for each replica")

    def drain(self) -> None:
        """Send it nothing more."""
        if not self.draining:
            self.draining = True
            self.outbox.put(Command(drain=serving_pb2.ReplicaDrain()))

    def close(self, why: FarlaneError) -> None:
        """End every request: the stream is gone."""
        if self._closed is None:
            self._closed = why
            self.outbox.close()
            for exchange in list(self._exchanges.values()):
                exchange.end(ConnectionLost(why.message))

    def _take_part(self, exchange: _Exchange, part: serving_pb2.ReplyPart) -> None:
        size = len(part.data)
        if size > PIECE_BYTES or len(exchange.partial) + size > MAX_REPLY_BYTES:
            raise InvalidInput(
                f"a replica's reply is larger than {MAX_REPLY_BYTES} bytes: ask for less at a time"
            )
        if exchange.held > 2 * WINDOW_BYTES:
            raise InvalidInput(
                "a replica sends more than it was given credit for; upgrade farlane on its node"
            )
        exchange.partial += part.data
        if not part.last:
            # A reply that is not whole cannot be passed on: what it holds must not stop its own rest.
            self._credit(part.request, size)
            return
        reply = decode_reply(bytes(exchange.partial))
        exchange.partial.clear()
        exchange.held += size
        exchange.replies.put_nowait((reply, size))

    def _credit(self, number: int, size: int) -> None:
        if size:
            self.outbox.put(Command(credit=serving_pb2.RequestCredit(request=number, bytes=size)))
