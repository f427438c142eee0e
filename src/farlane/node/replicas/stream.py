"""A replica's stream to the hub: opened from here, again and again, it brings requests and takes their answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import grpc

from farlane.domain.served import RequestTally, Served
from farlane.errors import ConnectionLost, FarlaneError, Internal, InvalidInput
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.node.executors.port import ServeCall
from farlane.node.replicas.port import HubChannel, Replica
from farlane.wire.inference import (
    MAX_REQUEST_BYTES,
    decode_request,
    description_to_wire,
    encode_reply,
    pieces,
)
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire, error_to_wire
from farlane.wire.stream import pump, received
from farlane.wire.v1 import serving_pb2, serving_pb2_grpc
from farlane.wire.versions import check_peer, this_version

log = logging.getLogger(__name__)
_DOING = "the replica's stream to its hub"
MAX_REQUESTS = 1024
"""Requests under way on one stream; a hub that sends more is given up."""
Message = serving_pb2.ReplicaMessage
Call = grpc.aio.StreamStreamCall[serving_pb2.ReplicaMessage, serving_pb2.ReplicaCommand]


@dataclass(frozen=True, slots=True)
class NodeProof:
    """Who the node is, to the hub."""

    node: str
    secret: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class _Request:
    """One request under way. credit: bytes of replies that may still be sent; body: what has come of it."""

    credit: int
    more: asyncio.Event = field(default_factory=asyncio.Event)
    tally: RequestTally = field(default_factory=RequestTally)
    body: bytearray = field(default_factory=bytearray)
    answer: asyncio.Task[None] | None = None

    async def spend(self, size: int) -> None:
        """Wait until there is credit, and use some; a piece larger than what is left may go below zero."""
        while self.credit <= 0:
            self.more.clear()
            await self.more.wait()
        self.credit -= size

    def give(self, size: int) -> None:
        """Add credit."""
        self.credit += size
        self.more.set()


class ReplicaStream:
    """Carries the requests of one replica.

    Args:
        replica: answers them.
        call: which attempt it is.
        proof: who the node is.
        hub: the way to it.
        on_served: hears of each request that is ended, before the hub does.
        backoff: pauses between streams.
        random: source of their jitter.
    """

    def __init__(
        self,
        replica: Replica,
        call: ServeCall,
        proof: NodeProof,
        hub: HubChannel,
        on_served: Callable[[Served], None] = lambda served: None,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        self._replica, self._call, self._proof, self._hub = replica, call, proof, hub
        self._backoff, self._random = backoff or Backoff(0.1, 5.0), random or Random()
        self._on_served = on_served
        self._requests: dict[int, _Request] = {}
        self._welcomed = False
        self._outbox: Outbox[Message] | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Keep a stream open until cancelled."""
        delays = self._backoff.delays(self._random)
        while True:
            self._welcomed = False
            try:
                await self._run_stream()
            except FarlaneError as error:
                log.info("%s ended: %s", _DOING, error.message)
            if self._welcomed:
                delays = self._backoff.delays(self._random)
            await asyncio.sleep(next(delays))

    async def answered(self, timeout_s: float) -> None:
        """Have the hub send nothing more; wait until all that has come is answered, or the time is over."""
        if self._outbox is not None:
            health = serving_pb2.ReplicaHealth(ready=False, reason="the replica is stopped")
            self._outbox.put(Message(health=health))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    async def _run_stream(self) -> None:
        channel = await self._hub.channel()
        call: Call = serving_pb2_grpc.ReplicaServiceStub(channel).Serve()
        outbox: Outbox[Message] = Outbox(size_of=Message.ByteSize)
        outbox.put(self._hello())
        self._outbox = outbox
        try:
            async with TaskSupervisor("replica stream") as tasks:
                tasks.start(self._write(outbox, call), "replica stream writer")
                async for command in received(call, doing=_DOING):
                    self._obey(command, outbox, tasks)
        finally:
            self._outbox = None
            outbox.close()
            call.cancel()
            self._requests.clear()
            self._idle.set()

    async def _write(self, outbox: Outbox[Message], call: Call) -> None:
        try:
            await pump(outbox, call, iter, doing=_DOING)
        except FarlaneError:
            call.cancel()  # the reader tells why the stream has ended

    def _hello(self) -> Message:
        call = self._call
        hello = serving_pb2.ReplicaHello(
            version=this_version(), node=self._proof.node, secret=self._proof.secret, epoch=call.epoch,
            task=call.task, attempt=call.attempt, description=description_to_wire(self._replica.description),
        )  # fmt: skip
        return Message(hello=hello)

    def _obey(
        self, command: serving_pb2.ReplicaCommand, outbox: Outbox[Message], tasks: TaskSupervisor
    ) -> None:
        match command.WhichOneof("kind"):
            case "welcome":
                check_peer(command.welcome.version)
                self._welcomed, self._window = True, command.welcome.window_bytes
            case "refusal":
                raise error_from_wire(command.refusal)
            case "request":
                self._take(command.request, outbox, tasks)
            case "credit":
                known = self._requests.get(command.credit.request)
                if known is not None:
                    known.give(command.credit.bytes)
            case "cancel":
                request = self._requests.get(command.cancel.request)
                if request is not None and request.answer is not None:
                    request.answer.cancel()
                elif request is not None:
                    self._forget(command.cancel.request)

    def _take(self, part: serving_pb2.RequestPart, outbox: Outbox[Message], tasks: TaskSupervisor) -> None:
        if not self._welcomed:
            raise InvalidInput("the hub sent a request before its welcome; upgrade it")
        request = self._requests.get(part.request)
        if request is None:
            if len(self._requests) >= MAX_REQUESTS:
                raise InvalidInput(f"the hub has more than {MAX_REQUESTS} requests under way on one replica")
            request = self._requests[part.request] = _Request(self._window)
            self._idle.clear()
        if len(request.body) + len(part.data) > MAX_REQUEST_BYTES:
            raise InvalidInput(f"a request of the hub is larger than {MAX_REQUEST_BYTES} bytes")
        request.body += part.data
        if part.last:
            work = self._answer(part.request, request, part.timeout_s, outbox)
            request.answer = tasks.start(work, "answer", optional=True)

    async def _answer(
        self, number: int, request: _Request, timeout_s: float, outbox: Outbox[Message]
    ) -> None:
        ended = serving_pb2.RequestEnded(request=number)
        try:
            request.tally.request_bytes = len(request.body)
            question = decode_request(bytes(request.body))
            request.body.clear()
            async with contextlib.aclosing(self._replica.ask(question, timeout_s)) as replies:
                async for reply in replies:
                    request.tally.count(reply)
                    for data, last in pieces(encode_reply(reply)):
                        await request.spend(len(data))
                        request.tally.reply_bytes += len(data)
                        outbox.put(Message(reply=serving_pb2.ReplyPart(request=number, data=data, last=last)))
        except FarlaneError as error:
            ended.error.CopyFrom(error_to_wire(error))
        except asyncio.CancelledError:
            ended.error.CopyFrom(error_to_wire(ConnectionLost("the request was cancelled")))
            raise
        except Exception:
            log.exception("a request failed in a way that it should not")
            ended.error.CopyFrom(error_to_wire(Internal("the node failed to answer; its log says why")))
        finally:
            self._on_served(request.tally.ended(failed=ended.HasField("error")))
            outbox.put(Message(ended=ended))
            self._forget(number)

    def _forget(self, number: int) -> None:
        self._requests.pop(number, None)
        if not self._requests:
            self._idle.set()
