"""The session: one stream to the hub that reconnects, resends what was not acknowledged and resumes its watches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from random import Random
from typing import cast

import grpc

from farlane.domain.ids import JobId, job_text
from farlane.errors import (
    Conflict,
    ConnectionLost,
    DeadlineExceeded,
    FarlaneError,
    InvalidInput,
    PermissionRefused,
    Unauthenticated,
    Unavailable,
    UnsupportedVersion,
)
from farlane.kit.backoff import Backoff
from farlane.kit.tasks import TaskSupervisor
from farlane.sdk.watch import Watch, WatchSink
from farlane.wire.outbox import Outbox
from farlane.wire.status import error_from_wire
from farlane.wire.stream import check_size, pump, received
from farlane.wire.v1 import client_pb2
from farlane.wire.v1.client_pb2_grpc import ClientServiceStub
from farlane.wire.versions import check_peer, this_version

log = logging.getLogger(__name__)

HEALTHY_S = 10.0
"""A connection that lasted this long was a good one: pauses start over after it."""
DOING = "talking to the hub"
HELLO_TIMEOUT_S = 10.0
BUSY_RETRY_S = 0.5
"""Pause before a request is sent again that the hub answered with `Unavailable`."""
FATAL = (Unauthenticated, PermissionRefused, InvalidInput)
"""What a new connection would not cure."""

Dial = Callable[[], Awaitable[grpc.aio.Channel]]
Call = grpc.aio.StreamStreamCall[client_pb2.ClientMessage, client_pb2.ClientReply]
Reply = asyncio.Future[client_pb2.ClientReply]


class Session:
    """The stream and everything on it that outlives a connection.

    Every request is kept until its reply comes and is sent again on each new connection, in order: all of them are
    idempotent. A watch goes on from the last cursor that arrived.

    Args:
        dial: gives the channel for the next connection.
        random: seeded source of the backoff's jitter.
        patience_s: how long to try without a connection before everything fails. Connections that answer nothing of
            what waits, one after another, are none: a hub may let us in and refuse the same request each time.
    """

    def __init__(self, dial: Dial, random: Random, patience_s: float) -> None:
        self._dial = dial
        self._random = random
        self._patience_s = patience_s
        self._backoff = Backoff(first_s=0.05, cap_s=5.0)
        self._last_request = 0
        self._pending: dict[int, tuple[client_pb2.ClientMessage, Reply]] = {}
        self._watches: dict[JobId, Watch] = {}
        self._watch_requests: dict[int, JobId] = {}
        self._outbox: Outbox[client_pb2.ClientMessage] | None = None
        self.failure: FarlaneError | None = None
        self._last_error: FarlaneError | None = None
        self.connections = 0
        self._answers = 0
        self.welcome: asyncio.Future[client_pb2.ClientWelcome] = asyncio.get_running_loop().create_future()

    async def run(self, tasks: TaskSupervisor) -> None:
        """Keep the stream up until cancelled, or until connecting is of no use."""
        loop = asyncio.get_running_loop()
        delays = self._backoff.delays(self._random)
        lost_at, in_vain = loop.time(), False
        while self.failure is None:
            before, answers, begun = self.connections, self._answers, loop.time()
            error = await self._outcome(tasks)
            if self.connections > before:
                was_in_vain, lasted_s = in_vain, loop.time() - begun
                in_vain = bool(self._pending) and self._answers == answers and lasted_s <= HEALTHY_S
                if not (in_vain and was_in_vain):
                    lost_at = loop.time()
                # A hub that lets us in and drops us at once gets longer pauses like one that does not answer.
                if lasted_s > HEALTHY_S:
                    delays = self._backoff.delays(self._random)
                    self._last_error = None
                log.warning("connection to the hub lost, connecting again: %s", error)
            # What the hub itself has said tells more than how the next try to reach it broke off.
            if self._last_error is None or not isinstance(error, ConnectionLost):
                self._last_error = error
            if isinstance(error, FATAL):
                self.fail(error)
            elif loop.time() - lost_at > self._patience_s:
                self.fail(_given_up(self._last_error, self._patience_s, list(self._watches)))
            else:
                await asyncio.sleep(next(delays))

    async def _outcome(self, tasks: TaskSupervisor) -> FarlaneError:
        try:
            await self._serve(tasks)
        except FarlaneError as error:
            return error
        except (OSError, grpc.aio.UsageError) as error:
            return Unavailable(f"{DOING}: {error}")
        return Unavailable("the hub ended the stream")

    async def ready(self, timeout_s: float) -> client_pb2.ClientWelcome:
        """Wait for the first welcome.

        Raises:
            Unavailable: no hub answered in time; the message holds the last reason.
            FarlaneError: the hub refused.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self.welcome)
        except TimeoutError as error:
            reason = self._last_error.message if self._last_error else "no answer"
            raise Unavailable(f"no hub answered within {timeout_s:g} s: {reason}") from error

    def request(self, message: client_pb2.ClientMessage) -> Reply:
        """Send a request now, and again after each reconnection until it is answered.

        Returns:
            A future with the reply; the hub's refusal is its exception.

        Raises:
            TooLarge: the message is beyond the cap of one message.
            FarlaneError: the session has failed for good.
        """
        if self.failure is not None:
            raise self.failure
        message.request = self._next_request()
        check_size(message, DOING)
        reply: Reply = asyncio.get_running_loop().create_future()
        self._pending[message.request] = (message, reply)
        self._send(message)
        return reply

    def watch(self, job: JobId, after: int, window: int, sink: WatchSink) -> Watch:
        """Receive a job's ended tasks from cursor `after` on.

        Args:
            job: the job.
            after: result cursor already seen.
            window: how many rows the hub may send ahead of `Watch.consumed`.
            sink: is told of rows, the end, or an error.

        Raises:
            Conflict: the job is being watched through this session already.
            FarlaneError: the session has failed for good.
        """
        if self.failure is not None:
            raise self.failure
        if job in self._watches:
            raise Conflict(
                f"job {job_text(job)} is already being read through this client; read it once, or with another client",
                job=job_text(job),
            )
        watch = self._watches[job] = Watch(job, after, window, sink, self._send, self._drop_watch)
        self._send(self._watch_message(watch))
        return watch

    def fail(self, error: FarlaneError) -> None:
        """End the session for good: every request and watch fails with `error`."""
        if self.failure is not None:
            return
        self.failure = error
        if not self.welcome.done():
            self.welcome.set_exception(error)
            self.welcome.exception()  # read, so that nobody waiting is no warning
        pending, self._pending = self._pending, {}
        for _, reply in pending.values():
            _refuse(reply, error)
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.failed(error)

    async def flushed(self) -> None:
        """Wait until every request sent so far is answered or has failed."""
        replies = [reply for _, reply in self._pending.values()]
        if replies:
            await asyncio.wait(replies)

    async def _serve(self, tasks: TaskSupervisor) -> None:
        """Serve one connection until it ends."""
        call: Call = ClientServiceStub(await self._dial()).Session()
        outbox: Outbox[client_pb2.ClientMessage] = Outbox()
        hello = client_pb2.ClientHello(version=this_version())
        outbox.put(client_pb2.ClientMessage(request=self._next_request(), hello=hello))
        writer = tasks.start(_write(outbox, call), "session writer")
        try:
            async with contextlib.aclosing(_received(call)) as replies:
                self._greeted(await _first(replies))
                self._outbox = outbox
                self._resend()
                async for reply in replies:
                    self._on_reply(reply)
        finally:
            self._outbox = None
            outbox.close()
            call.cancel()
            await asyncio.wait([writer])

    def _greeted(self, reply: client_pb2.ClientReply) -> None:
        if reply.WhichOneof("kind") == "error":
            raise error_from_wire(reply.error)
        if reply.WhichOneof("kind") != "welcome":
            raise UnsupportedVersion(
                "the hub's first message is no welcome; is it farlane, and of this version?"
            )
        check_peer(reply.welcome.version)
        self.connections += 1
        if not self.welcome.done():
            self.welcome.set_result(reply.welcome)

    def _resend(self) -> None:
        self._watch_requests.clear()
        for message, _ in self._pending.values():
            self._send(message)
        for watch in self._watches.values():
            self._send(self._watch_message(watch))

    def _send(self, message: client_pb2.ClientMessage) -> None:
        if self._outbox is not None:  # otherwise the next connection sends it
            self._outbox.put(message)

    def _on_reply(self, reply: client_pb2.ClientReply) -> None:
        kind = reply.WhichOneof("kind")
        if kind == "results":
            watch = self._watches.get(JobId(reply.results.job))
            if watch is not None and not watch.on_results(reply.results):
                raise Unavailable("the hub skipped results; asking again from the last one seen")
        elif kind == "ended":
            watch = self._watches.get(JobId(reply.ended.job))
            if watch is not None:
                watch.on_ended(reply.ended)
        elif kind == "error":
            self._on_error(reply)
        elif reply.request in self._pending:
            waiting = self._answered(reply.request)
            if not waiting.done():
                waiting.set_result(reply)

    def _on_error(self, reply: client_pb2.ClientReply) -> None:
        error = error_from_wire(reply.error)
        job = self._watch_requests.get(reply.request)
        if reply.request not in self._pending:
            watch = self._watches.pop(job, None) if job is not None else None
            if watch is None:
                raise error  # about the stream as a whole
            watch.failed(error)
        elif isinstance(error, Unavailable):
            asyncio.get_running_loop().call_later(BUSY_RETRY_S, self._send_again, reply.request)
        else:
            _refuse(self._answered(reply.request), error)

    def _answered(self, request: int) -> Reply:
        self._answers += 1
        return self._pending.pop(request)[1]

    def _send_again(self, request: int) -> None:
        if request in self._pending:
            self._send(self._pending[request][0])

    def _watch_message(self, watch: Watch) -> client_pb2.ClientMessage:
        message = client_pb2.ClientMessage(request=self._next_request(), watch=watch.resume())
        self._watch_requests[message.request] = watch.job
        return message

    def _drop_watch(self, watch: Watch) -> None:
        if self._watches.get(watch.job) is watch:
            del self._watches[watch.job]

    def _next_request(self) -> int:
        self._last_request += 1
        return self._last_request


