"""A scripted hub: the hub's side of nodes' streams on a real TLS server, driven line by line by a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.records import Column
from farlane.errors import FarlaneError, NotFound
from farlane.kit.cid import BlobHasher
from farlane.kit.keys import ServerCertificate, server_certificate
from farlane.wire.channel import SERVER_OPTIONS, server_credentials
from farlane.wire.columns import column_to_wire
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.limits import MAX_MESSAGE_BYTES
from farlane.wire.serving import Identity, TokenAuthenticator
from farlane.wire.status import abort
from farlane.wire.tokens import Token, secret_digest
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc, node_pb2, node_pb2_grpc, types_pb2
from farlane.wire.versions import this_version

ORGANISATION = "lab"
SECRET = "scripted-hub-secret-0123456789"
WAIT_S = 20.0
_CHUNK = 256 * 1024
Context = grpc.aio.ServicerContext[node_pb2.NodeMessage, node_pb2.NodeCommand]


class NodeStream:
    """One node's stream as the hub sees it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._received: asyncio.Queue[node_pb2.NodeMessage | None] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.close = asyncio.Event()
        self.introduced: set[JobId] = set()
        self.auto_accept = True
        """Whether results are accepted as they come."""
        self.log: dict[tuple[int, str], bytes] = {}
        """What tasks printed, by task and stream."""
        self.deaf = False
        """Whether heartbeats are not answered."""

    async def send(self, **kind: object) -> None:
        """Send one command: `send(leases=...)`."""
        await self._context.write(node_pb2.NodeCommand(**kind))  # type: ignore[arg-type]

    async def receive(self, kind: str) -> node_pb2.NodeMessage:
        """Wait for a message of one kind; others are passed over.

        Raises:
            ConnectionResetError: the stream ended first.
        """
        async with asyncio.timeout(WAIT_S):
            while (message := await self._received.get()) is not None:
                if message.WhichOneof("kind") == kind:
                    return message
        raise ConnectionResetError(f"the node's stream ended before it sent {kind!r}")

    async def next_kind(self) -> str | None:
        """Wait for the next message of any kind; None at the end of the stream."""
        async with asyncio.timeout(WAIT_S):
            message = await self._received.get()
        return None if message is None else message.WhichOneof("kind")

    async def lease(
        self,
        job: int,
        spec: JobSpec,
        payloads: Sequence[bytes] | Column,
        *,
        epoch: int = 1,
        first: int = 0,
        attempt: int = 1,
    ) -> list[TaskId]:
        """Grant leases of `first ..` of a job; the specification goes along the first time."""
        column = payloads if isinstance(payloads, Column) else Column(list(payloads))
        rows = len(column.inline)
        tasks = [task_id(JobId(job), first + row) for row in range(rows)]
        message = node_pb2.Leases(
            epoch=epoch,
            job=job,
            tasks=tasks,
            attempts=[attempt] * rows,
            copies=[0] * rows,
            payloads=column_to_wire(column),
        )
        if JobId(job) not in self.introduced:
            self.introduced.add(JobId(job))
            message.spec.CopyFrom(job_spec_to_wire(spec))
        await self.send(leases=message)
        return tasks

    async def results(self, count: int) -> dict[int, tuple[int, bytes, types_pb2.Failure | None]]:
        """Wait for this many ended attempts: task -> (state, result, failure)."""
        found: dict[int, tuple[int, bytes, types_pb2.Failure | None]] = {}
        while len(found) < count:
            ended = (await self.receive("ended")).ended
            failures = dict(zip(ended.failure_rows, ended.failures, strict=True))
            for row, task in enumerate(ended.tasks):
                found[task] = (ended.states[row], ended.results.inline[row], failures.get(row))
        return found

    async def accept(self, batch: int) -> None:
        """Acknowledge result batches up to this one."""
        await self.send(accepted=node_pb2.AttemptsAccepted(batch=batch))

    async def read(self, requests: AsyncIterator[node_pb2.NodeMessage]) -> None:
        """Take what the node sends until it ends."""
        try:
            async for message in requests:
                kind = message.WhichOneof("kind")
                if kind == "heartbeat" and not self.deaf:
                    await self.send(heartbeat=node_pb2.HeartbeatReply(sequence=message.heartbeat.sequence))
                elif kind == "log":
                    source = (message.log.task, message.log.stream)
                    self.log[source] = self.log.get(source, b"") + message.log.data
                elif kind == "ended" and self.auto_accept:
                    await self.accept(message.ended.batch)
                self._received.put_nowait(message)
        finally:
            self._received.put_nowait(None)
            self.close.set()


