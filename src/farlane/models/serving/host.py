"""One loaded model and everybody who asks it: admission, batches, streams, deadlines, drain."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceReply,
    InferenceRequest,
    TensorsReply,
)
from farlane.errors import DeadlineExceeded, Exhausted, FarlaneError, Internal, Unavailable
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.models.serving.admission import admitted
from farlane.models.serving.batching import Batchable, BatchQueue, Waiting, batch_key, join, rows_of, split
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.runtime import Runtime
from farlane.models.serving.statistics import Counters, ReplicaStatistics

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A request for arrays or vectors between its arrival and its answer."""

    request: Batchable
    answer: asyncio.Future[TensorsReply | EmbedReply]
    rows: int


@dataclass(slots=True, eq=False)
class _Stream:
    """A generation that a thread runs: its pieces, and the way to end it early."""

    pieces: asyncio.Queue[GeneratePiece | BaseException | None] = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)


class ModelHost:
    """Owner of a runtime, entered with `async with`; leaving it ends what runs and closes the runtime.

    Args:
        runtime: the loaded model.
        limits: caps of this replica.
        clock: for delays and latencies.
        streams: generations that run at the same time.
    """

    def __init__(self, runtime: Runtime, limits: ServingLimits, clock: Clock, *, streams: int = 2) -> None:
        self.description = runtime.describe()
        self._runtime = runtime
        self._limits = limits
        self._clock = clock
        self._counters = Counters()
        self._queue = BatchQueue(limits.max_batch, limits.max_delay_s)
        self._calls: dict[int, _Call] = {}
        self._tickets = itertools.count()
        self._arrived = asyncio.Event()
        self._slots = asyncio.Semaphore(streams)
        self._queued_streams = 0
        self._running = 0
        self._open = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._streams: set[_Stream] = set()
        self._threads = ThreadPoolExecutor(streams + 1, thread_name_prefix="model")
        self._tasks = TaskSupervisor("model host")

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start(self._run_batches(), "batches")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draining = True
        for stream in self._streams:
            stream.cancelled.set()
        try:
            await self._tasks.__aexit__(kind, error, trace)
        finally:
            await asyncio.to_thread(self._threads.shutdown)
            self._runtime.close()

    def statistics(self) -> ReplicaStatistics:
        """Return counts and what waits and runs now."""
        queued = len(self._queue) + self._queued_streams
        return self._counters.read(queued=queued, running=self._running, draining=self._draining)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    async def drain(self) -> None:
        """Refuse new requests and wait until those that are here have their answers."""
        self._draining = True
        await self._idle.wait()

    async def answer(self, request: InferenceRequest, deadline_s: float) -> AsyncGenerator[InferenceReply]:
        """Yield the reply, or the pieces of a generation; closing the iterator early frees what it holds.

        Args:
            request: the question.
            deadline_s: seconds from now.

        Raises:
            InvalidInput: the model cannot answer that.
            Exhausted: too many requests wait, or one is beyond a limit.
            Unavailable: the replica drains.
            DeadlineExceeded: the answer was not complete in time.
        """
        begun_s = self._clock.monotonic()
        request = self._admit(request)
        limit_s = min(deadline_s, self._limits.deadline_s)
        end_s = asyncio.get_running_loop().time() + limit_s
        self._enter()
        try:
            if isinstance(request, GenerateRequest):
                async with contextlib.aclosing(self._generate(request, end_s)) as pieces:
                    async for piece in pieces:
                        yield piece
            else:
                async with asyncio.timeout_at(end_s):
                    reply = await self._batched(request)
                yield reply
            self._counters.answer(self._clock.monotonic() - begun_s)
        except TimeoutError as error:
            self._counters.failed += 1
            raise DeadlineExceeded(
                f"the model did not finish within {limit_s:g} s; ask for less, or give more time",
                deadline_s=limit_s,
            ) from error
        except (GeneratorExit, asyncio.CancelledError):
            self._counters.cancelled += 1
            raise
        except FarlaneError:
            self._counters.failed += 1
            raise
        finally:
            self._leave()

    def _admit(self, request: InferenceRequest) -> InferenceRequest:
        if self._draining:
            self._counters.refused += 1
            raise Unavailable("this replica is being drained and takes no new requests; ask another")
        waiting = len(self._queue) + self._queued_streams
        if waiting >= self._limits.queue:
            self._counters.refused += 1
            raise Exhausted(
                f"{waiting} requests wait for this replica, as many as it lets wait; try again later or "
                "deploy more replicas",
                waiting=waiting,
                limit=self._limits.queue,
            )
        try:
            return admitted(request, self._limits)
        except FarlaneError:
            self._counters.refused += 1
            raise

    def _enter(self) -> None:
        self._open += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._open -= 1
        if not self._open:
            self._idle.set()

    # Arrays and vectors: one batch at a time, the next gathers meanwhile.

    async def _batched(self, request: Batchable) -> TensorsReply | EmbedReply:
        ticket, rows = next(self._tickets), rows_of(request)
        answer: asyncio.Future[TensorsReply | EmbedReply] = asyncio.get_running_loop().create_future()
        self._calls[ticket] = _Call(request, answer, rows)
        key = batch_key(request, self.description.max_batch)
        self._queue.add(Waiting(ticket, key, rows, self._clock.monotonic()))
        self._arrived.set()
        try:
            return await answer
        finally:
            self._queue.remove(ticket)
            self._calls.pop(ticket, None)

    async def _run_batches(self) -> None:
        while True:
            self._arrived.clear()
            tickets = self._queue.take(self._clock.monotonic())
            if tickets:
                await self._run_batch([self._calls[ticket] for ticket in tickets])
                continue
            due_s = self._queue.due_s()
            pause_s = None if due_s is None else max(0.0, due_s - self._clock.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._arrived.wait()

    async def _run_batch(self, calls: list[_Call]) -> None:
        self._running += len(calls)
        try:
            replies = await self._in_thread(lambda: self._compute(calls))
        except FarlaneError as error:
            if len(calls) > 1:  # one bad request must not fail its neighbours
                self._running -= len(calls)
                for call in calls:
                    await self._run_batch([call])
                self._running += len(calls)
                return
            _fail(calls[0], error)
            return
        finally:
            self._running -= len(calls)
        self._counters.batches += 1
        self._counters.batched_requests += len(calls)
        for call, reply in zip(calls, replies, strict=True):
            if isinstance(reply, EmbedReply):
                self._counters.prompt_tokens += reply.prompt_tokens
            if not call.answer.done():
                call.answer.set_result(reply)

    def _compute(self, calls: list[_Call]) -> list[TensorsReply | EmbedReply]:
        joined = join([call.request for call in calls])
        reply: TensorsReply | EmbedReply
        if isinstance(joined, EmbedRequest):
            reply = self._runtime.embed(joined)
        else:
            reply = self._runtime.tensors(joined)
        return split(reply, [call.rows for call in calls])

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread to its end, even where whoever waits is cancelled."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, _guarded, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    # Generations: as many at a time as there are slots.

    async def _generate(self, request: GenerateRequest, end_s: float) -> AsyncGenerator[GeneratePiece]:
        stream = await self._begin(request, end_s)
        try:
            while True:
                async with asyncio.timeout_at(end_s):
                    piece = await stream.pieces.get()
                if piece is None:
                    return
                if isinstance(piece, BaseException):
                    raise piece
                if piece.finish is not None:
                    self._counters.prompt_tokens += piece.prompt_tokens
                    self._counters.completion_tokens += piece.completion_tokens
                yield piece
        finally:
            stream.cancelled.set()

    async def _begin(self, request: GenerateRequest, end_s: float) -> _Stream:
        """Wait for a slot and start a thread; the slot is free again when the thread has ended."""
        self._queued_streams += 1
        try:
            async with asyncio.timeout_at(end_s):
                await self._slots.acquire()
        finally:
            self._queued_streams -= 1
        stream = _Stream()
        self._running += 1
        self._streams.add(stream)
        loop = asyncio.get_running_loop()
        thread = loop.run_in_executor(self._threads, self._write, request, stream, loop)
        thread.add_done_callback(lambda _: self._free(stream))
        return stream

    def _free(self, stream: _Stream) -> None:
        self._streams.discard(stream)
        self._running -= 1
        self._slots.release()

    def _write(self, request: GenerateRequest, stream: _Stream, loop: asyncio.AbstractEventLoop) -> None:
        """Run a generation in this thread and hand its pieces to the loop."""

        def hand_over(piece: GeneratePiece | BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(stream.pieces.put_nowait, piece)

        try:
            for piece in self._runtime.generate(request, stream.cancelled.is_set):
                hand_over(piece)
            hand_over(None)
        except Exception as error:
            hand_over(as_farlane_error(error))


def _fail(call: _Call, error: FarlaneError) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)


def _guarded(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        raise as_farlane_error(error) from error


def as_farlane_error(error: Exception) -> FarlaneError:
    """Return an error of the tree for whatever a runtime's library raised."""
    if isinstance(error, FarlaneError):
        return error
    if isinstance(error, MemoryError):
        return Exhausted(
            "the model needs more memory for this request than its replica has; ask for less at a time, or "
            "raise the deployment's memory"
        )
    log.error("the model's runtime failed", exc_info=error)
    return Internal(
        f"the model's runtime failed: {type(error).__name__}: {error}. Its log has the traceback",
        error=type(error).__name__,
    )
