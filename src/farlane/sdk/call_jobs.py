"""Single calls on the client's loop: many share one job, so that a thousand spawns are not a thousand jobs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from farlane.domain.ids import JobId, job_text
from farlane.domain.jobs import MAX_INLINE_BYTES
from farlane.domain.records import Column, TasksEnded
from farlane.errors import Conflict, FarlaneError, Internal, TaskError
from farlane.sdk.batches import batches, column_of
from farlane.sdk.client import AsyncClient
from farlane.sdk.job_writer import JobWriter
from farlane.sdk.jobs import JobHandle
from farlane.sdk.map_run import SpecSource
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.result_feed import ResultFeed, fetched_bytes
from farlane.sdk.values import JobStatus
from farlane.sdk.watch import Watch
from farlane.wire.v1 import client_pb2

log = logging.getLogger(__name__)

MAX_CALLS = 1 << 20
"""A job is sealed after so many calls, and the next one opened: results of one job are kept together."""
CREDIT_ROWS = 16_384

Resubmit = Callable[["PendingCall"], None]


class PendingCall:
    """One call: its payload, where its result goes, and where it runs once it has been sent.

    `future` is a `concurrent.futures` one: the caller waits in another thread.
    """

    __slots__ = ("future", "index", "job", "payload", "placed", "resent")

    def __init__(self, payload: bytes, future: concurrent.futures.Future[TaskResult]) -> None:
        self.payload = payload
        self.future = future
        self.job: CallJob | None = None
        self.index = -1
        self.resent = False
        self.placed: asyncio.Future[tuple[JobId, int]] | None = None

    def place(self, job: JobId, index: int) -> None:
        """Note where it runs."""
        self.index = index
        if self.placed is not None and not self.placed.done():
            self.placed.set_result((job, index))

    def fail(self, error: BaseException) -> None:
        """Give the caller an error."""
        if not self.future.done():
            self.future.set_exception(error)
        if self.placed is not None and not self.placed.done():
            self.placed.set_exception(error)
            self.placed.exception()  # read, so that nobody waiting is no warning

    async def place_known(self) -> tuple[JobId, int]:
        """Return its job and task index, once it has been sent.

        Raises:
            Conflict: it was cancelled before.
            FarlaneError: it could not be sent.
        """
        if self.index >= 0 and self.job is not None:
            return self.job.job.result(), self.index
        if self.future.cancelled():
            raise Conflict("the call was cancelled before it was sent: it has no job")
        if self.future.done() and (error := self.future.exception()) is not None:
            raise error
        if self.placed is None:
            self.placed = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self.placed)


class CallJob:
    """One job of single calls.

    Args:
        client: an open client.
        resubmit: takes calls that came too late for this job.
        keep_open: seal only when idle, full or closing; else as soon as it is open.
        idle_s: how long it may have no calls.
    """

    def __init__(self, client: AsyncClient, resubmit: Resubmit, *, keep_open: bool, idle_s: float) -> None:
        self.closed = False
        self.job: asyncio.Future[JobId] = asyncio.get_running_loop().create_future()
        self._client = client
        self._resubmit = resubmit
        self._keep_open = keep_open
        self._idle_s = idle_s
        self._waiting: list[PendingCall] = []
        self._uploading = 0
        self._uploads: set[asyncio.Task[None]] = set()
        self._running: dict[int, PendingCall] = {}
        self._writer: JobWriter | None = None
        self._watch: Watch | None = None
        self._feed = ResultFeed(client.connection.get_bytes, client.start, self._deliver, ordered=False)
        self._flushing = False
        self._ended: JobStatus | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def unfinished(self) -> int:
        """Calls without a result."""
        return len(self._waiting) + self._uploading + len(self._running)

    def begin(self, spec: SpecSource) -> None:
        """Open the job."""
        self._client.start(self._guarded(self._opening(spec)))

    def submit(self, call: PendingCall) -> None:
        """Take a call; calls of one turn of the loop leave in one message."""
        call.job = self
        self._waiting.append(call)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        self._flush_soon()

    async def close(self) -> None:
        """Send what waits and seal the job."""
        if self._writer is None and not self.closed:
            await asyncio.wait([self.job])
        if not self.closed:
            self._flush()
            self._seal()
        if self._uploads:
            await asyncio.wait(self._uploads)

    async def stop(self, call: PendingCall) -> bool:
        """Stop a call that has not ended; returns False if it has.

        Raises:
            Conflict: other calls share its job, which the hub stops only as a whole.
        """
        if call.future.done() or call.future.cancel():
            return call.future.cancelled()
        if self.unfinished > 1:
            raise Conflict(
                f"this call shares a job with {self.unfinished - 1} unfinished others, and only whole jobs can be "
                "stopped: stop that job (`call.job.stop()`), or spawn such calls one at a time",
                unfinished=self.unfinished,
            )
        self.closed = True
        await JobHandle(self._client, await asyncio.shield(self.job)).stop("stopped by its caller")
        return True

    def on_rows(self, ended: TasksEnded) -> None:
        """Take ended calls."""
        if self._watch is not None:
            self._watch.consumed(len(ended.indices))
        self._feed.add(ended)

    def on_end(self, status: JobStatus) -> None:
        """The job has ended; if somebody stopped it, calls on their way to it have no result."""
        self.closed = True
        self._ended = status
        self._check_end()

    def on_error(self, error: FarlaneError) -> None:
        """Nothing more will come."""
        self._fail(error)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except FarlaneError as error:
            self._fail(error)
        except Exception as error:
            log.exception("single calls failed")
            self._fail(Internal(f"the calls failed inside farlane: {type(error).__name__}: {error}"))
        finally:
            if not self.job.done():
                self.job.cancel()

    async def _opening(self, spec: SpecSource) -> None:
        writer = self._client.writer(await spec())
        job = await writer.open()
        self._writer = writer
        self._watch = self._client.session.watch(job, 0, CREDIT_ROWS, self)
        self.job.set_result(job)
        self._flush()

    def _flush_soon(self) -> None:
        if self._writer is not None and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        waiting, self._waiting = self._waiting, []
        calls = [call for call in waiting if call.resent or call.future.set_running_or_notify_cancel()]
        if not self._keep_open:
            self.closed = True
        # A call with a large argument waits for its upload alone.
        large = [call for call in calls if len(call.payload) > MAX_INLINE_BYTES]
        small = batches_of([call for call in calls if len(call.payload) <= MAX_INLINE_BYTES])
        for batch in batches_of(large):
            self._uploading += len(batch)
            upload = self._client.start(self._guarded(self._send_large(batch)))
            self._uploads.add(upload)
            upload.add_done_callback(self._uploads.discard)
        for batch in small:
            self._send(batch, seal=self.closed and not large and batch is small[-1])
        self._after_flush()

    def _send(self, batch: list[PendingCall], column: Column | None = None, *, seal: bool = False) -> None:
        assert self._writer is not None
        first = self._writer.total
        try:
            reply = self._writer.add(column or Column([call.payload for call in batch]), seal=seal)
        except FarlaneError as error:
            for call in batch:
                call.fail(error)
            return
        for index, call in enumerate(batch, first):
            call.place(self._writer.job, index)
            self._running[index] = call
        reply.add_done_callback(partial(self._sent, batch))

    async def _send_large(self, batch: list[PendingCall]) -> None:
        try:
            column = await column_of([call.payload for call in batch], self._client.connection.put_bytes)
        except FarlaneError as error:
            for call in batch:
                call.fail(error)
        else:
            self._send(batch, column)
        finally:
            self._uploading -= len(batch)
            self._after_flush()

    def _sent(self, batch: list[PendingCall], reply: asyncio.Future[client_pb2.ClientReply]) -> None:
        error = None if reply.cancelled() else reply.exception()
        if error is None:
            for call in batch:
                call.payload = b""  # the hub has it
            self._check_end()
            return
        self.closed = True
        for call in batch:
            self._running.pop(call.index, None)
            if isinstance(error, Conflict) and self._keep_open and not call.resent:
                # Somebody stopped the open job between two calls: this one belongs to a new job.
                call.resent = True
                self._resubmit(call)
            else:
                call.fail(error)

    def _after_flush(self) -> None:
        assert self._writer is not None
        if self._writer.sealed or self._uploading:
            return
        if self.closed or self._writer.total >= MAX_CALLS:
            self._seal()
        elif not self.unfinished and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._seal)

    def _seal(self) -> None:
        self.closed = True
        if self._writer is not None and not self._writer.sealed and not self._uploading:
            with contextlib.suppress(FarlaneError):  # the session has failed, and so have the calls
                self._writer.seal()

    def _deliver(self, results: list[TaskResult]) -> None:
        for result in results:
            call = self._running.pop(result.index, None)
            if call is not None and not call.future.done():
                call.future.set_result(result)
        self._feed.consumed(fetched_bytes(results))
        self._after_flush()
        self._check_end()

    def _check_end(self) -> None:
        if self._ended is None or self._feed.waiting:
            return
        reason = f"job {job_text(self._ended.job)} {self._ended.state.value} before this call had its result"
        error = TaskError(f"{reason}: {self._ended.reason}" if self._ended.reason else reason)
        # A call whose payload is still here was not accepted yet: the reply to it says whether it ever will be.
        for index in [index for index, call in self._running.items() if not call.payload]:
            self._running.pop(index).fail(error)

    def _fail(self, error: FarlaneError) -> None:
        self.closed = True
        waiting, self._waiting = self._waiting, []
        for call in (*waiting, *self._running.values()):
            call.fail(error)
        self._running.clear()


def batches_of(calls: list[PendingCall]) -> list[list[PendingCall]]:
    """Cut calls into lists whose payloads each fit one message."""
    found: list[list[PendingCall]] = []
    position = 0
    for payloads in batches(call.payload for call in calls):
        found.append(calls[position : position + len(payloads)])
        position += len(payloads)
    return found
