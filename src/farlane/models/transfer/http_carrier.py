"""Blocks from a gateway over a few connections, each with its thread: hashing and writing go on in parallel."""

from __future__ import annotations

import asyncio
import queue
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from farlane.errors import ConnectionLost
from farlane.models.cid import Cid
from farlane.models.transfer.carrier import Keep
from farlane.models.transfer.http_connection import HttpConnection

STREAMS: Final = 4
"""Connections to one source."""


class HttpCarrier:
    """One gateway.

    Args:
        address: HOST:PORT.
        ticket: shown with each request; empty for none.
        streams: connections at once.

    Raises:
        InvalidInput: the address is none.
    """

    def __init__(self, address: str, ticket: str = "", streams: int = STREAMS) -> None:
        self._idle: queue.SimpleQueue[HttpConnection] = queue.SimpleQueue()
        self._all = [HttpConnection(address, ticket) for _ in range(streams)]
        for connection in self._all:
            self._idle.put(connection)
        self._address, self._ticket = address, ticket
        self._threads = ThreadPoolExecutor(streams, thread_name_prefix=f"blocks of {address}")
        self._closed = False

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        """Bring a block; see `Carrier`."""
        if self._closed:
            raise ConnectionLost(f"block server {self._address}: no more is fetched from it")
        taken: list[HttpConnection] = []
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._fetch, cid, keep, taken)
        try:
            return await work
        except asyncio.CancelledError:
            if taken:
                taken[0].close()
            raise

    def renew(self, ticket: str) -> None:
        """Show another ticket from now on."""
        self._ticket = ticket
        for connection in self._all:
            connection.ticket = ticket

    async def close(self) -> None:
        """Close every connection; threads end with what they are at."""
        self._closed = True
        for connection in self._all:
            connection.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, cid: Cid, keep: Keep, taken: list[HttpConnection]) -> int:
        connection = self._idle.get()  # as many connections as threads: it never waits
        taken.append(connection)
        try:
            data = connection.fetch(cid)
            keep(data)
            return len(data)
        finally:
            taken.clear()
            self._idle.put(connection if not connection.closed else self._replaced(connection))

    def _replaced(self, connection: HttpConnection) -> HttpConnection:
        """Return another connection for one that a cancelled fetch has closed."""
        fresh = HttpConnection(self._address, self._ticket)
        self._all[self._all.index(connection)] = fresh
        if self._closed:
            fresh.close()
        return fresh
