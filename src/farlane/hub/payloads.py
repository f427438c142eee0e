"""Payloads: the arguments of queued tasks, kept in memory up to a budget and else read back from the store."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from farlane.domain.ids import JobId
from farlane.domain.records import Column
from farlane.errors import NotFound
from farlane.hub.store.port import Store

ROW_OVERHEAD_BYTES = 40
"""What a bytes object costs beside its content."""
MAX_READ = 1024
"""Payloads that one read of the store asks for: the store reads whole batches, so one by one would read each of
them as often as it has tasks, and the hub's loop waits for it."""
READ_AHEAD = 256
"""Payloads read with one that is needed and not in memory: the tasks behind it are leased next, and kept for that."""


_NOTHING = Column([])


@dataclass(slots=True)
class _Chunks:
    """One job's batches by first index."""

    firsts: list[int] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    held_bytes: int = 0


class PayloadCache:
    """Answers which payload belongs to which task.

    Args:
        store: where payloads that are not in memory are read from; they are durable by then.
        budget_bytes: memory for payloads; jobs with relaxed durability are always kept.
    """

    def __init__(self, store: Store, budget_bytes: int) -> None:
        self._store = store
        self._budget = budget_bytes
        self._jobs: dict[JobId, _Chunks] = {}
        self._ahead: dict[JobId, tuple[int, Column]] = {}
        self.held_bytes = 0

    def put(self, job: JobId, first: int, payloads: Column, *, keep: bool) -> None:
        """Remember a batch, if there is room or it must be kept."""
        size = sum(map(len, payloads.inline)) + ROW_OVERHEAD_BYTES * len(payloads.inline)
        if not keep and self.held_bytes + size > self._budget:
            return
        chunks = self._jobs.setdefault(job, _Chunks())
        chunks.firsts.append(first)
        chunks.columns.append(payloads)
        chunks.held_bytes += size
        self.held_bytes += size

    def drop(self, job: JobId) -> None:
        """Forget a job."""
        self._ahead.pop(job, None)
        chunks = self._jobs.pop(job, None)
        if chunks is not None:
            self.held_bytes -= chunks.held_bytes

    def pick(self, job: JobId, indices: list[int]) -> Column:
        """Return the payloads of some tasks of a job, in the order asked for.

        Raises:
            NotFound: a task has none.
        """
        picked = Column([], {})
        start = 0
        while start < len(indices):
            start = self._pick_run(job, indices, start, picked)
        return picked

    def _pick_run(self, job: JobId, indices: list[int], start: int, picked: Column) -> int:
        """Copy the rows from `start` on that lie in one batch; returns where the next run starts."""
        first, column = self._batch_of(job, indices, start)
        end = first + len(column.inline)
        stop = start
        while stop < len(indices) and first <= indices[stop] < end:
            row = indices[stop] - first
            if row in column.blobs:
                picked.blobs[len(picked.inline)] = column.blobs[row]
            picked.inline.append(column.inline[row])
            stop += 1
        return stop

    def _batch_of(self, job: JobId, indices: list[int], start: int) -> tuple[int, Column]:
        """Return a batch with the payload of `indices[start]`, and its first index: cached, or read as a run."""
        index = indices[start]
        end = index + MAX_READ
        chunks = self._jobs.get(job)
        if chunks is not None:
            after = bisect_right(chunks.firsts, index)
            if after and index < chunks.firsts[after - 1] + len(chunks.columns[after - 1].inline):
                return chunks.firsts[after - 1], chunks.columns[after - 1]
            # What is cached may not be durable yet: a read beyond it could find nothing.
            end = min([end, *chunks.firsts[after : after + 1]])
        first, column = self._ahead.get(job, (0, _NOTHING))
        if not first <= index < first + len(column.inline):
            column = self._read(job, index, _run_length(indices, start, end), end)
            first, _ = self._ahead[job] = index, column
        return first, column

    def _read(self, job: JobId, index: int, wanted: int, end: int) -> Column:
        """Read `wanted` payloads from `index` on, and some behind them where the store has them."""
        ahead = min(READ_AHEAD, end - index)
        while ahead > wanted:
            try:
                return self._store.payloads(job, index, ahead)
            except NotFound:  # the job is shorter, or its end is not durable yet
                ahead //= 2
        return self._store.payloads(job, index, wanted)


def _run_length(indices: list[int], start: int, end: int) -> int:
    """Count the indices from `start` on that follow one another by one and lie below `end`."""
    index, stop = indices[start], start + 1
    while stop < len(indices) and indices[stop] == index + stop - start < end:
        stop += 1
    return stop - start
