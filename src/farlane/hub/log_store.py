"""The log store: what tasks print, one append-only file a job, followed live and capped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farlane.domain.ids import JobId, TaskId, job_of, job_text

_FRAME = msgspec.msgpack.Encoder()
_LENGTH_BYTES = 4
FOLLOW_CHUNKS = 10_000
CUT_NOTICE = b"[farlane: this job's log is full; what it prints from here on is not kept]\n"


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Some bytes a task printed. stream: stdout or stderr."""

    task: TaskId
    attempt: int
    stream: str
    data: bytes


class LogStore:
    """Keeps and follows logs. Writing is best effort: a full disk costs log lines, never a job.

    Args:
        directory: one file per job below it.
        cap_bytes: how much is kept of one job.
    """

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self._directory = directory
        self._cap = cap_bytes
        self._sizes: dict[JobId, int] = {}
        self._followers: dict[JobId, set[asyncio.Queue[LogChunk | None]]] = {}
        self.dropped_bytes = 0
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, chunk: LogChunk) -> None:
        """Keep a chunk and hand it to followers."""
        job = job_of(chunk.task)
        kept = self._fit(job, chunk)
        if kept is not None:
            self._write(job, kept)
        for queue in self._followers.get(job, ()):
            if queue.qsize() < FOLLOW_CHUNKS:
                queue.put_nowait(chunk)

    def end(self, job: JobId) -> None:
        """Tell followers that the job prints nothing more."""
        self._sizes.pop(job, None)
        for queue in self._followers.get(job, ()):
            queue.put_nowait(None)

    def read(self, job: JobId) -> Iterator[LogChunk]:
        """Yield what is kept of a job, oldest first; a torn last frame is left out."""
        try:
            data = self._path(job).read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _LENGTH_BYTES <= len(data):
            size = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
            at += _LENGTH_BYTES
            if at + size > len(data):
                return
            task, attempt, stream, printed = msgspec.msgpack.decode(
                data[at : at + size], type=tuple[int, int, str, bytes]
            )
            at += size
            yield LogChunk(TaskId(task), attempt, stream, printed)

    async def follow(self, job: JobId) -> AsyncIterator[LogChunk]:
        """Yield what is kept, then what is printed, until the job ends."""
        queue: asyncio.Queue[LogChunk | None] = asyncio.Queue()
        self._followers.setdefault(job, set()).add(queue)
        try:
            for chunk in list(self.read(job)):
                yield chunk
            while (live := await queue.get()) is not None:
                yield live
        finally:
            self._followers[job].discard(queue)
            if not self._followers[job]:
                del self._followers[job]

    def _fit(self, job: JobId, chunk: LogChunk) -> LogChunk | None:
        """Return what of a chunk still fits the job's cap, with a notice where it is cut."""
        size = self._sizes.get(job)
        if size is None:
            path = self._path(job)
            size = path.stat().st_size if path.exists() else 0
        if size > self._cap:
            self._sizes[job] = size
            self.dropped_bytes += len(chunk.data)
            return None
        room = self._cap - size
        self._sizes[job] = size + len(chunk.data) + 64
        if len(chunk.data) <= room:
            return chunk
        return LogChunk(chunk.task, chunk.attempt, chunk.stream, chunk.data[:room] + b"\n" + CUT_NOTICE)

    def _write(self, job: JobId, chunk: LogChunk) -> None:
        body = _FRAME.encode((chunk.task, chunk.attempt, chunk.stream, chunk.data))
        try:
            with self._path(job).open("ab") as file:
                file.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        except OSError:
            self.dropped_bytes += len(chunk.data)

    def _path(self, job: JobId) -> Path:
        return self._directory / f"{job_text(job)}.log"
