"""A fake hub that speaks the real wire over real TLS, runs tasks inline and breaks where a test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId
from farlane.domain.jobs import TaskState
from farlane.errors import FarlaneError, NotFound
from farlane.kit.keys import random_secret, server_certificate
from farlane.testing.fake_jobs import Ended, FakeBlobs, FakeJob, Runner
from farlane.testing.fake_services import FakeBlobService, FakeClientService, FakeStream
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.serving import Identity, TokenAuthenticator
from farlane.wire.tokens import Token
from farlane.wire.v1 import blob_pb2_grpc, client_pb2_grpc

T = TypeVar("T")


class FakeHub:
    """One network in one thread; use it in a `with` block.

        with FakeHub() as hub, farlane.Client(hub.url, hub.token) as client:
            ...

    What it was sent is in `jobs`, `received` and `connections`. It survives `restart` with everything it knows, as
    a hub with a store does.
    """

    def __init__(self) -> None:
        self.jobs: dict[JobId, FakeJob] = {}
        self.received: list[str] = []
        """Kinds of every message of every stream, in order."""
        self.connections = 0
        self.version: tuple[int, int] | None = None
        """Answer the hello with this protocol version; None is the real one."""
        self.repeat_rows = 0
        """After a reconnection send so many rows again that the client has already."""
        self.blobs = FakeBlobs()
        self.streams: set[FakeStream] = set()
        self._breaks: dict[str, deque[str]] = {}
        self._refusals: dict[str, deque[FarlaneError]] = {}
        self._rows_until_cut: int | None = None
        self._ended: deque[tuple[FakeJob, Ended]] = deque()
        self._secret = random_secret()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-hub", daemon=True)
        self.runner = Runner(self.blobs, self._report)
        self._directory = tempfile.TemporaryDirectory()
        self._port = 0
        self._server: grpc.aio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._certificate = server_certificate(
            Path(self._directory.name) / "keys", ["127.0.0.1", "localhost"]
        )
        self._on_loop(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.close()
        self._on_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        """A client's token."""
        return Token("client", "lab", "lab/ada", self._certificate.spki_sha256, self._secret).text()

    def break_next(self, kind: str, when: str) -> None:
        """Cut the stream at the next message of a kind (`open`, `add`, `seal`, `watch`).

        Args:
            kind: of message.
            when: `before` it is taken, or `after`, so that only its reply is lost.
        """
        self._breaks.setdefault(kind, deque()).append(when)

    def refuse_next(self, kind: str, error: FarlaneError) -> None:
        """Answer the next message of a kind with an error."""
        self._refusals.setdefault(kind, deque()).append(error)

    def cut_after_rows(self, rows: int) -> None:
        """Cut the stream once, after so many rows of results more."""
        self._rows_until_cut = rows

    def cut_streams(self) -> None:
        """Cut every stream now."""
        self._on_loop(self._cut_all())

    def hold(self) -> None:
        """Let no task run until `release`."""
        self.runner.running.clear()

    def release(self) -> None:
        """Let tasks run."""
        self.runner.running.set()

    def restart(self, down_for: Callable[[], None] = lambda: None) -> None:
        """Stop listening, do something, and listen again on the same port with all that was known."""
        self._on_loop(self._stop())
        down_for()
        self._on_loop(self._start())

    def job_by_key(self, key: str) -> FakeJob | None:
        """Return the job of an idempotency key."""
        return next((job for job in self.jobs.values() if job.key == key), None)

    def find(self, job: int) -> FakeJob:
        """Return a job.

        Raises:
            NotFound: there is none of this id.
        """
        found = self.jobs.get(JobId(job))
        if found is None:
            raise NotFound(f"job j{job} is not known here; `farlane ps` lists yours")
        return found

    def stop_job(self, job: FakeJob, reason: str) -> None:
        """Stop a job and every task of it that has not ended."""
        if job.final:
            return
        job.stopped = reason or "stopped by its publisher"
        known = {end.index for end in job.ended}
        failure = Failure(FailureKind.CANCELLED, job.stopped)
        for index in range(len(job.payloads)):
            if index not in known:
                job.ended.append(Ended(index, TaskState.STOPPED, failure=failure))
        self.advance(job)

    def advance(self, job: FakeJob) -> None:
        """Send what watchers of a job may see."""
        for stream in list(self.streams):
            stream.advance(job)

    def verdict(self, kind: str) -> tuple[str, FarlaneError | None]:
        """Return what the script says of a message: where to cut, and what to refuse it with."""
        self.received.append(kind)
        cut = self._breaks.get(kind) or deque()
        refusal = self._refusals.get(kind) or deque()
        return cut.popleft() if cut else "", refusal.popleft() if refusal else None

    def may_send(self, rows: int) -> int:
        """Return how many of so many rows to send before the stream is cut; fewer means cut it then."""
        if self._rows_until_cut is None:
            return rows
        allowed = min(rows, self._rows_until_cut)
        self._rows_until_cut = None if allowed < rows else self._rows_until_cut - allowed
        return allowed

    async def _start(self) -> None:
        identity = Identity("client", "lab", "lab/ada")
        digest = hashlib.sha256(self._secret.encode()).digest()
        authenticator = TokenAuthenticator(lambda shown: identity if shown == digest else None)
        server = grpc.aio.server(interceptors=[authenticator], options=SERVER_OPTIONS)
        client_pb2_grpc.add_ClientServiceServicer_to_server(FakeClientService(self), server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(FakeBlobService(self.blobs), server)
        credentials = server_credentials(self._certificate.certificate_pem, self._certificate.key_pem)
        self._port = server.add_secure_port(f"127.0.0.1:{self._port}", credentials)
        await server.start()
        self._server = server

    async def _stop(self) -> None:
        await self._cut_all()
        if self._server is not None:
            await self._server.stop(0.2)

    async def _cut_all(self) -> None:
        for stream in list(self.streams):
            stream.cut()

    def _report(self, job: FakeJob, ended: Ended) -> None:
        """Called in the runner's thread."""
        self._ended.append((job, ended))
        if len(self._ended) == 1:
            self._loop.call_soon_threadsafe(self._take_ended)

    def _take_ended(self) -> None:
        touched = {}
        while self._ended:
            job, ended = self._ended.popleft()
            if not job.stopped:
                job.ended.append(ended)
                touched[job.job] = job
        for job in touched.values():
            self.advance(job)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
