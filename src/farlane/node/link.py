"""The link: the node's one stream to its hub, opened from here and opened again for as long as the node lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Protocol

import grpc

from farlane.errors import (
    ConnectionLost,
    FarlaneError,
    InvalidInput,
    PermissionRefused,
    Unauthenticated,
    UnsupportedVersion,
)
from farlane.kit.backoff import Backoff
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.node.log_buffer import LogBuffer
from farlane.node.messages import log_to_wire
from farlane.wire.channel import open_channel
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire
from farlane.wire.stream import pump, received
from farlane.wire.tokens import Token
from farlane.wire.v1 import node_pb2, node_pb2_grpc
from farlane.wire.versions import check_peer

log = logging.getLogger(__name__)

WELCOME_S = 15.0
"""How long a hub may take to answer the hello, and how long it may be silent at all."""
SILENT_HEARTBEATS = 4
GOODBYE_S = 10.0
"""How long a hub may take to end the stream after the farewell."""
BACKOFF_CAP_S = 5.0
"""Well below a lease: a hub that was away is found again before what runs here counts as lost."""
LOG_BYTES_A_ROUND = 256 * 1024
BATCHES_A_ROUND = 8
_DOING = "the node's stream to its hub"
_FATAL = (UnsupportedVersion, Unauthenticated, PermissionRefused)
"""What no second try can mend."""
_FATAL_AT_HELLO = (*_FATAL, InvalidInput)


class Due(Enum):
    """What the writer is to look for."""

    RESULTS = "results"
    LOGS = "logs"


Item = node_pb2.NodeMessage | Due
Call = grpc.aio.StreamStreamCall[node_pb2.NodeMessage, node_pb2.NodeCommand]


class LinkOwner(Protocol):
    """Whose stream it is."""

    def hello(self) -> node_pb2.NodeMessage:
        """Return the message that opens a stream."""

    def free_bytes(self) -> int:
        """Return what a heartbeat reports as free disk."""

    def on_joined(self, welcome: node_pb2.NodeWelcome) -> None:
        """Hear that the hub took the node in."""

    def on_command(self, command: node_pb2.NodeCommand) -> None:
        """Hear a command of the hub; raising an error of the tree ends the stream."""

    def on_lost(self) -> None:
        """Hear that a stream that was welcomed has ended."""

    def next_results(self) -> node_pb2.NodeMessage | None:
        """Return the next batch of results to send on this stream, None when all are sent."""


@dataclass(slots=True)
class _Stream:
    """One stream while it lasts. due: what is already in the outbox; error: why it ended, where this side knows."""

    outbox: Outbox[Item]
    due: set[Due]
    welcomed: bool = False
    error: FarlaneError | None = None
    call: Call | None = None


class HubLink:
    """Keeps the stream to the hub.

    Args:
        url: `https://host:port`.
        token: proves the node and names the hub's key.
        owner: hears what comes.
        logs: what tasks print; sent when nothing more urgent waits.
        clock: for the age of streams and round trips.
        backoff: pauses between streams; they start over after a stream that was welcomed.
        random: source of the jitter.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        owner: LinkOwner,
        logs: LogBuffer,
        *,
        clock: Clock,
        backoff: Backoff | None = None,
        random: Random | None = None,
    ) -> None:
        self._url, self._token, self._owner, self._logs, self._clock = url, token, owner, logs, clock
        self._backoff = backoff or Backoff(first_s=0.2, cap_s=BACKOFF_CAP_S)
        self._random = random or Random()
        self._stream: _Stream | None = None
        self._channel: grpc.aio.Channel | None = None
        self._open = asyncio.Event()
        self._leaving = asyncio.Event()
        self._beats: dict[int, float] = {}
        self.rtt_s = 0.0
        self.streams = 0
        self.heard_s = 0.0
        """When the hub was last heard, monotonic seconds."""

    @property
    def connected(self) -> bool:
        """Tell whether the hub has welcomed this node and the stream stands."""
        return self._stream is not None and self._stream.welcomed

    async def channel(self) -> grpc.aio.Channel:
        """Wait for a hub that welcomes the node; return the channel to it."""
        while True:
            await self._open.wait()
            if self._channel is not None:
                return self._channel

    async def run(self) -> None:
        """Keep a stream open until the farewell was said.

        Raises:
            UnsupportedVersion: node and hub speak different protocol versions.
            WrongHub: another key than the token's.
            Unauthenticated: the hub does not know the token.
            PermissionRefused: the token is not a node's, or the node's id belongs to somebody else.
            InvalidInput: the URL or the node's description is not one.
        """
        delays = self._backoff.delays(self._random)
        while not self._leaving.is_set():
            stream = _Stream(Outbox(), set())
            try:
                await self._run_stream(stream)
            except FarlaneError as error:
                if isinstance(error, _FATAL if stream.welcomed else _FATAL_AT_HELLO):
                    raise
                if stream.welcomed:
                    delays = self._backoff.delays(self._random)
                log.warning("%s: %s", "the hub is lost" if stream.welcomed else "no hub yet", error.message)
            if not self._leaving.is_set():
                await self._pause(next(delays))

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Send a message on the present stream; without one it is dropped."""
        if self._stream is not None:
            self._stream.outbox.put(message)

    def look_for(self, due: Due) -> None:
        """Have the writer look for results or logs; calls that come before it does make one."""
        stream = self._stream
        if stream is not None and stream.welcomed and due not in stream.due:
            stream.due.add(due)
            stream.outbox.put(due)

    def reconnect(self, reason: str) -> None:
        """End the present stream, if there is one, and open another."""
        stream = self._stream
        if stream is not None and stream.call is not None:
            stream.error = ConnectionLost(f"{_DOING}: ended on this side: {reason}")
            stream.call.cancel()

    def leave(self, reason: str) -> None:
        """Say farewell after all that was said before, and end `run`."""
        self._leaving.set()
        if self._stream is not None:
            self._stream.outbox.put(node_pb2.NodeMessage(farewell=node_pb2.Farewell(reason=reason)))
            self._stream.outbox.close()

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._leaving.wait()
        except TimeoutError:
            return

    async def _run_stream(self, stream: _Stream) -> None:
        self._channel = await open_channel(self._url, self._token)
        call: Call = node_pb2_grpc.NodeServiceStub(self._channel).Link()
        stream.outbox.put(self._owner.hello())
        self._stream, stream.call = stream, call
        self._beats.clear()
        try:
            async with TaskSupervisor("hub link") as tasks:
                tasks.start(self._write(stream, call), "hub link writer")
                tasks.start(self._end_after_farewell(call), "hub link farewell")
                await self._read(stream, call, tasks)
        except FarlaneError as error:
            raise (stream.error or error) from error
        finally:
            self._stream = None
            self._open.clear()
            call.cancel()
            channel, self._channel = self._channel, None
            if stream.welcomed:
                self._owner.on_lost()
            await channel.close()

    async def _read(self, stream: _Stream, call: Call, tasks: TaskSupervisor) -> None:
        async for command in received(call, doing=_DOING, silence_s=WELCOME_S):
            welcome = _welcome_of(command)
            break
        else:
            raise ConnectionLost(f"{_DOING}: the hub ended it without a welcome; trying again")
        stream.welcomed = True
        self.streams += 1
        self.heard_s = self._clock.monotonic()
        self._open.set()
        self._owner.on_joined(welcome)
        tasks.start(self._beat(stream, welcome.heartbeat_s), "heartbeat")
        self.look_for(Due.LOGS)
        silence_s = max(WELCOME_S, SILENT_HEARTBEATS * welcome.heartbeat_s)
        async for command in received(call, doing=_DOING, silence_s=silence_s):
            self.heard_s = self._clock.monotonic()
            kind = command.WhichOneof("kind")
            if kind == "heartbeat":
                self._note_reply(command.heartbeat.sequence)
            elif kind == "refusal":
                raise error_from_wire(command.refusal)
            else:
                self._owner.on_command(command)
        if not self._leaving.is_set():
            raise ConnectionLost(f"{_DOING}: the hub ended it; connecting again")

    async def _write(self, stream: _Stream, call: Call) -> None:
        def encode(items: list[Item]) -> Iterator[node_pb2.NodeMessage]:
            return self._encode(stream, items)

        try:
            await pump(stream.outbox, call, encode, doing=_DOING)
        except FarlaneError as error:
            # The reader learns more about how a stream ended, unless it still waits.
            if not call.done():
                stream.error = error
                call.cancel()

    def _encode(self, stream: _Stream, items: Iterable[Item]) -> Iterator[node_pb2.NodeMessage]:
        for item in items:
            if item is Due.RESULTS:
                stream.due.discard(item)
                yield from self._results()
            elif item is Due.LOGS:
                stream.due.discard(item)
                yield from map(log_to_wire, self._logs.take(LOG_BYTES_A_ROUND))
                if self._logs:
                    self.look_for(Due.LOGS)
            else:
                assert isinstance(item, node_pb2.NodeMessage)
                yield item

    def _results(self) -> Iterator[node_pb2.NodeMessage]:
        for _ in range(BATCHES_A_ROUND):
            message = self._owner.next_results()
            if message is None:
                return
            yield message
        # Heartbeats go between, however much there is to report.
        self.look_for(Due.RESULTS)

    async def _beat(self, stream: _Stream, period_s: float) -> None:
        sequence = 0
        while True:
            await asyncio.sleep(period_s)
            sequence += 1
            self._beats[sequence] = self._clock.monotonic()
            free = self._owner.free_bytes()
            heartbeat = node_pb2.Heartbeat(sequence=sequence, free_bytes=free, rtt_s=self.rtt_s)
            stream.outbox.put(node_pb2.NodeMessage(heartbeat=heartbeat))

    def _note_reply(self, sequence: int) -> None:
        sent_s = self._beats.get(sequence)
        if sent_s is not None:
            self.rtt_s = self._clock.monotonic() - sent_s
            self._beats = {number: at_s for number, at_s in self._beats.items() if number > sequence}

    async def _end_after_farewell(self, call: Call) -> None:
        await self._leaving.wait()
        await asyncio.sleep(GOODBYE_S)
        call.cancel()


def _welcome_of(command: node_pb2.NodeCommand) -> node_pb2.NodeWelcome:
    kind = command.WhichOneof("kind")
    if kind == "refusal":
        raise error_from_wire(command.refusal)
    if kind != "welcome":
        raise UnsupportedVersion(
            f"the hub answered the node's hello with {kind!r}; expected a welcome: upgrade farlane on both sides"
        )
    check_peer(command.welcome.version)
    return command.welcome
