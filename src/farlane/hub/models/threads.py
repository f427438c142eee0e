"""Threads for blocking work with models, so that hashing a large file holds up nothing else of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A few threads, made when they are needed.

    Args:
        name: what they do, for those who look at the process.
        most: how many there are at a time; further work waits.
    """

    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do something in a thread; where the caller is cancelled it goes on to its end all the same."""
        return await self.start(work, *args, **options)

    def start(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> asyncio.Future[T]:
        """Begin something in a thread and go on; nobody is told of an error that is not waited for."""
        begun = asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(*args, **options))
        begun.add_done_callback(_heard)
        return begun


def _heard(done: asyncio.Future[T]) -> None:
    if not done.cancelled():
        done.exception()
