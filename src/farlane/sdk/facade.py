"""The synchronous client: a thin façade over the asyncio one, for scripts, notebooks and the command line."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from farlane.domain.ids import JobId, NodeId, job_text, parse_job
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.records import TasksEnded
from farlane.errors import ConnectionLost, FarlaneError
from farlane.sdk.client import CLOSE_TIMEOUT_S, CONNECT_TIMEOUT_S, PATIENCE_S, AsyncClient
from farlane.sdk.context import Endpoint, current_endpoint
from farlane.sdk.job_file import JobFile
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import TaskResult, Trust, trust_own_organisation
from farlane.sdk.portal import Portal, portal
from farlane.sdk.values import BackupFile, Explanation, JobStatus, LogChunk, NodeStatus, Quote

if TYPE_CHECKING:
    from farlane.sdk.models_facade import Models

T = TypeVar("T")
_CLOSE_MARGIN_S = 2.0


class Job:
    """One job on the hub; see `farlane.sdk.jobs.JobHandle` for what each method promises."""

    def __init__(self, client: Client, job: JobId) -> None:
        self._client = client
        self.job = job

    def __repr__(self) -> str:
        return f"<job {self.id}>"

    @property
    def id(self) -> str:
        """The id as people see it: `j12`."""
        return job_text(self.job)

    @property
    def _handle(self) -> JobHandle:
        return JobHandle(self._client.aio, self.job)

    def status(self) -> JobStatus:
        """Return how the job stands."""
        return self._client.portal.run(self._handle.status())

    def results(self, after: int = 0, *, ordered: bool = False) -> Iterator[TaskResult]:
        """Yield ended tasks until the job has ended."""
        return self._client.portal.iterate(self._handle.bursts(after, ordered=ordered))

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Return the status once the job has ended."""
        return self._client.portal.run(self._handle.wait(timeout_s))

    def stop(self, reason: str = "") -> JobStatus:
        """End every task that has not ended."""
        return self._client.portal.run(self._handle.stop(reason))

    def retry(self) -> JobStatus:
        """Run the failed and stopped tasks of an ended job again."""
        return self._client.portal.run(self._handle.retry())

    def why(self) -> Explanation:
        """Return why the job stands where it stands, and what would change it."""
        return self._client.portal.run(self._handle.why())

    def tasks(self, after: int = 0, limit: int = 1000) -> list[TasksEnded]:
        """Return ended tasks in batches, without their results."""
        return self._client.portal.run(self._handle.tasks(after, limit))

    def logs(self, index: int | None = None, *, follow: bool = True) -> Iterator[LogChunk]:
        """Yield what the job's tasks wrote."""
        return self._client.portal.iterate(_one_by_one(self._handle.logs(index, follow=follow)))


