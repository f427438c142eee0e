"""A scripted replica: a node's side of the stream that answers requests, which says what a test has it say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc

from farlane.domain.inference import InferenceKind, InferenceReply, ModelDescription
from farlane.errors import ConnectionLost, FarlaneError
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_node import SECRET, Leased, ScriptedNode
from farlane.wire.inference import description_to_wire, encode_reply, pieces
from farlane.wire.stream import received
from farlane.wire.tokens import Token
from farlane.wire.v1 import serving_pb2
from farlane.wire.versions import this_version

SPEAKER = ModelDescription(runtime="scripted", kinds=(InferenceKind.GENERATION,))
WAIT_S = 20.0
METHOD = "/farlane.v1.ReplicaService/Serve"


@dataclass(slots=True)
class ScriptedReplica:
    """One stream, after its hello. heard: commands of the hub; credit: what it gave for each request, in bytes."""

    call: grpc.aio.StreamStreamCall[bytes, bytes]
    heard: asyncio.Queue[serving_pb2.ReplicaCommand] = field(default_factory=asyncio.Queue)
    credit: dict[int, int] = field(default_factory=dict)
    ended: asyncio.Future[FarlaneError | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Why the hub ended the stream; None: in good order."""
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def say(self, message: serving_pb2.ReplicaMessage | bytes) -> None:
        """Send a message, or bytes that are none; a stream that has ended says so in `ended`."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        async with self._writing:  # gRPC takes one write at a time
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self.call.write(data)

    async def reply(self, number: int, reply: InferenceReply, *, cut: int | None = None) -> None:
        """Send a reply whatever credit there is, or its first `cut` pieces."""
        for data, last in list(pieces(encode_reply(reply)))[:cut]:
            await self.say(
                serving_pb2.ReplicaMessage(reply=serving_pb2.ReplyPart(request=number, data=data, last=last))
            )

    async def end(self, number: int) -> None:
        """Say that a request has been answered."""
        await self.say(serving_pb2.ReplicaMessage(ended=serving_pb2.RequestEnded(request=number)))

    async def command(self, kind: str) -> serving_pb2.ReplicaCommand:
        """Wait for the next command of one kind; others are passed over.

        Raises:
            FarlaneError: the stream ended first.
        """
        async with asyncio.timeout(WAIT_S):
            while True:
                found = await self.heard.get()
                if found.WhichOneof("kind") == kind:
                    return found
                if found.WhichOneof("kind") is None:
                    raise await self.ended or ConnectionLost(f"the stream ended before {kind!r} came")

    async def asked(self) -> int:
        """Wait for the next whole request and return its number."""
        while not (part := (await self.command("request")).request).last:
            pass
        return part.request

    async def read(self) -> None:
        """Hear the hub until it ends the stream."""
        error: FarlaneError | None = None
        try:
            async for data in received(self.call, doing="a scripted replica's stream"):
                command = serving_pb2.ReplicaCommand.FromString(data)
                if command.WhichOneof("kind") == "credit":
                    number = command.credit.request
                    self.credit[number] = self.credit.get(number, 0) + command.credit.bytes
                self.heard.put_nowait(command)
        except FarlaneError as reason:
            error = reason
        finally:
            self.ended.set_result(error)
            self.heard.put_nowait(serving_pb2.ReplicaCommand())


def replica_hello(
    node: ScriptedNode,
    lease: Leased,
    *,
    secret: bytes = SECRET,
    description: ModelDescription = SPEAKER,
    **changes: int,
) -> serving_pb2.ReplicaMessage:
    """Return the first message of a replica's stream.

    Args:
        node: that holds the lease, or claims to.
        lease: of the replica's task.
        secret: the node's.
        description: what the replica can do.
        **changes: to epoch, task and attempt.
    """
    fence = {"epoch": lease.epoch, "task": int(lease.task), "attempt": lease.attempt} | changes
    hello = serving_pb2.ReplicaHello(
        version=this_version(),
        node=node.spec.node,
        secret=secret,
        description=description_to_wire(description),
        **fence,
    )
    return serving_pb2.ReplicaMessage(hello=hello)


@contextlib.asynccontextmanager
async def scripted_replica(
    hub: RunningHub, token: Token, *messages: serving_pb2.ReplicaMessage | bytes
) -> AsyncIterator[ScriptedReplica]:
    """Open a stream during a block and send its first messages.

    Args:
        hub: to which.
        token: of a node.
        *messages: the hello first, where all is well.
    """
    async with hub.channel(token) as channel:
        replica = ScriptedReplica(channel.stream_stream(METHOD)())
        reading = asyncio.create_task(replica.read())
        try:
            for message in messages:
                await replica.say(message)
            yield replica
        finally:
            replica.call.cancel()
            await asyncio.wait([reading])
