"""The asyncio client: one stream for work and results, plain calls for the rest."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sized
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import BlobRef, InputFile, JobSpec
from farlane.domain.records import TasksEnded
from farlane.errors import Conflict, ConnectionLost, FarlaneError, InvalidInput, InvalidJob
from farlane.kit.hashing import sha256
from farlane.kit.tasks import TaskSupervisor
from farlane.sdk.batches import PARALLEL_BLOBS, batches, column_of
from farlane.sdk.connection import Connection
from farlane.sdk.context import Endpoint, current_endpoint
from farlane.sdk.job_file import JobFile, load_job_file
from farlane.sdk.job_writer import JobWriter
from farlane.sdk.jobs import JobHandle
from farlane.sdk.local_files import LocalFile
from farlane.sdk.outcomes import Trust, trust_own_organisation
from farlane.sdk.session import Session
from farlane.sdk.values import (
    BackupFile,
    JobStatus,
    NodeStatus,
    Quote,
    job_status_from_wire,
    node_status_from_wire,
    quote_from_wire,
)
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.results import tasks_ended_from_wire
from farlane.wire.tokens import parse_token
from farlane.wire.v1 import client_pb2

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
PATIENCE_S = 600.0
CLOSE_TIMEOUT_S = 5.0
BACKUP_TIMEOUT_S = 600.0
MAX_ADDS_IN_FLIGHT = 16


class AsyncClient:
    """A client of one network, open inside `async with`.

    It reconnects by itself: submits and watches in progress go on as if nothing had happened.

    Args:
        url: the hub, `https://host:port`; with `token` None the current network (see `farlane.sdk.context`).
        token: the client token, as `farlane token` prints it on the hub's machine.
        trust: whether results of a node may be unpickled in this process.
        connect_timeout_s: how long opening may take.
        patience_s: how long to go on without a connection before everything in progress fails.
        random: seeded source of jitter.

    Raises:
        NotFound: no network was named and there is none here.
        InvalidToken: the token is not one.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        trust: Trust = trust_own_organisation,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        random: Random | None = None,
    ) -> None:
        self.endpoint = _endpoint(url, token)
        self._token = parse_token(self.endpoint.token)
        self.trust = trust
        self.random = random or Random()
        self._connect_timeout_s = connect_timeout_s
        self._patience_s = patience_s
        self._stack = contextlib.AsyncExitStack()
        self._tasks: TaskSupervisor | None = None
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._blobs: dict[bytes, asyncio.Future[BlobRef]] = {}
        self._closers: list[Callable[[], Awaitable[None]]] = []

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            Unavailable: no hub answers.
            Unauthenticated: the hub does not know the token (`WrongHub`: it is another hub).
            UnsupportedVersion: the hub speaks another version.
        """
        self._connection = Connection(self.endpoint.url, self._token, self.random)
        self._session = Session(self._connection.renew, self.random, self._patience_s)
        self._stack.push_async_callback(self._connection.close)
        self._tasks = await self._stack.enter_async_context(TaskSupervisor("client"))
        self._tasks.start(self._session.run(self._tasks), "session")
        try:
            await self._session.ready(self._connect_timeout_s)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what waits (for at most 5 s), then close; jobs go on."""
        try:
            if not isinstance(error, asyncio.CancelledError):
                await self._settle()
        finally:
            self.session.fail(ConnectionLost("the client was closed; what was submitted goes on without it"))
            await self._stack.__aexit__(kind, error, traceback)

    @property
    def session(self) -> Session:
        """The stream.

        Raises:
            Conflict: the client is not open.
        """
        if self._session is None:
            raise Conflict("this client is not open: use it inside `async with`")
        return self._session

    @property
    def connection(self) -> Connection:
        """Plain calls and blobs.

        Raises:
            Conflict: the client is not open.
        """
        if self._connection is None:
            raise Conflict("this client is not open: use it inside `async with`")
        return self._connection

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something for as long as the client is open."""
        if self._tasks is None:
            work.close()
            raise Conflict("this client is not open: use it inside `async with`")
        return self._tasks.start(work, "client work", optional=True)

    def before_closing(self, work: Callable[[], Awaitable[None]]) -> None:
        """Have `work` awaited when the client closes, before the connection does."""
        self._closers.append(work)

    async def put_once(self, data: bytes) -> BlobRef:
        """Put bytes on the hub, once for this client however often it is asked."""
        digest = sha256(data)
        known = self._blobs.get(digest)
        if known is not None and not (known.done() and known.exception() is not None):
            return await asyncio.shield(known)
        sending = self._blobs[digest] = asyncio.get_running_loop().create_future()
        self.start(self._put_into(sending, data))
        return await asyncio.shield(sending)

    def writer(self, spec: JobSpec, key: str | None = None) -> JobWriter:
        """Return a writer for a new job; nothing is sent yet."""
        return JobWriter(self.session, spec, key)

    async def submit(
        self, spec: JobSpec, payloads: Iterable[bytes], *, key: str | None = None, tasks: int = 0
    ) -> JobHandle:
        """Open a job, add every task and seal it.

        Args:
            spec: what to run; its blobs are on the hub already.
            payloads: one per task; a generator is read as the hub takes them.
            key: idempotency key, to submit again after a crash without doing it twice.
            tasks: how many there are, where a generator cannot tell.

        Raises:
            InvalidJob: the hub refuses it.
            IdempotencyMismatch: the key belongs to another job.
            QuotaReached: so many more tasks may not be open; nothing was submitted, if it was said how many.
        """
        writer = self.writer(spec, key)
        job = await writer.open(len(payloads) if isinstance(payloads, Sized) else tasks)
        waiting: list[asyncio.Future[Any]] = []
        for batch in batches(payloads):
            waiting.append(writer.add(await column_of(batch, self.connection.put_bytes)))
            if len(waiting) >= MAX_ADDS_IN_FLIGHT:
                await waiting.pop(0)
        waiting.append(writer.seal())
        for reply in waiting:
            await reply
        return JobHandle(self, job)

    async def submit_file(self, job_file: JobFile | Path, *, key: str | None = None) -> JobHandle:
        """Send a job file's inputs, then submit its tasks.

        Raises:
            NotFound: there is no such file.
            InvalidJob: something in it is wrong, or an input file changed meanwhile.
        """
        checked = load_job_file(job_file, time.time()) if isinstance(job_file, Path) else job_file
        spec = await self.with_inputs(checked)
        return await self.submit(spec, (b"" for _ in range(checked.tasks)), key=key, tasks=checked.tasks)

    async def with_inputs(self, job_file: JobFile) -> JobSpec:
        """Put a job file's inputs on the hub and return its specification with them in it."""
        limit = asyncio.Semaphore(PARALLEL_BLOBS)

        async def put(file: LocalFile) -> InputFile:
            async with limit:
                try:
                    return InputFile(file.path, await self.connection.put_file(file.source))
                except OSError as error:
                    raise InvalidJob(
                        f"input {str(file.source)!r} cannot be read: {error.strerror}"
                    ) from error

        inputs = await asyncio.gather(*(put(file) for file in job_file.files))
        if job_file.spec.command is None or not inputs:
            return job_file.spec
        command = dataclasses.replace(job_file.spec.command, inputs=tuple(inputs))
        return dataclasses.replace(job_file.spec, command=command)

    def job(self, job: JobId) -> JobHandle:
        """Return a handle on a job; it is not asked for yet."""
        return JobHandle(self, job)

    async def quote(self, spec: JobSpec, tasks: int = 1, payload_bytes: int = 0) -> Quote:
        """Return what a job would cost at most, and where it could run. Nothing is submitted.

        Args:
            spec: the job.
            tasks: how many.
            payload_bytes: the largest payload.
        """
        request = client_pb2.QuoteRequest(
            spec=job_spec_to_wire(spec), tasks=tasks, payload_bytes=payload_bytes
        )
        return quote_from_wire(await self.connection.call("Quote", request, "asking for a quote"))

    async def jobs(self, limit: int = 100, *, all: bool = False, project: str = "") -> list[JobStatus]:
        """Return this publisher's newest jobs, newest first; ended ones only with `all`; of one project if named."""
        request = client_pb2.ListJobsRequest(limit=limit, all=all, project=project)
        reply = await self.connection.call("ListJobs", request, "listing jobs")
        return [job_status_from_wire(job) for job in reply.jobs]

    async def tasks(self, job: JobId, after: int = 0, limit: int = 1000) -> list[TasksEnded]:
        """Return a job's ended tasks with result cursor > `after` in batches, without their results."""
        request = client_pb2.ListTasksRequest(job=job, after=after, limit=limit)
        reply = await self.connection.call("ListTasks", request, "listing tasks")
        return [tasks_ended_from_wire(batch) for batch in reply.ended]

    async def nodes(self) -> list[NodeStatus]:
        """Return every node the hub knows."""
        reply = await self.connection.call("ListNodes", client_pb2.ListNodesRequest(), "listing nodes")
        return [node_status_from_wire(node) for node in reply.nodes]

    async def drain(self, node: NodeId, *, hand_back: bool = False) -> int:
        """Let a node take no new work; returns how many leases it still holds.

        Args:
            node: the node.
            hand_back: return running work at once rather than finish it.
        """
        request = client_pb2.DrainNodeRequest(node=node, hand_back=hand_back)
        leases: int = (await self.connection.call("DrainNode", request, f"draining node {node}")).leases
        return leases

    async def backup(self, name: str) -> BackupFile:
        """Have the hub write a consistent copy of its store on its own machine."""
        request = client_pb2.BackupRequest(name=name)
        reply = await self.connection.call(
            "Backup", request, "backing up", timeout_s=BACKUP_TIMEOUT_S, tries=1
        )
        return BackupFile(reply.path, reply.size_bytes)

    async def _put_into(self, sending: asyncio.Future[BlobRef], data: bytes) -> None:
        try:
            sending.set_result(await self.connection.put_bytes(data))
        except FarlaneError as error:
            sending.set_exception(error)
            sending.exception()  # read, so that a caller who no longer waits causes no warning
        finally:
            if not sending.done():
                sending.cancel()

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for work in self._closers:
                    await work()
                await self.session.flushed()
        except (TimeoutError, FarlaneError) as error:
            reason = str(error) or f"{CLOSE_TIMEOUT_S:g} s have passed"
            log.warning("closing before everything was acknowledged: %s", reason)


def _endpoint(url: str | None, token: str | None) -> Endpoint:
    if url is None and token is None:
        return current_endpoint()
    if not url or not token:
        raise InvalidInput(
            "a network is named by url and token together; give both, or neither for the current one"
        )
    return Endpoint(url, token)
