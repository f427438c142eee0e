"""One map: inputs flow in, a job on the hub runs them, results flow out; this is the side on the client's loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from farlane.domain.ids import job_text
from farlane.domain.jobs import JobSpec
from farlane.domain.records import TasksEnded
from farlane.errors import FarlaneError, Internal, TaskError
from farlane.sdk.batches import MAX_BYTES, MAX_ROWS, column_of, inline_bytes
from farlane.sdk.client import AsyncClient
from farlane.sdk.job_writer import JobWriter
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.result_feed import ResultFeed
from farlane.sdk.values import JobStatus
from farlane.sdk.watch import Watch
from farlane.wire.v1 import client_pb2

log = logging.getLogger(__name__)

CREDIT_ROWS = 16_384
SpecSource = Callable[[], Awaitable[JobSpec]]


class Outlet:
    """What a map has for its reader, in the reader's thread or task.

    Everything here is a single append, pop or assignment, which threads may do without a lock; `notify` then wakes
    the reader, once per burst.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self.rows: deque[TaskResult] = deque()
        self.error: BaseException | None = None
        self.acknowledged_bytes = 0
        self._notify = notify

    def deliver(self, rows: list[TaskResult]) -> None:
        """Hand over a burst."""
        self.rows.extend(rows)
        self._notify()

    def acknowledge(self, size_bytes: int) -> None:
        """Say that the hub has so many bytes of input more."""
        self.acknowledged_bytes += size_bytes
        self._notify()

    def fail(self, error: BaseException) -> None:
        """Say that nothing more will come."""
        if self.error is None:
            self.error = error
        self._notify()


class MapRun:
    """Batches inputs into one job and feeds its results to an outlet.

    A batch leaves when it is full or when nothing is on its way to the hub: a slow input is sent at once, a fast
    one in large batches, and there is no timer.

    Args:
        client: an open client.
        spec: makes the specification, its blobs on the hub.
        outlet: takes results, acknowledgements and errors.
        ordered: results by input, else as they end.
    """

    def __init__(self, client: AsyncClient, spec: SpecSource, outlet: Outlet, *, ordered: bool) -> None:
        self.inputs: deque[bytes] = deque()
        self.finished = False
        self._client = client
        self._spec = spec
        self._outlet = outlet
        self._feed = ResultFeed(client.connection.get_bytes, client.start, outlet.deliver, ordered=ordered)
        self._wake = asyncio.Event()
        self._writer: JobWriter | None = None
        self._watch: Watch | None = None
        self._adding = 0
        self._ended_rows = 0
        self._reason = ""

    def begin(self) -> None:
        """Start working; inputs may be there already."""
        self._client.start(self._guarded())

    def pump(self) -> None:
        """Look at `inputs` and `finished` again."""
        self._wake.set()

    def consumed(self, size_bytes: int) -> None:
        """Make room for large results."""
        self._feed.consumed(size_bytes)

    def abandon(self, reason: str) -> None:
        """Stop the job: nobody reads on."""
        self._reason = reason
        self._wake.set()
        if self._writer is not None and self._writer.opened:  # else it is stopped as soon as it is open
            self._client.start(self._stop(reason))

    def complete(self) -> None:
        """End quietly: the reader has every result."""
        if self._watch is not None:
            self._watch.close()

    def on_rows(self, ended: TasksEnded) -> None:
        """Take ended tasks. Credit goes back at once: the reader's window already bounds what can come."""
        self._ended_rows += len(ended.indices)
        if self._watch is not None:
            self._watch.consumed(len(ended.indices))
        self._feed.add(ended)

    def on_end(self, status: JobStatus) -> None:
        """The job has ended: if somebody stopped it, inputs not yet sent have no result."""
        if (
            self.inputs
            or not self.finished
            or (self._writer is not None and self._ended_rows < self._writer.total)
        ):
            self._outlet.fail(
                TaskError(
                    f"job {job_text(status.job)} {status.state.value} before every input had its result"
                    + (f": {status.reason}" if status.reason else ""),
                    job=job_text(status.job),
                )
            )

    def on_error(self, error: FarlaneError) -> None:
        """Nothing more will come."""
        self._outlet.fail(error)

    async def _guarded(self) -> None:
        try:
            await self._run()
        except FarlaneError as error:
            self._outlet.fail(error)
            await self._stop(error.message)
        except Exception as error:
            log.exception("a map failed")
            self._outlet.fail(Internal(f"the map failed inside farlane: {type(error).__name__}: {error}"))

    async def _run(self) -> None:
        await self._something()
        if self._abandoned() or not self.inputs:
            return
        writer = self._writer = self._client.writer(await self._spec())
        job = await writer.open()
        if self._abandoned():
            await self._stop(self._reason)
            return
        self._watch = self._client.session.watch(job, 0, CREDIT_ROWS, self)
        while not self._abandoned() and not writer.sealed:
            await self._send(writer)
            if not writer.sealed:
                await self._wake.wait()
                self._wake.clear()

    def _abandoned(self) -> bool:
        return bool(self._reason)

    async def _something(self) -> None:
        while not self.inputs and not self.finished and not self._abandoned():
            await self._wake.wait()
            self._wake.clear()

    async def _send(self, writer: JobWriter) -> None:
        while self.inputs and not self._abandoned() and (not self._adding or self._full_batch()):
            batch = self._take()
            size = sum(map(len, batch))
            column = await column_of(batch, self._client.connection.put_bytes)
            seal = self.finished and not self.inputs
            self._adding += 1
            writer.add(column, seal=seal).add_done_callback(partial(self._added, size))
        if self.finished and not self.inputs and not writer.sealed and not self._abandoned():
            writer.seal()

    def _full_batch(self) -> bool:
        if self.finished or len(self.inputs) >= MAX_ROWS:
            return True
        # A list first: the reader's thread may append while this counts.
        return sum(map(inline_bytes, list(self.inputs))) >= MAX_BYTES

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        room = MAX_BYTES
        while self.inputs and len(batch) < MAX_ROWS:
            room -= inline_bytes(self.inputs[0])
            if room < 0 and batch:
                break
            batch.append(self.inputs.popleft())
        return batch

    def _added(self, size: int, reply: asyncio.Future[client_pb2.ClientReply]) -> None:
        self._adding -= 1
        if reply.cancelled():
            return
        error = reply.exception()
        if error is None:
            self._outlet.acknowledge(size)
        else:
            self._outlet.fail(error)
        self._wake.set()

    async def _stop(self, reason: str) -> None:
        if self._watch is not None:
            self._watch.close()
        if self._writer is None or not self._writer.opened or self._client.session.failure is not None:
            return
        try:
            await JobHandle(self._client, self._writer.job).stop(reason)
        except FarlaneError as error:
            log.warning("job %s could not be stopped: %s", job_text(self._writer.job), error)
