"""Jobs as a client holds them: status, results, logs, stop, retry and why, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING

from farlane.domain.ids import JobId, job_text
from farlane.domain.records import TasksEnded
from farlane.errors import DeadlineExceeded, DiskFull, FarlaneError, InvalidInput, Unavailable
from farlane.kit.backoff import Backoff
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.result_feed import ResultFeed, fetched_bytes
from farlane.sdk.values import (
    Explanation,
    JobStatus,
    LogChunk,
    explanation_from_wire,
    job_status_from_wire,
    log_chunk_from_wire,
)
from farlane.wire.v1 import client_pb2

if TYPE_CHECKING:
    from farlane.sdk.client import AsyncClient

WINDOW_ROWS = 4096
"""Results the hub may send ahead of the reader."""
_POLLS = Backoff(first_s=0.02, cap_s=0.5, factor=1.5)
_LOG_TRIES = Backoff(first_s=0.2, cap_s=5.0)


class JobHandle:
    """One job on the hub, whoever opened it.

    Args:
        client: an open client.
        job: the job's id.
    """

    def __init__(self, client: AsyncClient, job: JobId) -> None:
        self._client = client
        self.job = job

    def __repr__(self) -> str:
        return f"<job {job_text(self.job)}>"

    async def status(self) -> JobStatus:
        """Return how the job stands.

        Raises:
            NotFound: the hub does not know it.
        """
        request = client_pb2.GetJobRequest(job=self.job)
        return job_status_from_wire(
            await self._client.connection.call("GetJob", request, self._doing("asking for"))
        )

    async def results(self, after: int = 0, *, ordered: bool = False) -> AsyncIterator[TaskResult]:
        """Yield ended tasks until the job has ended; large results are fetched a little ahead.

        Args:
            after: result cursor to go on from (`TaskResult.cursor`); 0 is the beginning.
            ordered: by task index, which keeps early results of later tasks in memory; only from the beginning.

        Raises:
            InvalidInput: ordered, but not from the beginning.
            Conflict: this client reads the job already.
        """
        async with contextlib.aclosing(self.bursts(after, ordered=ordered)) as bursts:
            async for burst in bursts:
                for result in burst:
                    yield result

    async def bursts(
        self, after: int = 0, *, ordered: bool = False
    ) -> AsyncGenerator[list[TaskResult], None]:
        """Yield what `results` yields, as many at a time as have come."""
        if ordered and after:
            raise InvalidInput(f"results in order begin at cursor 0, not {after}; read on with ordered=False")
        sink = _Reader(self._client, ordered)
        watch = self._client.session.watch(self.job, after, WINDOW_ROWS, sink)
        try:
            while (burst := await sink.queue.get()) is not None:
                if isinstance(burst, FarlaneError):
                    raise burst
                yield burst
                watch.consumed(len(burst))
                sink.feed.consumed(fetched_bytes(burst))
        finally:
            watch.close()

    async def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Return the status once the job has ended.

        Raises:
            DeadlineExceeded: it has not within `timeout_s`; the job goes on.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for pause_s in _POLLS.ceilings():
                    status = await self.status()
                    if status.state.final:
                        return status
                    await asyncio.sleep(pause_s)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"job {job_text(self.job)} has not ended within {timeout_s} s; it goes on. `why()` says what it waits "
                "for, `stop()` ends it",
                job=job_text(self.job),
            ) from error
        raise AssertionError("the pauses have no end")

    async def stop(self, reason: str = "") -> JobStatus:
        """End every task that has not ended."""
        request = client_pb2.StopJobRequest(job=self.job, reason=reason)
        return job_status_from_wire(
            await self._client.connection.call("StopJob", request, self._doing("stopping"))
        )

    async def retry(self) -> JobStatus:
        """Run the failed and stopped tasks of an ended job again."""
        request = client_pb2.RetryJobRequest(job=self.job)
        doing = self._doing("retrying")
        return job_status_from_wire(await self._client.connection.call("RetryJob", request, doing, tries=1))

    async def why(self) -> Explanation:
        """Return why the job stands where it stands, and what would change it."""
        request = client_pb2.ExplainRequest(job=self.job)
        return explanation_from_wire(
            await self._client.connection.call("Explain", request, self._doing("explaining"))
        )

    async def tasks(self, after: int = 0, limit: int = 1000) -> list[TasksEnded]:
        """Return ended tasks with result cursor > `after` in batches, without their results."""
        return await self._client.tasks(self.job, after, limit)

    async def logs(self, index: int | None = None, *, follow: bool = True) -> AsyncIterator[LogChunk]:
        """Yield what the job's tasks wrote, oldest first; goes on where it was when the connection is lost.

        Args:
            index: only this task.
            follow: until the job has ended; else what there is now.
        """
        request = client_pb2.FollowLogsRequest(job=self.job, index=index, follow=follow)
        delays = _LOG_TRIES.delays(self._client.random)
        seen = 0
        while True:
            position = 0
            stream = self._client.connection.stream("FollowLogs", request, self._doing("reading the logs of"))
            try:
                async for line in stream:
                    position += 1
                    if position > seen:
                        seen = position
                        delays = _LOG_TRIES.delays(self._client.random)
                        yield log_chunk_from_wire(line)
                return
            except (Unavailable, DiskFull):  # a hub without room starts over once it has some
                if self._client.session.failure is not None:
                    raise
            await asyncio.sleep(next(delays))

    def _doing(self, what: str) -> str:
        return f"{what} job {job_text(self.job)}"


class _Reader:
    """Collects bursts for `JobHandle.bursts`; None in the queue is the end."""

    def __init__(self, client: AsyncClient, ordered: bool) -> None:
        self.queue: asyncio.Queue[list[TaskResult] | FarlaneError | None] = asyncio.Queue()
        self.feed = ResultFeed(client.connection.get_bytes, client.start, self._deliver, ordered=ordered)
        self._ended = False

    def on_rows(self, ended: TasksEnded) -> None:
        """Take rows."""
        self.feed.add(ended)

    def on_end(self, status: JobStatus) -> None:
        """The job has ended; large results may still be on their way."""
        self._ended = True
        self._deliver([])

    def on_error(self, error: FarlaneError) -> None:
        """Nothing more will come."""
        self.queue.put_nowait(error)

    def _deliver(self, burst: list[TaskResult]) -> None:
        if burst:
            self.queue.put_nowait(burst)
        if self._ended and not self.feed.waiting:
            self.queue.put_nowait(None)
