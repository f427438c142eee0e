"""Running asynchronous parts of the demo beside its synchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

LINGER_S: Final = 0.2


def run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run something on a loop of its own, which stays a moment when it is over.

    gRPC tells what is left of closed calls from a thread of its own, a little later; where that loop is gone by then,
    the loop of the synchronous client, which shares the thread, logs it as an error.
    """
    asyncio.run(_lingering(work))


async def _lingering(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    finally:
        await asyncio.sleep(LINGER_S)
