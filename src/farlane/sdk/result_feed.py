"""The result feed: ended tasks in order, or as they come, with large results fetched a little ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from farlane.domain.jobs import BlobRef
from farlane.domain.records import TasksEnded
from farlane.errors import FarlaneError
from farlane.sdk.outcomes import TaskResult

PARALLEL_FETCHES = 8
MAX_FETCHED_BYTES = 64 << 20
"""Fetched bytes that wait to be consumed; one blob may always be fetched, however large."""

Fetch = Callable[[BlobRef], Awaitable[bytes]]
Start = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(slots=True, eq=False)
class _Slot:
    """A row in line whose blob is not here yet."""

    record: TasksEnded
    offset: int
    ref: BlobRef
    result: TaskResult | None = None


class ResultFeed:
    """Turns batches of ended tasks into bursts of results, each row once, in yield order.

    Args:
        fetch: gets a blob, verified.
        start: runs a fetch in the background.
        deliver: takes a burst of results.
        ordered: by task index from `first_index` on, without gaps; else in the order of ending.
        first_index: where an ordered feed begins.
    """

    def __init__(
        self,
        fetch: Fetch,
        start: Start,
        deliver: Callable[[list[TaskResult]], None],
        *,
        ordered: bool,
        first_index: int = 0,
    ) -> None:
        self._fetch = fetch
        self._start = start
        self._deliver = deliver
        self._ordered = ordered
        self._next_index = first_index
        self._early: dict[int, TaskResult | _Slot] = {}
        self._line: deque[TaskResult | _Slot] = deque()
        self._unfetched: deque[_Slot] = deque()
        self._fetching = 0
        self._fetched_bytes = 0

    @property
    def waiting(self) -> int:
        """Rows taken and not delivered."""
        return len(self._line) + len(self._early)

    def add(self, record: TasksEnded) -> None:
        """Take a batch."""
        inline, blobs = record.results.inline, record.results.blobs
        if self._ordered:
            for offset, index in enumerate(record.indices):
                if index >= self._next_index:  # else it ran again, after its first result was handed out
                    self._early[index] = self._row(record, offset, inline[offset], blobs.get(offset))
            self._queue_in_order()
        else:
            for offset, data in enumerate(inline):
                self._queue(self._row(record, offset, data, blobs.get(offset)))
        self._advance()

    def consumed(self, size_bytes: int) -> None:
        """Make room for `size_bytes` of fetched blobs more."""
        if size_bytes:
            self._fetched_bytes -= size_bytes
            self._advance()

    def _row(self, record: TasksEnded, offset: int, data: bytes, ref: BlobRef | None) -> TaskResult | _Slot:
        return TaskResult(record, offset, data) if ref is None else _Slot(record, offset, ref)

    def _queue_in_order(self) -> None:
        while (row := self._early.pop(self._next_index, None)) is not None:
            self._next_index += 1
            self._queue(row)

    def _queue(self, row: TaskResult | _Slot) -> None:
        self._line.append(row)
        if isinstance(row, _Slot):
            self._unfetched.append(row)

    def _advance(self) -> None:
        while self._unfetched and self._may_fetch(self._unfetched[0].ref):
            slot = self._unfetched.popleft()
            self._fetching += 1
            self._fetched_bytes += slot.ref.size_bytes
            self._start(self._fill(slot))
        ready: list[TaskResult] = []
        while self._line:
            row = self._line[0]
            result = row if isinstance(row, TaskResult) else row.result
            if result is None:
                break
            ready.append(result)
            self._line.popleft()
        if ready:
            self._deliver(ready)

    def _may_fetch(self, ref: BlobRef) -> bool:
        fits = self._fetched_bytes + ref.size_bytes <= MAX_FETCHED_BYTES or self._fetched_bytes == 0
        return fits and self._fetching < PARALLEL_FETCHES

    async def _fill(self, slot: _Slot) -> None:
        data: bytes | FarlaneError
        try:
            data = await self._fetch(slot.ref)
        except FarlaneError as error:
            data = error
        finally:
            self._fetching -= 1
        slot.result = TaskResult(slot.record, slot.offset, data)
        self._advance()


def fetched_bytes(results: list[TaskResult]) -> int:
    """Return how many bytes of these results were fetched as blobs: what `ResultFeed.consumed` is told."""
    total = 0
    for result in results:
        blobs = result.record.results.blobs
        if blobs and (ref := blobs.get(result.offset)) is not None:
            total += ref.size_bytes
    return total
