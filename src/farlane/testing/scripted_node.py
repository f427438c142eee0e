"""A scripted node: the node's side of a stream to a real hub, driven message by message by a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from farlane.domain.failures import Failure
from farlane.domain.ids import TaskId
from farlane.domain.jobs import BlobRef, TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import Column
from farlane.errors import ConnectionLost, FarlaneError
from farlane.wire.channel import open_channel
from farlane.wire.columns import column_from_wire, column_to_wire
from farlane.wire.nodes import node_spec_to_wire
from farlane.wire.results import failure_to_wire
from farlane.wire.stream import received
from farlane.wire.tokens import Token
from farlane.wire.v1 import node_pb2, node_pb2_grpc, types_pb2
from farlane.wire.versions import this_version

WAIT_S = 20.0
SECRET = b"scripted-node-secret-0123456789"
MAX_ROWS = 65_536
BATCH_BYTES = 1 << 20
Call = grpc.aio.StreamStreamCall[node_pb2.NodeMessage, node_pb2.NodeCommand]


@dataclass(frozen=True, slots=True)
class Leased:
    """One lease as the node got it."""

    epoch: int
    task: TaskId
    attempt: int
    payload: bytes
    blob: BlobRef | None = None


class ScriptedNode:
    """A node that says what a test has it say, open inside `async with`.

    Leases are collected as they come; everything else waits in `commands`.

    Args:
        url: the hub.
        token: a node token.
        spec: what it says of itself.
        secret: proves its identity.
        held: leases it claims to hold.
        version: the protocol version it claims; None: this one.
        hello: the whole first message, instead of one made of the other arguments.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        spec: NodeSpec,
        *,
        secret: bytes = SECRET,
        held: Sequence[Leased] = (),
        version: types_pb2.Version | None = None,
        hello: node_pb2.NodeMessage | None = None,
    ) -> None:
        self.spec = spec
        self.welcome = node_pb2.NodeWelcome()
        self.leases: deque[Leased] = deque()
        self.commands: asyncio.Queue[node_pb2.NodeCommand] = asyncio.Queue()
        self.introduced: set[int] = set()
        """Jobs whose specification came on this stream."""
        self.ended: asyncio.Future[FarlaneError | None] = asyncio.get_running_loop().create_future()
        """Why the hub ended the stream; None: in good order."""
        self._url, self._token = url, token
        self._hello = hello or node_pb2.NodeMessage(
            hello=node_pb2.NodeHello(
                version=version or this_version(),
                spec=node_spec_to_wire(spec),
                secret=secret,
                held=_columns(held),
            )
        )
        self._batch = 0
        self._news = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._answer: Callable[[Leased], bytes] | None = None

    async def __aenter__(self) -> Self:
        """Open the stream and wait for the welcome.

        Raises:
            FarlaneError: why the hub refuses.
        """
        self._channel = await open_channel(self._url, self._token)
        self._call: Call = node_pb2_grpc.NodeServiceStub(self._channel).Link()
        self._reader = asyncio.create_task(self._read())
        await self.say(self._hello)
        try:
            self.welcome = (await self.command("welcome")).welcome
        except BaseException:
            await self.vanish()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.vanish()

    async def vanish(self) -> None:
        """Go away without a word, as a killed process does."""
        self._call.cancel()
        await asyncio.wait([self._reader])
        await self._channel.close()

    async def finish(self) -> FarlaneError | None:
        """Say no more, and return why the hub then ends the stream; None: in good order."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.done_writing()
        async with asyncio.timeout(WAIT_S):
            return await self.ended

    async def say(self, message: node_pb2.NodeMessage) -> None:
        """Send any message; a stream that has ended says so in `ended`."""
        async with self._writing:  # gRPC takes one write at a time
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self._call.write(message)

    async def command(self, kind: str) -> node_pb2.NodeCommand:
        """Wait for a command of one kind; others, but for leases, are passed over.

        Raises:
            FarlaneError: the stream ended first.
        """
        async with asyncio.timeout(WAIT_S):
            while True:
                getting = asyncio.ensure_future(self.commands.get())
                either: list[asyncio.Future[Any]] = [getting, self.ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    raise self.ended.result() or ConnectionLost(f"the stream ended before {kind!r} came")
                if getting.result().WhichOneof("kind") == kind:
                    return getting.result()

    async def take(self, count: int = 1) -> list[Leased]:
        """Wait until so many leases have come, and take them."""
        async with asyncio.timeout(WAIT_S), self._news:
            await self._news.wait_for(lambda: len(self.leases) >= count)
            return [self.leases.popleft() for _ in range(count)]

    async def work(self, answer: Callable[[Leased], bytes]) -> None:
        """Answer the leases not taken yet, and from now on every lease as it comes."""
        self._answer = answer
        waiting = [self.leases.popleft() for _ in range(len(self.leases))]
        if waiting:
            await self._answer_each(waiting, answer)

    async def end(
        self,
        leases: Sequence[Leased],
        result: bytes = b"",
        *,
        failure: Failure | None = None,
        lease_ms: int = 1,
    ) -> int:
        """Report leases as ended, all with one result or failure; returns the batch's number."""
        return await self.end_with([(lease, result) for lease in leases], failure=failure, lease_ms=lease_ms)

    async def end_with(
        self, results: Sequence[tuple[Leased, bytes]], *, failure: Failure | None = None, lease_ms: int = 1
    ) -> int:
        """Report leases as ended, each with its result; returns the batch's number."""
        self._batch += 1
        await self.say(node_pb2.NodeMessage(ended=ended_message(self._batch, results, failure, lease_ms)))
        return self._batch

    async def accepted(self, batch: int) -> None:
        """Wait until the hub has acknowledged a batch."""
        while (await self.command("accepted")).accepted.batch < batch:
            pass

    async def beat(self, sequence: int = 1) -> None:
        """Send a heartbeat and wait for its reply: the hub has then read everything sent before."""
        await self.say(node_pb2.NodeMessage(heartbeat=node_pb2.Heartbeat(sequence=sequence)))
        while (await self.command("heartbeat")).heartbeat.sequence != sequence:
            pass

    async def print_log(self, task: TaskId, data: bytes, stream: str = "stdout", attempt: int = 1) -> None:
        """Send what a task printed."""
        chunk = node_pb2.LogChunk(task=task, attempt=attempt, stream=stream, data=data)
        await self.say(node_pb2.NodeMessage(log=chunk))

    async def _read(self) -> None:
        error: FarlaneError | None = None
        try:
            async for command in received(self._call, doing="a scripted node's stream"):
                if command.WhichOneof("kind") == "leases":
                    await self._take_leases(command.leases)
                else:
                    self.commands.put_nowait(command)
        except FarlaneError as reason:
            error = reason
        finally:
            self.ended.set_result(error)

    async def _take_leases(self, message: node_pb2.Leases) -> None:
        if message.HasField("spec"):
            self.introduced.add(message.job)
        column = column_from_wire(message.payloads, MAX_ROWS)
        leases = [
            Leased(message.epoch, TaskId(task), attempt, column.inline[row], column.blobs.get(row))
            for row, (task, attempt) in enumerate(zip(message.tasks, message.attempts, strict=True))
        ]
        if self._answer is not None:
            await self._answer_each(leases, self._answer)
            return
        async with self._news:
            self.leases.extend(leases)
            self._news.notify_all()

    async def _answer_each(self, leases: Sequence[Leased], answer: Callable[[Leased], bytes]) -> None:
        """Report leases in batches that fit a message, as a node does."""
        batch: list[tuple[Leased, bytes]] = []
        size_bytes = 0
        for lease in leases:
            result = answer(lease)
            if batch and size_bytes + len(result) > BATCH_BYTES:
                await self.end_with(batch)
                batch, size_bytes = [], 0
            batch.append((lease, result))
            size_bytes += len(result)
        await self.end_with(batch)


