"""Blobs at the hub: fetched and stored over whatever stream stands, through the hub's absences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

import grpc

from farlane.domain.jobs import BlobRef
from farlane.errors import ConnectionLost, DeadlineExceeded, Unavailable
from farlane.kit.backoff import Backoff
from farlane.wire.blobs import BlobClient

T = TypeVar("T")

_TRIES = 3
_PARALLEL_UPLOADS = 4


class Connection(Protocol):
    """What knows the way to the hub."""

    async def channel(self) -> grpc.aio.Channel:
        """Wait for the hub; return the channel to it."""


class HubBlobs:
    """Transfers that wait for the hub while it is away and start over when a connection breaks.

    Args:
        connection: the link.
        backoff: pauses between tries.
        random: source of the jitter.
    """

    def __init__(
        self, connection: Connection, *, backoff: Backoff | None = None, random: Random | None = None
    ) -> None:
        self._connection = connection
        self._backoff = backoff or Backoff(first_s=0.2, cap_s=5.0)
        self._random = random or Random()
        self._uploads = asyncio.Semaphore(_PARALLEL_UPLOADS)
        self.stored_bytes = 0

    async def fetch(self, blob: BlobRef, target: Path) -> None:
        """Put a blob's verified bytes into a file.

        Raises:
            FarlaneError: the hub does not have it, sends other bytes, or fails again and again.
        """
        await self._through(lambda client: client.get_file(blob, target))

    async def store(self, file: Path) -> BlobRef:
        """Store a file at the hub.

        Raises:
            FarlaneError: the hub refuses it, or fails again and again.
            OSError: the file cannot be read.
        """
        async with self._uploads:
            blob = await self._through(lambda client: client.put_file(file))
        self.stored_bytes += blob.size_bytes
        return blob

    async def _through(self, transfer: Callable[[BlobClient], Awaitable[T]]) -> T:
        delays = self._backoff.delays(self._random)
        for _ in range(_TRIES - 1):
            try:
                return await self._once(transfer)
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(next(delays))
        return await self._once(transfer)

    async def _once(self, transfer: Callable[[BlobClient], Awaitable[T]]) -> T:
        client = BlobClient(await self._connection.channel(), backoff=self._backoff, random=self._random)
        try:
            return await transfer(client)
        except (asyncio.CancelledError, grpc.aio.BaseError) as error:
            # A channel that closes cancels its calls under whoever awaits them.
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            raise ConnectionLost("the connection to the hub ended while a blob was on its way") from error
