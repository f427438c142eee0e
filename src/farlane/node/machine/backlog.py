"""The result backlog: ended attempts in numbered column batches, kept until the hub has them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from farlane.domain.failures import Failure
from farlane.domain.jobs import BlobRef, TaskState
from farlane.domain.records import Column, OutputFile
from farlane.node.machine.attempts import HeldAttempt

MAX_BATCH_ROWS = 1024
MAX_BATCH_BYTES = 1 << 20
ROW_BYTES = 64
"""What a row weighs beside its result: ids, times and their share of the bookkeeping."""


@dataclass(slots=True)
class EndedColumns:
    """Ended attempts; all columns parallel to `held`; failures and outputs are sparse, by row.

    lease_ms: run time observed here; cpu_us: metered; peak_bytes: metered, 0 = unknown.
    """

    held: list[HeldAttempt] = field(default_factory=list)
    states: bytearray = field(default_factory=bytearray)
    results: Column = field(default_factory=lambda: Column([]))
    failures: dict[int, Failure] = field(default_factory=dict)
    outputs: dict[int, tuple[OutputFile, ...]] = field(default_factory=dict)
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ResultBatch:
    """One numbered batch of ended attempts."""

    number: int
    rows: EndedColumns


class Backlog:
    """Every ended attempt from its end to the hub's acknowledgement, each in exactly one batch.

    Args:
        limit_bytes: size from which on `full` holds: the node then starts no more work.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._open = EndedColumns()
        self._sent: deque[ResultBatch] = deque()
        self._unsent: deque[ResultBatch] = deque()
        self._next_number = 1
        self.size_bytes = 0
        self.rows = 0

    @property
    def full(self) -> bool:
        """Tell whether so much waits for the hub that new work would only add to it."""
        return self.size_bytes >= self._limit_bytes

    @property
    def waiting(self) -> bool:
        """Tell whether there is something to send."""
        return bool(self._unsent or self._open.held)

    def add_done(
        self,
        held: HeldAttempt,
        result: bytes,
        blob: BlobRef | None = None,
        outputs: tuple[OutputFile, ...] = (),
    ) -> None:
        """Append an attempt that ended well."""
        rows = self._open
        row = len(rows.held)
        rows.held.append(held)
        rows.states.append(TaskState.DONE)
        rows.results.inline.append(result)
        if blob is not None:
            rows.results.blobs[row] = blob
        size_bytes = ROW_BYTES + len(result)
        if outputs:
            rows.outputs[row] = outputs
            size_bytes += sum(len(file.path) + ROW_BYTES for file in outputs)
        self._grow(size_bytes)

    def add_failed(self, held: HeldAttempt, failure: Failure) -> None:
        """Append an attempt that ended without a result."""
        rows = self._open
        rows.failures[len(rows.held)] = failure
        rows.held.append(held)
        rows.states.append(TaskState.FAILED)
        rows.results.inline.append(b"")
        self._grow(ROW_BYTES + len(failure.message) + len(failure.traceback) + len(failure.exception))

    def next_batch(self) -> ResultBatch | None:
        """Return the next batch to send, None when all are sent. What ended since the last call is one batch."""
        if not self._unsent:
            if not self._open.held:
                return None
            self._seal()
        batch = self._unsent.popleft()
        self._sent.append(batch)
        return batch

    def resend(self) -> None:
        """Start over with the oldest batch that is not acknowledged."""
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()

    def accept(self, number: int) -> list[HeldAttempt]:
        """Forget batches up to `number`; returns their attempts. Batches never sent stay, whatever is claimed."""
        accepted: list[HeldAttempt] = []
        while self._sent and self._sent[0].number <= number:
            rows = self._sent.popleft().rows
            self._shrink(rows)
            accepted += rows.held
        return accepted

    def clear(self) -> None:
        """Forget everything: these results are of another epoch."""
        self._open = EndedColumns()
        self._sent.clear()
        self._unsent.clear()
        self.size_bytes = self.rows = 0

    def _grow(self, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        self.rows += 1
        rows = self._open
        rows.size_bytes += size_bytes
        if rows.size_bytes >= MAX_BATCH_BYTES or len(rows.held) >= MAX_BATCH_ROWS:
            self._seal()

    def _shrink(self, rows: EndedColumns) -> None:
        self.size_bytes -= rows.size_bytes
        self.rows -= len(rows.held)

    def _seal(self) -> None:
        self._unsent.append(ResultBatch(self._next_number, self._open))
        self._next_number += 1
        self._open = EndedColumns()
