"""What waits to be sent on one stream: filled without blocking, emptied in one go, so that load makes batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_ENTRIES = 16_384
MAX_OUTBOX_BYTES = 8 << 20


class Outbox(Generic[T]):
    """A queue between those who send and the one task that writes, all on one event loop.

    There is no timer: an idle stream sends at once, and while one write is under way the next batch gathers.

    Args:
        max_entries: budget of entries.
        max_bytes: budget of bytes.
        size_of: bytes of one entry; entries weigh nothing without it.
    """

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_OUTBOX_BYTES,
        size_of: Callable[[T], int] | None = None,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._entries: list[T] = []
        self._bytes = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        """Entries that wait."""
        return len(self._entries)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait, as `size_of` counts them."""
        return self._bytes

    @property
    def over_budget(self) -> bool:
        """Whether a polite producer would wait for room."""
        return len(self._entries) >= self._max_entries or self._bytes >= self._max_bytes

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed

    def put(self, item: T) -> bool:
        """Add an entry; never blocks and never fails.

        A pure state machine's commands must go somewhere at once, so the budget is not enforced here: whoever can
        wait asks `room()` first, whoever cannot looks at `over_budget` and gives up a peer that does not read.

        Returns:
            False if the outbox is closed: the entry is dropped, as everything on a broken stream is.
        """
        if self._closed:
            return False
        self._entries.append(item)
        if self._size_of is not None:
            self._bytes += self._size_of(item)
        self._filled.set()
        if self.over_budget:
            self._emptied.clear()
        return True

    async def drain(self) -> list[T]:
        """Wait for at least one entry and take all; an empty list means closed and all taken."""
        while not self._entries:
            if self._closed:
                return []
            self._filled.clear()
            await self._filled.wait()
        taken, self._entries = self._entries, []
        self._bytes = 0
        self._emptied.set()
        return taken

    async def room(self) -> bool:
        """Wait until the budget has room.

        Returns:
            False if the outbox is closed: there is nobody left to send to.
        """
        while not self._closed and self.over_budget:
            await self._emptied.wait()
        return not self._closed

    def close(self) -> None:
        """Take nothing more; what waits is still drained. Wakes everybody who waits."""
        self._closed = True
        self._filled.set()
        self._emptied.set()
