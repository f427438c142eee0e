"""Connecting: one asyncio client for the length of one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from farlane.sdk.client import AsyncClient

T = TypeVar("T")


def with_client(work: Callable[[AsyncClient], Awaitable[T]]) -> T:
    """Connect to the current network, do the work, and return what it returns."""

    async def connected() -> T:
        async with AsyncClient() as client:
            return await work(client)

    return asyncio.run(connected())