class ScriptedHub:
    """A hub that does what a test says.

    Args:
        certificate: its TLS key.
    """

    def __init__(self, certificate: ServerCertificate) -> None:
        self._certificate = certificate
        self._opened: asyncio.Queue[NodeStream] = asyncio.Queue()
        self._joined: asyncio.Queue[NodeStream] = asyncio.Queue()
        self._server: grpc.aio.Server | None = None
        self.port = 0
        self.epoch = 1
        self.heartbeat_s = 0.2
        self.version = this_version()
        self.refusal: FarlaneError | None = None
        """What every hello is answered with, if set."""
        self.silent = False
        """Whether hellos are not answered at all."""
        self.auto_accept = True
        """Whether results are accepted as they come, on streams from now on."""
        self.max_send_bytes = MAX_MESSAGE_BYTES
        self.blobs: dict[str, bytes] = {}
        self.gets: list[str] = []
        """Blobs that were asked for, in order."""
        self.holding: asyncio.Event | None = None
        """While set to an event that has not happened, blobs are held back."""
        self.held = 0
        """How many calls about blobs were held back."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    def token(self, secret: str = SECRET, spki: bytes | None = None) -> Token:
        """Return a join token, right unless changed."""
        return Token("node", ORGANISATION, "", spki or self._certificate.spki_sha256, secret)

    def put(self, data: bytes) -> BlobRef:
        """Keep a blob."""
        hasher = BlobHasher()
        hasher.update(data)
        self.blobs[hasher.cid()] = data
        return BlobRef(hasher.cid(), len(data))

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        identities = {secret_digest(SECRET): Identity("node", ORGANISATION, "")}
        options = dict(SERVER_OPTIONS) | {"grpc.max_send_message_length": self.max_send_bytes}
        checks = [TokenAuthenticator(identities.get)]
        server = grpc.aio.server(interceptors=checks, options=tuple(options.items()))
        node_pb2_grpc.add_NodeServiceServicer_to_server(_NodeService(self._serve), server)
        blob_pb2_grpc.add_BlobServiceServicer_to_server(_BlobService(self), server)
        keys = server_credentials(self._certificate.certificate_pem, self._certificate.key_pem)
        self.port = server.add_secure_port(f"127.0.0.1:{self.port}", keys)
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away at once, as a killed hub does."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def joined(self) -> NodeStream:
        """Wait for the next stream that is welcomed."""
        async with asyncio.timeout(WAIT_S):
            return await self._joined.get()

    async def opened(self) -> NodeStream:
        """Wait for the next stream, welcomed or not."""
        async with asyncio.timeout(WAIT_S):
            return await self._opened.get()

    async def _serve(self, requests: AsyncIterator[node_pb2.NodeMessage], context: Context) -> None:
        stream = NodeStream(context)
        stream.auto_accept = self.auto_accept
        self._opened.put_nowait(stream)
        reader = asyncio.create_task(stream.read(requests))
        try:
            if self.refusal is not None:
                await abort(context, self.refusal)
            if not self.silent:
                await stream.send(welcome=self._welcome())
                self._joined.put_nowait(stream)
            await stream.close.wait()
        finally:
            stream.ended.set()
            reader.cancel()
            await asyncio.wait([reader])

    def _welcome(self) -> node_pb2.NodeWelcome:
        return node_pb2.NodeWelcome(
            version=self.version,
            network="scripted",
            epoch=self.epoch,
            heartbeat_s=self.heartbeat_s,
            lease_s=10,
        )


@contextlib.asynccontextmanager
async def scripted_hub(directory: Path) -> AsyncIterator[ScriptedHub]:
    """Run a scripted hub whose key lies in a directory."""
    hub = ScriptedHub(server_certificate(directory, ["localhost", "127.0.0.1"]))
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()


class _NodeService(node_pb2_grpc.NodeServiceServicer):
    def __init__(self, serve: Callable[..., object]) -> None:
        self._serve = serve

    async def Link(self, request_iterator, context):  # type: ignore[no-untyped-def,override]  # noqa: N802
        await self._serve(request_iterator, context)  # type: ignore[misc]


class _BlobService(blob_pb2_grpc.BlobServiceServicer):
    def __init__(self, hub: ScriptedHub) -> None:
        self._hub = hub

    async def Put(self, request_iterator, context):  # type: ignore[no-untyped-def]  # noqa: N802
        parts = [chunk.data async for chunk in request_iterator]
        blob = self._hub.put(b"".join(parts))
        return types_pb2.BlobRef(cid=blob.cid, size_bytes=blob.size_bytes)

    async def Get(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        self._hub.gets.append(request.cid)
        await self._held()
        data = self._hub.blobs.get(request.cid)
        if data is None:
            await abort(context, NotFound(f"no blob {request.cid} here"))
        for start in range(0, len(data), _CHUNK):
            yield blob_pb2.BlobChunk(data=data[start : start + _CHUNK])

    async def Has(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        await self._held()
        return blob_pb2.HasReply(present=[cid in self._hub.blobs for cid in request.cids])

    async def _held(self) -> None:
        if self._hub.holding is not None:
            self._hub.held += 1
            await self._hub.holding.wait()
