"""A scripted client: one session stream to a real hub, written and read message by message by a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc

from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column
from farlane.errors import FarlaneError
from farlane.wire.channel import open_channel
from farlane.wire.columns import column_to_wire
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.status import error_from_wire
from farlane.wire.stream import received
from farlane.wire.tokens import Token
from farlane.wire.v1 import client_pb2, client_pb2_grpc, types_pb2
from farlane.wire.versions import this_version

WAIT_S = 20.0
Call = grpc.aio.StreamStreamCall[client_pb2.ClientMessage, client_pb2.ClientReply]


class ScriptedClient:
    """A client that sends what a test has it send, open inside `async with`; it says hello by itself.

    Args:
        url: the hub.
        token: a client token.
        version: the protocol version it claims; None: this one.
        silent: leave the hello to the test.
    """

    def __init__(
        self, url: str, token: Token, *, version: types_pb2.Version | None = None, silent: bool = False
    ) -> None:
        self._url, self._token = url, token
        self._version = version or this_version()
        self._silent = silent
        self._last = 0
        self.welcome = client_pb2.ClientWelcome()

    async def __aenter__(self) -> Self:
        """Open the stream and, unless silent, wait for the welcome.

        Raises:
            FarlaneError: why the hub refuses.
        """
        self._channel = await open_channel(self._url, self._token)
        self._call: Call = client_pb2_grpc.ClientServiceStub(self._channel).Session()
        self._replies = aiter(received(self._call, doing="a scripted client's stream"))
        if not self._silent:
            hello = client_pb2.ClientHello(version=self._version)
            try:
                self.welcome = (await self.ask(client_pb2.ClientMessage(hello=hello))).welcome
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
        await self._channel.close()

    async def say(self, message: client_pb2.ClientMessage) -> int:
        """Send any message and return its request number; a stream that has ended says so in `reply`."""
        self._last += 1
        message.request = self._last
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(message)
        return self._last

    async def reply(self) -> client_pb2.ClientReply:
        """Wait for the next message, of whatever kind.

        Raises:
            FarlaneError: why the stream has ended.
            StopAsyncIteration: it has ended in good order.
        """
        async with asyncio.timeout(WAIT_S):
            return await anext(self._replies)

    async def ask(self, message: client_pb2.ClientMessage) -> client_pb2.ClientReply:
        """Send a request and wait for its reply; what comes between is passed over.

        Raises:
            FarlaneError: what the hub refused, or why the stream has ended.
        """
        request = await self.say(message)
        while (reply := await self.reply()).request != request:
            pass
        if reply.WhichOneof("kind") == "error":
            raise error_from_wire(reply.error)
        return reply

    async def open(self, spec: JobSpec, key: str) -> client_pb2.JobOpenedReply:
        """Open a job."""
        message = client_pb2.ClientMessage(open=client_pb2.OpenJob(key=key, spec=job_spec_to_wire(spec)))
        return (await self.ask(message)).opened

    async def add(self, job: int, first: int, payloads: Sequence[bytes], *, seal: bool = False) -> int:
        """Add tasks; returns the job's total."""
        column = column_to_wire(Column(list(payloads)))
        add = client_pb2.AddTasks(job=job, first=first, payloads=column, seal=seal)
        return (await self.ask(client_pb2.ClientMessage(add=add))).added.total

    async def watch(self, job: int, after: int = 0, credit: int = 1000) -> int:
        """Ask for a job's results; returns the request's number."""
        watch = client_pb2.Watch(job=job, after=after, credit=credit)
        return await self.say(client_pb2.ClientMessage(watch=watch))

    async def credit(self, job: int, more: int) -> None:
        """Let more results come."""
        await self.say(client_pb2.ClientMessage(credit=client_pb2.Credit(job=job, more=more)))

    async def results(self) -> client_pb2.Results | client_pb2.JobStatus:
        """Wait for the next results of a watch, or for its end.

        Raises:
            FarlaneError: the watch was refused, or the stream has ended.
        """
        while True:
            reply = await self.reply()
            match reply.WhichOneof("kind"):
                case "results":
                    return reply.results
                case "ended":
                    return reply.ended
                case "error":
                    raise error_from_wire(reply.error)

    async def refusal(self) -> FarlaneError | None:
        """Wait for the stream to end and return why; None: in good order."""
        try:
            while True:
                await self.reply()
        except StopAsyncIteration:
            return None
        except FarlaneError as error:
            return error
