"""Watches: who streams which job's results, from which cursor, and how many tasks ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from farlane.domain.ids import JobId
from farlane.domain.records import TasksEnded
from farlane.hub.result_rows import pieces
from farlane.hub.store.port import Store

LIVE_ROWS = 65_536
LIVE_BYTES = 16 << 20
"""Ended tasks a watcher may have waiting in memory; beyond it they are read back from the store."""
READ_ROWS = 4_096
RETRY_S = 0.005


class Room(Protocol):
    """What a watch knows of the outbox it sends into."""

    @property
    def over_budget(self) -> bool:
        """Whether its peer takes less than is put in."""

    async def room(self) -> bool:
        """Wait until there is room; False when nobody is left to send to."""


class Watch:
    """One stream of one job's results.

    Rows leave in order of their cursor, never more than the credit, nor more than the outbox has room for. While
    the watcher keeps up they are handed over in memory; when it falls behind, or begins in the past, they are read
    from the store.
    """

    def __init__(
        self, job: JobId, after: int, credit: int, send: Callable[[TasksEnded], None], outbox: Room
    ) -> None:
        self.job = job
        self.cursor = after
        self._credit = credit
        self._send = send
        self._outbox = outbox
        self._past: deque[TasksEnded] = deque()
        self._live: deque[TasksEnded] = deque()
        self._live_rows = self._live_bytes = 0
        self._behind = True
        self._finished: Callable[[], None] | None = None
        self._wake = asyncio.Event()
        self._wake.set()

    def deliver(self, record: TasksEnded) -> None:
        """Take a record that has just become visible."""
        if (
            not self._behind
            and not self._live
            and self.cursor == record.seq
            and len(record.indices) <= self._credit
            and not self._outbox.over_budget
        ):
            self._emit(record)
            if self.cursor == record.seq + len(record.indices):
                return
        if not self._behind:
            self._live.append(record)
            self._live_rows += len(record.indices)
            self._live_bytes += _size(record)
        if self._live_rows > LIVE_ROWS or self._live_bytes > LIVE_BYTES:
            self._behind = True
            self._live.clear()
            self._live_rows = self._live_bytes = 0
        self._wake.set()

    def add_credit(self, more: int) -> None:
        """Allow `more` further tasks to be sent."""
        self._credit += more
        self._wake.set()

    def finish(self, tell: Callable[[], None]) -> None:
        """Call `tell` once everything has been sent: the job has ended."""
        self._finished = tell
        self._wake.set()

    async def pump(self, store: Store, visible: Callable[[], int | None]) -> None:
        """Send until all of an ended job has been sent, or until cancelled.

        `visible` is the job's cursor as far as it may be shown; None: whatever the store has (an ended job).
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._credit > 0 and await self._outbox.room() and await self._step(store, visible):
                pass
            if self._finished is None:
                continue
            if self._behind and not self._past:
                await self._catch_up(store, visible)  # without credit, too: there may be nothing left to send
            if not self._behind and not self._live:
                self._finished()
                return

    async def _step(self, store: Store, visible: Callable[[], int | None]) -> bool:
        """Send one record or a part of it; returns False when there is nothing to send now."""
        if self._behind:
            return await self._catch_up(store, visible)
        if not self._live:
            return False
        record = self._live[0]
        self._emit(record)
        if self.cursor >= record.seq + len(record.indices):
            self._live.popleft()
            self._live_rows -= len(record.indices)
            self._live_bytes -= _size(record)
        return True

    async def _catch_up(self, store: Store, visible: Callable[[], int | None]) -> bool:
        if self._past:
            self._send_past()
            return True
        target = visible()
        if target is not None and self.cursor >= target:
            # From here on records come in memory: `deliver` and this run on the same loop.
            self._behind = False
            return False
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, store.results, self.job, self.cursor, READ_ROWS)
        if not found and target is None:
            self._behind = False
        elif not found:
            # Shown ahead of its fsync (relaxed durability): the store will have it in a moment.
            loop.call_later(RETRY_S, self._wake.set)
        self._past.extend(found)
        return bool(found)

    def _send_past(self) -> None:
        """Send what was read from the store, as far as credit and room go; the rest is kept for the next step."""
        record = self._past[0]
        self._emit(record)
        if self.cursor >= record.seq + len(record.indices):
            self._past.popleft()

    def _emit(self, record: TasksEnded) -> None:
        """Send the rows of a record from the cursor on, as far as credit and room go."""
        start = max(0, self.cursor - record.seq)
        stop = min(len(record.indices), start + self._credit)
        for piece in pieces(record, start, stop):
            self._credit -= len(piece.indices)
            self.cursor = piece.seq + len(piece.indices)
            self._send(piece)
            if self._outbox.over_budget:
                return


def _size(record: TasksEnded) -> int:
    return sum(map(len, record.results.inline))