class Client:
    """A client of one network, connected on construction; close it, or use it in a `with` block.

    Threads may share it. Arguments and errors are those of `farlane.sdk.client.AsyncClient`.
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
        self.portal: Portal = portal()
        self.aio = AsyncClient(
            url, token, trust=trust, connect_timeout_s=connect_timeout_s, patience_s=patience_s, random=random
        )
        """The asyncio client, which lives on the portal's loop."""
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing: asyncio.Event | None = None
        self._host_task: asyncio.Task[None] | None = None
        self.portal.host(self._host(), self.close)
        try:
            self._opened.result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the client has been closed, or failed for good."""
        return self._ended.done() or self.aio.session.failure is not None

    @property
    def models(self) -> Models:
        """The hub's models."""
        from farlane.sdk.models_facade import Models

        return Models(self)

    def close(self) -> None:
        """Send what waits, then disconnect; jobs go on."""
        self.portal.forget(self.close)
        self.portal.post(self._close_soon)
        try:
            self._ended.result(CLOSE_TIMEOUT_S + _CLOSE_MARGIN_S)
        except concurrent.futures.TimeoutError:
            return  # the thread is a daemon: it does not hold the program up

    def quote(self, spec: JobSpec, tasks: int = 1, payload_bytes: int = 0) -> Quote:
        """Return what a job would cost at most, and where it could run."""
        return self.portal.run(self.aio.quote(spec, tasks, payload_bytes))

    def submit(self, spec: JobSpec, payloads: Iterable[bytes], *, key: str | None = None) -> Job:
        """Open a job, add every task and seal it; `payloads` is read on farlane's thread."""
        return Job(self, self.portal.run(self.aio.submit(spec, payloads, key=key)).job)

    def submit_file(self, job_file: JobFile | Path, *, key: str | None = None) -> Job:
        """Send a job file's inputs, then submit its tasks."""
        return Job(self, self.portal.run(self.aio.submit_file(job_file, key=key)).job)

    def with_inputs(self, job_file: JobFile) -> JobSpec:
        """Put a job file's inputs on the hub and return its specification with them in it."""
        return self.portal.run(self.aio.with_inputs(job_file))

    def job(self, job: JobId | str) -> Job:
        """Return a handle on a job by its id, such as `j12`."""
        return Job(self, parse_job(job) if isinstance(job, str) else job)

    def jobs(self, limit: int = 100, *, all: bool = False, project: str = "") -> list[JobStatus]:
        """Return this publisher's newest jobs, newest first; ended ones only with `all`; of one project if named."""
        return self.portal.run(self.aio.jobs(limit, all=all, project=project))

    def nodes(self) -> list[NodeStatus]:
        """Return every node the hub knows."""
        return self.portal.run(self.aio.nodes())

    def drain(self, node: str, *, hand_back: bool = False) -> int:
        """Let a node take no new work; returns how many leases it still holds."""
        return self.portal.run(self.aio.drain(NodeId(node), hand_back=hand_back))

    def backup(self, name: str) -> BackupFile:
        """Have the hub write a consistent copy of its store."""
        return self.portal.run(self.aio.backup(name))

    def get_bytes(self, ref: BlobRef) -> bytes:
        """Fetch a blob, verified."""
        return self.portal.run(self.aio.connection.get_bytes(ref))

    def get_file(self, ref: BlobRef, target: Path) -> None:
        """Fetch a blob into a file, verified."""
        self.portal.run(self.aio.connection.get_file(ref, target))

    def put_bytes(self, data: bytes) -> BlobRef:
        """Put bytes on the hub as a blob, unless it has them."""
        return self.portal.run(self.aio.connection.put_bytes(data))

    async def _host(self) -> None:
        self._closing, self._host_task = asyncio.Event(), asyncio.current_task()
        try:
            async with self.aio:
                self._opened.set_result(None)
                await self._closing.wait()
        except FarlaneError as error:
            if not self._opened.done():
                self._opened.set_exception(error)
        finally:
            if not self._opened.done():
                self._opened.set_exception(ConnectionLost("the client was closed while it was connecting"))
            self._ended.set_result(None)

    def _close_soon(self) -> None:
        if self._opened.done() and self._closing is not None:
            self._closing.set()
        elif self._host_task is not None:
            self._host_task.cancel()  # it is still connecting


async def _one_by_one(items: AsyncIterator[T]) -> AsyncGenerator[list[T], None]:
    async for item in items:
        yield [item]


def connect(url: str | None = None, token: str | None = None) -> Client:
    """Connect to a network: the one named, else the current one (FARLANE_URL and FARLANE_TOKEN, or `farlane up`'s).

    Raises:
        NotFound: no network was named and there is none here.
        Unavailable: no hub answers.
        Unauthenticated: the hub does not know the token (`WrongHub`: it is another hub).
    """
    return Client(url, token)


_clients: dict[Endpoint, Client] = {}
_lock = threading.Lock()


def _forget_in_child() -> None:
    global _lock  # noqa: PLW0603 - the child's own
    _lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_forget_in_child)


def shared_client(endpoint: Endpoint | None = None) -> Client:
    """Return this process's client of a network, connected on first use and again after it was closed."""
    wanted = endpoint or current_endpoint()
    with _lock:
        known = _clients.get(wanted)
        if known is None or known.closed:
            known = _clients[wanted] = Client(wanted.url, wanted.token)
        return known
