"""One replica's stream at the hub: many requests at a time, each with its own answers and its own window of bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from farlane.domain.ids import JobId, NodeId
from farlane.domain.inference import InferenceReply, ModelDescription
from farlane.domain.served import Served
from farlane.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Exhausted,
    FarlaneError,
    Internal,
    InvalidInput,
    NotFound,
    Unavailable,
)
from farlane.hub.deployments.exchanges import Exchanges
from farlane.hub.deployments.tallies import Tallies
from farlane.wire.inference import pieces
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire
from farlane.wire.v1 import serving_pb2

Command = serving_pb2.ReplicaCommand
_TELLING = (
    InvalidInput, NotFound, Exhausted, Unavailable, DeadlineExceeded, Internal,
)  # fmt: skip
"""Errors that a replica may tell a client; from others it would learn lies about its token, budget or the hub."""


class ReplicaSession:
    """A replica that answers.

    Args:
        job: whose task it is.
        deployment: which it belongs to.
        version: CID of what it serves.
        node: where.
        description: what it may be asked.
        outbox: the way to it.
        on_served: hears of each request that has ended there.
    """

    def __init__(
        self,
        job: JobId,
        deployment: str,
        version: str,
        node: NodeId,
        description: ModelDescription,
        outbox: Outbox[Command],
        on_served: Callable[[Served], None] = lambda served: None,
    ) -> None:
        self.job, self.deployment, self.version = job, deployment, version
        self.node, self.description = node, description
        self.outbox = outbox
        self.answered = 0
        self.draining = False
        self.doubted_until = 0.0
        """Time of the event loop until which others are asked first: it let a request's time pass, or failed one."""
        self._tallies = Tallies(on_served)
        self._exchanges = Exchanges(self._credit, self._tallies.whole)
        self._closed: FarlaneError | None = None

    @property
    def in_flight(self) -> int:
        """Requests it has not answered in full."""
        return len(self._exchanges)

    @property
    def held(self) -> int:
        """Bytes of its replies that are held here."""
        return self._exchanges.held

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
        exchange = self._exchanges.open()
        number = exchange.number
        try:
            for data, last in pieces(request):
                await self.outbox.room()
                part = serving_pb2.RequestPart(request=number, data=data, last=last, timeout_s=timeout_s)
                self.outbox.put(Command(request=part))
            self._tallies.sent(number, len(request))
            while (arrived := await exchange.arrived.get()) is not None:
                self._exchanges.passed_on(exchange, arrived)
                yield arrived.reply
            if exchange.error is not None:
                raise exchange.error
            self.answered += 1
        finally:
            self._exchanges.close(exchange)
            if not exchange.ended and self._closed is None:
                self.outbox.put(Command(cancel=serving_pb2.RequestCancel(request=number)))

    def take(self, message: serving_pb2.ReplicaMessage) -> None:
        """Hear what the replica says.

        Raises:
            InvalidInput: it makes no sense, or is more than was allowed.
        """
        kind = message.WhichOneof("kind")
        if kind == "reply":
            self._tallies.arrived(message.reply)
            exchange = self._exchanges.get(message.reply.request)
            if exchange is not None and not exchange.ended:
                self._exchanges.take(exchange, message.reply)
        elif kind == "ended":
            self._tallies.ended(message.ended)
            ended = self._exchanges.get(message.ended.request)
            if ended is not None:
                ended.end(_told(message.ended) if message.ended.HasField("error") else None)
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
            self._tallies.clear()
            self._exchanges.end_all(ConnectionLost(why.message))

    def _credit(self, number: int, size: int) -> None:
        if size:
            self.outbox.put(Command(credit=serving_pb2.RequestCredit(request=number, bytes=size)))


def _told(ended: serving_pb2.RequestEnded) -> FarlaneError:
    error = error_from_wire(ended.error)
    if isinstance(error, _TELLING):
        return error
    return Internal(f"the replica failed with {type(error).__name__}: {error.message}")