def _refuse(reply: Reply, error: FarlaneError) -> None:
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # read, so that a caller who no longer waits causes no warning


async def _write(outbox: Outbox[client_pb2.ClientMessage], call: Call) -> None:
    try:
        await pump(outbox, call, iter, doing=DOING)
    except FarlaneError as error:
        log.debug("session writer: %s", error)
    finally:
        call.cancel()  # whoever reads learns that the connection is over


def _received(call: Call) -> AsyncGenerator[client_pb2.ClientReply, None]:
    return cast("AsyncGenerator[client_pb2.ClientReply, None]", received(call, doing=DOING))


async def _first(replies: AsyncIterator[client_pb2.ClientReply]) -> client_pb2.ClientReply:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            return await anext(replies)
    except TimeoutError as error:
        raise DeadlineExceeded(
            f"the hub did not greet within {HELLO_TIMEOUT_S:g} s; it may be overloaded"
        ) from error
    except StopAsyncIteration as error:
        raise Unavailable("the hub ended the stream before its greeting") from error


def _given_up(error: FarlaneError, patience_s: float, jobs: list[JobId]) -> Unavailable:
    names = ", ".join(job_text(job) for job in jobs)
    goes_on = (
        f". What was submitted goes on without this program; read on later from {names}" if names else ""
    )
    return Unavailable(f"no connection to the hub for {patience_s:g} s: {error.message}{goes_on}")