def ended_message(
    batch: int, results: Sequence[tuple[Leased, bytes]], failure: Failure | None = None, lease_ms: int = 1
) -> node_pb2.AttemptsEnded:
    """Return a well-formed report of ended attempts, for tests to send or to spoil."""
    count = len(results)
    failures: Mapping[str, object] = {}
    if failure is not None:
        failures = {"failure_rows": range(count), "failures": [failure_to_wire(failure)] * count}
    return node_pb2.AttemptsEnded(
        batch=batch, epoch=results[0][0].epoch if results else 1,
        tasks=[lease.task for lease, _ in results], attempts=[lease.attempt for lease, _ in results],
        copies=[0] * count, states=bytes([TaskState.DONE if failure is None else TaskState.FAILED]) * count,
        results=column_to_wire(Column([data for _, data in results])),
        lease_ms=[lease_ms] * count, cpu_us=[10] * count, peak_bytes=[1000] * count,
        **failures,  # type: ignore[arg-type]
    )  # fmt: skip


def _columns(held: Sequence[Leased]) -> node_pb2.AttemptColumns:
    return node_pb2.AttemptColumns(
        tasks=[lease.task for lease in held], attempts=[lease.attempt for lease in held], copies=[0] * len(held),
        epoch=held[0].epoch if held else 0,
    )  # fmt: skip
