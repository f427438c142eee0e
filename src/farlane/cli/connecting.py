"""Connecting: one asyncio client for the length of one command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from farlane.cli.output import say
from farlane.errors import FarlaneError
from farlane.sdk.client import AsyncClient
from farlane.sdk.ledger import LedgerClient

T = TypeVar("T")
QUIET_S = 1.5
"""A hub that answers within this needs no word."""


@contextlib.asynccontextmanager
async def connecting(client: AsyncClient, quiet_s: float = QUIET_S) -> AsyncIterator[AsyncClient]:
    """Enter a client, and say on stderr that it waits where no hub answers soon.

    Raises:
        as `AsyncClient` does on entering.
    """
    word = f"no hub answers at {client.endpoint.url} yet; waiting for it"
    hint = asyncio.get_running_loop().call_later(quiet_s, say, word)
    try:
        async with client:
            hint.cancel()
            yield client
    finally:
        hint.cancel()


def with_client(work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Connect to the current network, do the work, and return what it returns."""

    async def connected() -> T:
        async with connecting(AsyncClient()) as client:
            return await work(client)

    return asyncio.run(connected())


async def tell_dues(client: AsyncClient) -> None:
    """Say on stderr what this organisation must do so that its channels pay; what was asked for does not hang on it."""
    with contextlib.suppress(FarlaneError):
        for notice in await LedgerClient(client.connection).notices():
            say(notice)


def with_client_and_dues(work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Do the work as `with_client`, then say what is due."""

    async def both(client: AsyncClient) -> T:
        found = await work(client)
        await tell_dues(client)
        return found

    return with_client(both)
