"""Blocking work in a thread, for coroutines: no thread can be stopped, so whoever is cancelled waits for it first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run `work` in a thread and return what it returns; its errors pass.

    A caller that is cancelled meanwhile is so when the work has ended, however often it is cancelled, and hears nothing
    of what came of it: what the work takes hold of must be within reach of whoever gives it back.
    """
    done = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.wait([done])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not done.cancelled():
            done.exception()  # taken, so that nobody warns of it
        raise cancelled
    return done.result()
