"""The connection: the channel of the moment, plain calls with deadlines, and blobs that survive a reconnection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import grpc

from farlane.domain.jobs import MAX_RESULT_BYTES, BlobRef
from farlane.errors import ConnectionLost, Unavailable
from farlane.kit.backoff import Backoff
from farlane.wire.blobs import BlobClient
from farlane.wire.channel import open_channel
from farlane.wire.status import from_rpc_error
from farlane.wire.tokens import Token
from farlane.wire.v1.client_pb2_grpc import ClientServiceStub

T = TypeVar("T")

CALL_TIMEOUT_S = 15.0
TRIES = 4
"""Tries of a plain call or blob transfer that can be repeated without harm, each on the channel of its moment."""

Stub = Callable[[grpc.aio.Channel], Any]
"""Makes the client of a gRPC service."""


class Connection:
    """One hub's channel, replaced when the hub comes back as another process.

    Args:
        url: `https://host:port`.
        token: who calls, and which hub must answer.
        random: seeded source of the backoff's jitter.
    """

    def __init__(self, url: str, token: Token, random: Random) -> None:
        self._url = url
        self._token = token
        self._random = random
        self._backoff = Backoff(first_s=0.1, cap_s=2.0)
        self._channel: grpc.aio.Channel | None = None
        self._retired: list[grpc.aio.Channel] = []
        self._dialling = asyncio.Lock()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel of the moment, for calls that this class has no method for.

        Raises:
            ConnectionLost: there is none.
        """
        return self._current()

    async def renew(self) -> grpc.aio.Channel:
        """Return a fresh channel; calls on the one before may still end.

        Raises:
            Unavailable: nobody answers.
            WrongHub: somebody else answers.
        """
        async with self._dialling:
            channel = await open_channel(self._url, self._token)
            if self._channel is not None:
                self._retired.append(self._channel)
            self._channel = channel
            # The last but one has had a whole connection's time to finish its calls.
            while len(self._retired) > 1:
                await self._retired.pop(0).close()
            return channel

    async def close(self) -> None:
        """Close every channel."""
        for channel in (*self._retired, self._channel):
            if channel is not None:
                await channel.close()
        self._channel, self._retired = None, []

    async def call(
        self,
        method: str,
        request: Any,
        doing: str,
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        tries: int = TRIES,
        stub: Stub = ClientServiceStub,
    ) -> Any:
        """Make a plain call.

        Args:
            method: its name in the service.
            request: the message.
            doing: for the error: `asking for a quote`.
            timeout_s: deadline of each try.
            tries: 1 where doing it twice would do harm.
            stub: the service.

        Raises:
            FarlaneError: what the hub refused, or why it could not be reached.
        """
        return await self._trying(lambda: self._once(stub, method, request, doing, timeout_s), tries)

    async def stream(
        self, method: str, request: Any, doing: str, *, stub: Stub = ClientServiceStub
    ) -> AsyncIterator[Any]:
        """Yield the replies of a server stream, which lasts as long as there is something to say.

        Raises:
            FarlaneError: what the hub refused, or that the connection was lost.
        """
        call = getattr(stub(self._current()), method)(request)
        try:
            async for reply in call:
                yield reply
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, doing) from error
        finally:
            call.cancel()

    async def put_bytes(self, data: bytes) -> BlobRef:
        """Put bytes on the hub as a blob, unless it has them."""
        return await self._trying(lambda: self._blob_client().put_bytes(data), TRIES)

    async def put_file(self, path: Path) -> BlobRef:
        """Put a file on the hub as a blob, unless it has it."""
        return await self._trying(lambda: self._blob_client().put_file(path), TRIES)

    async def get_bytes(self, ref: BlobRef, max_bytes: int = MAX_RESULT_BYTES) -> bytes:
        """Fetch a blob, verified."""
        return await self._trying(lambda: self._blob_client().get_bytes(ref, max_bytes), TRIES)

    async def get_file(self, ref: BlobRef, target: Path) -> None:
        """Fetch a blob into a file, verified."""
        await self._trying(lambda: self._blob_client().get_file(ref, target), TRIES)

    async def _once(self, stub: Stub, method: str, request: Any, doing: str, timeout_s: float) -> Any:
        try:
            return await getattr(stub(self._current()), method)(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, doing) from error

    def _blob_client(self) -> BlobClient:
        return BlobClient(self._current(), random=self._random)

    def _current(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise ConnectionLost("not connected to a hub")
        return self._channel

    async def _trying(self, attempt: Callable[[], Awaitable[T]], tries: int) -> T:
        delays = self._backoff.delays(self._random)
        for last in (*[False] * (tries - 1), True):
            try:
                return await attempt()
            except Unavailable:
                if last:
                    raise
            except asyncio.CancelledError as error:
                # A call on a channel that is closed under it raises this although nobody cancelled the task.
                task = asyncio.current_task()
                if last or (task is not None and task.cancelling()):
                    raise
                if self._channel is None:
                    raise ConnectionLost("the client was closed in mid-call") from error
            await asyncio.sleep(next(delays))
        raise AssertionError("the last try returns or raises")
