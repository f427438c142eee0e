"""The client's session stream: jobs opened, tasks added in columns, results streamed with credit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec
from farlane.domain.records import TasksEnded
from farlane.errors import FarlaneError, InvalidInput
from farlane.hub.hub import Hub
from farlane.hub.intake import stamp
from farlane.hub.reactor.state import Job
from farlane.hub.status import ended_status, open_status
from farlane.hub.watches import Watch
from farlane.kit.tasks import TaskSupervisor
from farlane.wire import limits
from farlane.wire.columns import column_from_wire
from farlane.wire.jobs import job_spec_from_wire
from farlane.wire.outbox import Outbox
from farlane.wire.results import tasks_ended_to_wire
from farlane.wire.serving import Identity
from farlane.wire.status import error_to_wire
from farlane.wire.stream import pump, received
from farlane.wire.v1 import client_pb2
from farlane.wire.versions import check_peer, this_version

MAX_ROWS = 4096
MAX_CREDIT = 1 << 20
MAX_WATCHES = 10_000
MAX_KEY_CHARS = 200
HELLO_S = 15.0
"""How long a client may take to say hello."""
DOING = "serving a client"

Requests = AsyncIterator[client_pb2.ClientMessage]
Context = grpc.aio.ServicerContext[client_pb2.ClientMessage, client_pb2.ClientReply]


class ClientSession:
    """One publisher's open stream.

    Its client reads as it likes: while more waits for it than the outbox's budget, nothing more is read from it and
    no results are sent; a client that takes nothing at all is given up.
    """

    def __init__(self, hub: Hub, identity: Identity, tasks: TaskSupervisor) -> None:
        self.outbox: Outbox[client_pb2.ClientReply] = Outbox(size_of=client_pb2.ClientReply.ByteSize)
        self._hub, self._identity, self._tasks = hub, identity, tasks
        self._error: FarlaneError | None = None
        self._watches: dict[JobId, tuple[Watch, asyncio.Task[None]]] = {}
        self._handlers: dict[str, Callable[[client_pb2.ClientMessage], None]] = {
            "hello": self._hello, "open": self._open, "add": self._add, "seal": self._seal,
            "watch": self._watch, "credit": self._credit, "unwatch": self._unwatch,
        }  # fmt: skip

    async def run(self, requests: Requests, context: Context) -> None:
        """Serve until either side ends the stream.

        Raises:
            ConnectionLost: the client went away, or reads nothing.
            FarlaneError: why the stream ends, to be told to the client.
        """
        self._tasks.start(self._read_until_end(requests), "client stream reader")
        self._hub.sessions.clients.add(self.outbox.close)
        try:
            await pump(self.outbox, context, iter, doing=DOING)
        finally:
            self._hub.sessions.clients.discard(self.outbox.close)
            for job in list(self._watches):
                self._drop_watch(job)
        if self._error is not None:
            raise self._error
        self._hub.engine.check()

    async def _read_until_end(self, requests: Requests) -> None:
        try:
            await self._read(requests)
        except FarlaneError as error:
            self._error = error
        finally:
            self.outbox.close()

    async def _read(self, requests: Requests) -> None:
        async for message in received(requests, doing=DOING, silence_s=HELLO_S):
            if message.WhichOneof("kind") != "hello":
                raise InvalidInput(
                    "the first message of a client's stream must be its hello; upgrade the client"
                )
            self._hello(message)
            break
        async for message in received(requests, doing=DOING):
            if not await self.outbox.room():
                return
            kind = message.WhichOneof("kind")
            try:
                if kind is None:
                    raise InvalidInput("an empty or unknown message; upgrade the client or the hub")
                self._handlers[kind](message)
            except FarlaneError as error:
                if self._hub.engine.failure is not None:
                    raise
                self._reply(client_pb2.ClientReply(request=message.request, error=error_to_wire(error)))

    def _hello(self, message: client_pb2.ClientMessage) -> None:
        check_peer(message.hello.version)
        who = self._identity
        welcome = client_pb2.ClientWelcome(
            version=this_version(), network=self._hub.store.network, organisation=who.organisation,
            publisher=who.publisher,
        )  # fmt: skip
        self._reply(client_pb2.ClientReply(request=message.request, welcome=welcome))

    def _open(self, message: client_pb2.ClientMessage) -> None:
        key = limits.text("the idempotency key of a submit", message.open.key, MAX_KEY_CHARS, required=True)
        spec = stamp(
            job_spec_from_wire(message.open.spec), self._identity.organisation, self._identity.publisher
        )
        job, total, existed = self._hub.open_job(key, spec, message.open.tasks)
        opened = client_pb2.JobOpenedReply(job=job, tasks=total, existed=existed)
        self._when_safe(client_pb2.ClientReply(request=message.request, opened=opened), spec)

    def _add(self, message: client_pb2.ClientMessage) -> None:
        add = message.add
        payloads = column_from_wire(add.payloads, MAX_ROWS)
        job = JobId(add.job)
        total = self._hub.add_tasks(job, add.first, payloads, self._identity.publisher, seal=add.seal)
        added = client_pb2.TasksAddedReply(job=job, total=total)
        self._when_safe(client_pb2.ClientReply(request=message.request, added=added), self._spec(job))

    def _seal(self, message: client_pb2.ClientMessage) -> None:
        job = JobId(message.seal.job)
        spec = self._spec(job)
        total = self._hub.seal_job(job, self._identity.publisher)
        sealed = client_pb2.JobSealedReply(job=job, total=total)
        self._when_safe(client_pb2.ClientReply(request=message.request, sealed=sealed), spec)

    def _watch(self, message: client_pb2.ClientMessage) -> None:
        asked = message.watch
        job = JobId(asked.job)
        self._hub.find_job(job, self._identity.publisher)
        self._drop_watch(job)
        if len(self._watches) >= MAX_WATCHES:
            raise InvalidInput(
                f"one stream may watch at most {MAX_WATCHES} jobs; end some or open another client"
            )
        send = self._result_sender(message.request)
        watch = Watch(job, asked.after, min(asked.credit, MAX_CREDIT), send, self.outbox)
        if job in self._hub.sessions.visible:
            self._hub.sessions.watch(watch)
        else:
            watch.finish(lambda: None)
        task = self._tasks.start(self._stream_results(watch, message.request), f"watch j{job}")
        self._watches[job] = watch, task

    async def _stream_results(self, watch: Watch, request: int) -> None:
        sessions = self._hub.sessions
        try:
            await watch.pump(self._hub.store, lambda: sessions.visible.get(watch.job))
            found = self._hub.find_job(watch.job, self._identity.publisher)
            status = open_status(found) if isinstance(found, Job) else ended_status(found)
            self._reply(client_pb2.ClientReply(request=request, ended=status))
        except FarlaneError as error:
            self._reply(client_pb2.ClientReply(request=request, error=error_to_wire(error)))
        finally:
            sessions.unwatch(watch)
        if watch.job in self._watches and self._watches[watch.job][0] is watch:
            del self._watches[watch.job]

    def _credit(self, message: client_pb2.ClientMessage) -> None:
        watching = self._watches.get(JobId(message.credit.job))
        if watching is not None:
            watching[0].add_credit(min(message.credit.more, MAX_CREDIT))

    def _unwatch(self, message: client_pb2.ClientMessage) -> None:
        self._drop_watch(JobId(message.unwatch.job))

    def _drop_watch(self, job: JobId) -> None:
        watching = self._watches.pop(job, None)
        if watching is not None:
            self._hub.sessions.unwatch(watching[0])
            watching[1].cancel()

    def _result_sender(self, request: int) -> Callable[[TasksEnded], None]:
        def send(record: TasksEnded) -> None:
            self._reply(client_pb2.ClientReply(request=request, results=tasks_ended_to_wire(record)))

        return send

    def _when_safe(self, reply: client_pb2.ClientReply, spec: JobSpec | None) -> None:
        relaxed = spec is not None and spec.durability == "relaxed"
        self._hub.engine.after(lambda: self._reply(reply), relaxed=relaxed)

    def _spec(self, job: JobId) -> JobSpec | None:
        found = self._hub.reactor.state.jobs.get(job)
        return None if found is None else found.spec

    def _reply(self, reply: client_pb2.ClientReply) -> None:
        self.outbox.put(reply)
