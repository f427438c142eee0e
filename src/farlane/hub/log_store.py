"""The log store: what tasks print, one append-only file a job, followed live and capped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from farlane.domain.ids import JobId, TaskId, job_of, job_text
from farlane.errors import FarlaneError

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(tuple[int, int, str, bytes])
_LENGTH_BYTES = 4
PAGE_BYTES = 1 << 20
"""How much of a file is read at once."""
CUT_NOTICE = b"[farlane: this job's log is full; what it prints from here on is not kept]\n"


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Some bytes a task printed. stream: stdout or stderr."""

    task: TaskId
    attempt: int
    stream: str
    data: bytes


@dataclass(slots=True, eq=False)
class _Follower:
    """One reader of a log that is still written. ended: nothing more comes; failure: why reading must stop."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    failure: FarlaneError | None = None


class LogStore:
    """Keeps and follows logs. Writing is best effort: a full disk costs log lines, never a job.

    A follower reads the file behind the writer: however slowly it reads, it costs no memory and misses nothing.

    Args:
        directory: one file per job below it.
        cap_bytes: how much is kept of one job.
    """

    def __init__(self, directory: Path, cap_bytes: int) -> None:
        self._directory = directory
        self._cap = cap_bytes
        self._sizes: dict[JobId, int] = {}
        self._full: set[JobId] = set()
        self._followers: dict[JobId, set[_Follower]] = {}
        self.dropped_bytes = 0
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, chunk: LogChunk) -> None:
        """Keep a chunk and wake followers."""
        job = job_of(chunk.task)
        frame = self._fit(job, chunk)
        if frame is None or not self._write(job, frame):
            self.dropped_bytes += len(chunk.data)
            return
        for follower in self._followers.get(job, ()):
            follower.wake.set()

    def end(self, job: JobId) -> None:
        """Tell followers that the job prints nothing more."""
        self._sizes.pop(job, None)
        self._full.discard(job)
        for follower in self._followers.get(job, ()):
            follower.ended = True
            follower.wake.set()

    def interrupt(self, error: FarlaneError) -> None:
        """End every `follow` with an error: another store takes over these files."""
        for followers in self._followers.values():
            for follower in followers:
                follower.failure = error
                follower.wake.set()

    def forget(self, before: float) -> int:
        """Delete the logs that nothing was added to since `before` (unix seconds); returns how many."""
        old = [path for path in self._directory.glob("j*.log") if path.stat().st_mtime < before]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def read(self, job: JobId) -> Iterator[LogChunk]:
        """Yield what is kept of a job, oldest first; a torn last frame is left out."""
        offset = 0
        while True:
            chunks, offset = self.page(job, offset)
            if not chunks:
                return
            yield from chunks

    async def read_in_turns(self, job: JobId) -> AsyncGenerator[LogChunk, None]:
        """Yield what `read` does, page by page in a thread, so that a large log holds nobody up."""
        loop, offset = asyncio.get_running_loop(), 0
        while True:
            chunks, offset = await loop.run_in_executor(None, self.page, job, offset)
            if not chunks:
                return
            for chunk in chunks:
                yield chunk

    def page(self, job: JobId, offset: int) -> tuple[list[LogChunk], int]:
        """Return the next whole frames from a byte offset on, about `PAGE_BYTES` of them, and where they end."""
        try:
            with self._path(job).open("rb") as file:
                file.seek(offset)
                data = file.read(PAGE_BYTES)
                # A frame larger than a page is read whole.
                if len(data) >= _LENGTH_BYTES:
                    missing = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big") - len(data)
                    data += file.read(missing) if missing > 0 else b""
        except FileNotFoundError:
            return [], offset
        chunks, size = _frames(data)
        return chunks, offset + size

    async def follow(self, job: JobId) -> AsyncGenerator[LogChunk, None]:
        """Yield what is kept, then what is printed, until the job ends.

        Raises:
            FarlaneError: what `interrupt` was told.
        """
        follower = _Follower()
        self._followers.setdefault(job, set()).add(follower)
        offset = 0
        try:
            while True:
                follower.wake.clear()
                ended = follower.ended
                chunks, offset = self.page(job, offset)
                for chunk in chunks:
                    yield chunk
                if follower.failure is not None:
                    raise follower.failure
                if not chunks:
                    if ended:
                        return
                    await follower.wake.wait()
        finally:
            self._followers[job].discard(follower)
            if not self._followers[job]:
                del self._followers[job]

    def _fit(self, job: JobId, chunk: LogChunk) -> bytes | None:
        """Return a chunk's frame, cut with a notice where the job's cap is reached, None beyond it."""
        if job in self._full:
            return None
        size = self._sizes.get(job)
        if size is None:
            size = self._size_on_disk(job)
            if size > self._cap:  # the notice was written before a restart
                self._full.add(job)
                return None
        frame = _frame(chunk)
        if size + len(frame) > self._cap:
            self._full.add(job)
            kept = chunk.data[: max(0, len(chunk.data) - (size + len(frame) - self._cap))]
            self.dropped_bytes += len(chunk.data) - len(kept)
            lead = b"" if kept.endswith(b"\n") or not kept else b"\n"
            frame = _frame(LogChunk(chunk.task, chunk.attempt, chunk.stream, kept + lead + CUT_NOTICE))
        self._sizes[job] = size + len(frame)
        return frame

    def _size_on_disk(self, job: JobId) -> int:
        try:
            return self._path(job).stat().st_size
        except FileNotFoundError:
            return 0

    def _write(self, job: JobId, frame: bytes) -> bool:
        """Append a frame whole or not at all; returns whether it is there."""
        try:
            # Unbuffered: one write, which a killed process cannot tear.
            with self._path(job).open("ab", buffering=0) as file:
                before = file.tell()
                if file.write(frame) == len(frame):
                    return True
                file.truncate(before)
        except OSError:
            pass
        return False

    def _path(self, job: JobId) -> Path:
        return self._directory / f"{job_text(job)}.log"


def _frame(chunk: LogChunk) -> bytes:
    body = _ENCODER.encode((chunk.task, chunk.attempt, chunk.stream, chunk.data))
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def _frames(data: bytes) -> tuple[list[LogChunk], int]:
    """Return the whole frames at the front of `data` and how many bytes they take."""
    chunks: list[LogChunk] = []
    at = 0
    while at + _LENGTH_BYTES <= len(data):
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if end > len(data):
            break
        try:
            task, attempt, stream, printed = _DECODER.decode(data[at + _LENGTH_BYTES : end])
        except msgspec.DecodeError:  # torn by a power cut: nothing behind it can be told apart
            break
        chunks.append(LogChunk(TaskId(task), attempt, stream, printed))
        at = end
    return chunks, at
