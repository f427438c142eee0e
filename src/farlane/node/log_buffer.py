"""The log buffer: what tasks print, on its way to the hub, within a byte budget; the oldest gives way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from farlane.domain.ids import TaskId

DEFAULT_BUDGET_BYTES = 4 << 20
MAX_CHUNK_BYTES = 64 * 1024
MAX_SOURCES = 10_000
"""Streams for which a notice is kept."""
_Source = tuple[TaskId, int, str]


@dataclass(slots=True)
class LogPiece:
    """Bytes one attempt wrote to one stream, in the pieces in which they came."""

    task: TaskId
    attempt: int
    stream: str
    size_bytes: int = 0
    parts: list[bytes] = field(default_factory=list)

    def data(self) -> bytes:
        """Return the bytes."""
        return b"".join(self.parts)


class LogBuffer:
    """Log pieces in order of arrival.

    A reader that is too slow, or away, costs the oldest bytes, never memory: the next piece of the same stream
    begins with a line that says how much is missing.

    Args:
        budget_bytes: how much may wait.
    """

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self._budget_bytes = budget_bytes
        self._pieces: deque[LogPiece] = deque()
        self._missing: dict[_Source, int] = {}
        self.size_bytes = 0
        self.dropped_bytes = 0

    def __bool__(self) -> bool:
        """Tell whether something waits."""
        return bool(self._pieces)

    def append(self, task: TaskId, attempt: int, stream: str, data: bytes) -> None:
        """Take what an attempt printed."""
        for start in range(0, len(data), MAX_CHUNK_BYTES):
            self._append(task, attempt, stream, data[start : start + MAX_CHUNK_BYTES])
        while self.size_bytes > self._budget_bytes:
            self._drop_oldest()

    def take(self, max_bytes: int) -> list[LogPiece]:
        """Take the oldest pieces, at least one and about `max_bytes` in all; an empty list when none waits."""
        taken: list[LogPiece] = []
        size = 0
        while self._pieces and size < max_bytes:
            piece = self._pieces.popleft()
            size += piece.size_bytes
            missing = self._missing.pop((piece.task, piece.attempt, piece.stream), 0)
            if missing:
                piece.parts.insert(0, b"[farlane: %d bytes of this output were dropped here]\n" % missing)
            taken.append(piece)
        self.size_bytes -= size
        return taken

    def _append(self, task: TaskId, attempt: int, stream: str, data: bytes) -> None:
        last = self._pieces[-1] if self._pieces else None
        if (
            last is None
            or (last.task, last.attempt, last.stream) != (task, attempt, stream)
            or last.size_bytes + len(data) > MAX_CHUNK_BYTES
        ):
            last = LogPiece(task, attempt, stream)
            self._pieces.append(last)
        last.parts.append(data)
        last.size_bytes += len(data)
        self.size_bytes += len(data)

    def _drop_oldest(self) -> None:
        piece = self._pieces.popleft()
        self.size_bytes -= piece.size_bytes
        self.dropped_bytes += piece.size_bytes
        source = (piece.task, piece.attempt, piece.stream)
        self._missing[source] = self._missing.get(source, 0) + piece.size_bytes
        if len(self._missing) > MAX_SOURCES:
            # Streams that never printed again: their notice has nowhere to go.
            del self._missing[next(iter(self._missing))]
