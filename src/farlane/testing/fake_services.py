"""The services of the fake hub: the session stream under a script, the plain calls, and blobs in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import grpc

from farlane.domain.ids import JobId
from farlane.domain.jobs import TaskState
from farlane.errors import Conflict, Corrupted, FarlaneError, IdempotencyMismatch, NotFound, Unavailable
from farlane.kit.cid import BlobHasher
from farlane.kit.tasks import TaskSupervisor
from farlane.testing.fake_jobs import NODE, FakeBlobs, FakeJob, batch_of
from farlane.wire.columns import column_from_wire
from farlane.wire.jobs import job_spec_from_wire
from farlane.wire.outbox import Outbox
from farlane.wire.results import tasks_ended_to_wire
from farlane.wire.status import abort, error_to_wire
from farlane.wire.v1 import blob_pb2, blob_pb2_grpc, client_pb2, client_pb2_grpc, types_pb2
from farlane.wire.versions import check_peer, this_version

if TYPE_CHECKING:
    from farlane.testing.fake_hub import FakeHub

Context = grpc.aio.ServicerContext[Any, Any]
MAX_ROWS = 1024
CHUNK_BYTES = 256 * 1024


class FakeStream:
    """One client's stream: answers in order, watches with credits, and cuts where the script says."""

    def __init__(self, hub: FakeHub) -> None:
        self.outbox: Outbox[client_pb2.ClientReply] = Outbox()
        self.broken = False
        self._hub = hub
        self._watches: dict[JobId, list[int]] = {}  # job -> request, cursor, credit

    def cut(self) -> None:
        """End the stream as a broken connection does: what waits is lost."""
        self.broken = True
        self.outbox.close()

    async def read(self, requests: AsyncIterator[client_pb2.ClientMessage]) -> None:
        """Take messages until the client ends the stream or the script does."""
        try:
            async for message in requests:
                self._take(message)
                if self.broken:
                    return
        finally:
            self.outbox.close()

    def advance(self, job: FakeJob) -> None:
        """Send what the watch of a job allows."""
        watch = self._watches.get(job.job)
        while watch is not None and watch[2] > 0 and watch[1] < len(job.ended) and not self.broken:
            rows = min(MAX_ROWS, watch[2], len(job.ended) - watch[1])
            allowed = self._hub.may_send(rows)
            if allowed:
                batch = batch_of(job, watch[1], job.ended[watch[1] : watch[1] + allowed], self._hub.blobs)
                self._reply(watch[0], results=tasks_ended_to_wire(batch))
                watch[1] += allowed
                watch[2] -= allowed
            if allowed < rows:
                self.cut_after_sending()
        if watch is not None and job.final and watch[1] >= len(job.ended):
            self._reply(watch[0], ended=job.status())
            del self._watches[job.job]

    def cut_after_sending(self) -> None:
        """End the stream once what waits has been sent."""
        self.outbox.close()
        self.broken = True

    def _take(self, message: client_pb2.ClientMessage) -> None:
        kind = message.WhichOneof("kind") or ""
        cut, refusal = self._hub.verdict(kind)
        if cut == "before":
            self.cut()
            return
        try:
            if refusal is not None:
                raise refusal
            reply = getattr(self, f"_on_{kind}")(getattr(message, kind), message.request)
        except FarlaneError as error:
            reply = {"error": error_to_wire(error)}
        if cut == "after":
            self.cut()
        elif reply is not None:
            self._reply(message.request, **reply)

    def _reply(self, request: int, **kind: Any) -> None:
        self.outbox.put(client_pb2.ClientReply(request=request, **kind))

    def _on_hello(self, hello: client_pb2.ClientHello, request: int) -> dict[str, Any]:
        check_peer(hello.version)
        version = this_version()
        if self._hub.version is not None:
            version.major, version.minor = self._hub.version
        return {
            "welcome": client_pb2.ClientWelcome(
                version=version, network="fake", organisation="lab", publisher="ada"
            )
        }

    def _on_open(self, opening: client_pb2.OpenJob, request: int) -> dict[str, Any]:
        spec = job_spec_from_wire(opening.spec)
        known = self._hub.job_by_key(opening.key)
        if known is not None and known.spec != spec:
            raise IdempotencyMismatch(f"key {opening.key} belongs to another job; use a new key")
        job = known or FakeJob(JobId(len(self._hub.jobs) + 1), opening.key, spec)
        self._hub.jobs[job.job] = job
        return {
            "opened": client_pb2.JobOpenedReply(
                job=job.job, tasks=len(job.payloads), existed=known is not None
            )
        }

    def _on_add(self, add: client_pb2.AddTasks, request: int) -> dict[str, Any]:
        job = self._hub.find(add.job)
        column = column_from_wire(add.payloads, MAX_ROWS)
        if add.first > len(job.payloads):
            raise Conflict(f"tasks from {add.first} were added after only {len(job.payloads)}")
        fresh = range(len(job.payloads) - add.first, len(column.inline))
        if fresh and (job.sealed or job.final):
            raise Conflict(f"job j{job.job} takes no more tasks: it is {job.state.value}")
        for row in fresh:
            blob = column.blobs.get(row)
            job.payloads.append(column.inline[row] if blob is None else self._hub.blobs.content[blob.cid])
            self._hub.runner.put(job, len(job.payloads) - 1)
        job.sealed = job.sealed or add.seal
        return {"added": client_pb2.TasksAddedReply(job=job.job, total=len(job.payloads))}

    def _on_seal(self, seal: client_pb2.SealJob, request: int) -> dict[str, Any]:
        job = self._hub.find(seal.job)
        job.sealed = True
        self._reply(request, sealed=client_pb2.JobSealedReply(job=job.job, total=len(job.payloads)))
        self._hub.advance(job)
        return {}

    def _on_watch(self, watch: client_pb2.Watch, request: int) -> None:
        job = self._hub.find(watch.job)
        after = max(0, watch.after - self._hub.repeat_rows)
        self._watches[job.job] = [request, after, watch.credit]
        self.advance(job)

    def _on_credit(self, credit: client_pb2.Credit, request: int) -> None:
        watch = self._watches.get(JobId(credit.job))
        if watch is not None:
            watch[2] += credit.more
            self.advance(self._hub.find(credit.job))

    def _on_unwatch(self, unwatch: client_pb2.Unwatch, request: int) -> None:
        self._watches.pop(JobId(unwatch.job), None)


def _answered(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(self: Any, request: Any, context: Context) -> Any:
        try:
            return await method(self, request, context)
        except FarlaneError as error:
            await abort(context, error)

    return call


class FakeClientService(client_pb2_grpc.ClientServiceServicer):
    """The plain calls, on the fake hub's jobs."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    @_answered
    async def Session(self, requests: Any, context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """Serve one stream."""
        stream = FakeStream(self._hub)
        self._hub.streams.add(stream)
        self._hub.connections += 1
        try:
            async with TaskSupervisor("fake session") as tasks:
                tasks.start(stream.read(requests), "reader", optional=True)
                while batch := await stream.outbox.drain():
                    for message in batch:
                        if message.WhichOneof("kind") is not None:
                            await context.write(message)
        finally:
            self._hub.streams.discard(stream)
        if stream.broken:
            raise Unavailable("the connection was cut")

    @_answered
    async def Quote(self, request: client_pb2.QuoteRequest, context: Context) -> Any:  # noqa: N802
        """Price every task at one nano-credit."""
        job_spec_from_wire(request.spec)
        offer = client_pb2.NodeOffer(node=NODE, name="fake", hourly=3600, eligible=True)
        return client_pb2.QuoteReply(
            upper_bound=request.tasks, attempt_upper_bound=1, eligible_nodes=1, offers=[offer]
        )

    @_answered
    async def ListJobs(self, request: client_pb2.ListJobsRequest, context: Context) -> Any:  # noqa: N802
        """List jobs, newest first."""
        jobs = [job for job in reversed(self._hub.jobs.values()) if request.all or not job.final]
        return client_pb2.ListJobsReply(jobs=[job.status() for job in jobs[: request.limit or 100]])

    @_answered
    async def GetJob(self, request: client_pb2.GetJobRequest, context: Context) -> Any:  # noqa: N802
        """Return one job's status."""
        return self._hub.find(request.job).status()

    @_answered
    async def ListTasks(self, request: client_pb2.ListTasksRequest, context: Context) -> Any:  # noqa: N802
        """List ended tasks without results."""
        job = self._hub.find(request.job)
        ended = job.ended[request.after : request.after + request.limit]
        batch = tasks_ended_to_wire(batch_of(job, request.after, ended, self._hub.blobs))
        batch.ClearField("results")
        return client_pb2.ListTasksReply(ended=[batch] if ended else [])

    @_answered
    async def Explain(self, request: client_pb2.ExplainRequest, context: Context) -> Any:  # noqa: N802
        """Say that the script holds tasks back."""
        job = self._hub.find(request.job)
        reason = client_pb2.NodeReason(node=NODE, name="fake", reason="busy")
        return client_pb2.ExplainReply(
            job=job.job, state=job.state, dominant="every node is busy", fix="wait", nodes=[reason]
        )

    @_answered
    async def ListNodes(self, request: client_pb2.ListNodesRequest, context: Context) -> Any:  # noqa: N802
        """Return the one node there is."""
        capacity = types_pb2.Capacity(cpu_milli=1000, memory_bytes=1 << 30, disk_bytes=1 << 30)
        spec = types_pb2.NodeSpec(
            node=NODE, name="fake", organisation="lab", capacity=capacity, python="3.11", platform="linux"
        )
        return client_pb2.ListNodesReply(nodes=[client_pb2.NodeStatus(spec=spec, state="online")])

    @_answered
    async def DrainNode(self, request: client_pb2.DrainNodeRequest, context: Context) -> Any:  # noqa: N802
        """Drain the one node there is."""
        if request.node != NODE:
            raise NotFound(f"node {request.node!r} is not known here; `farlane nodes` lists them")
        return client_pb2.DrainNodeReply(leases=0)

    @_answered
    async def StopJob(self, request: client_pb2.StopJobRequest, context: Context) -> Any:  # noqa: N802
        """Stop a job."""
        job = self._hub.find(request.job)
        self._hub.stop_job(job, request.reason)
        return job.status()

    @_answered
    async def RetryJob(self, request: client_pb2.RetryJobRequest, context: Context) -> Any:  # noqa: N802
        """Run a job's failed and stopped tasks again."""
        job = self._hub.find(request.job)
        again = [end.index for end in job.ended if end.state is not TaskState.DONE]
        job.ended = [end for end in job.ended if end.state is TaskState.DONE]
        job.stopped = ""
        job.retries += 1
        for index in again:
            self._hub.runner.put(job, index)
        return job.status()

    @_answered
    async def FollowLogs(  # type: ignore[override]  # noqa: N802
        self, request: client_pb2.FollowLogsRequest, context: Context
    ) -> None:
        """Send what was printed so far."""
        for line in self._hub.find(request.job).log:
            if not request.HasField("index") or line.task & 0xFFFFFF == request.index:
                await context.write(line)

    @_answered
    async def GetDeciding(self, request: client_pb2.GetDecidingRequest, context: Context) -> Any:  # noqa: N802
        """Say that a rule decides."""
        return client_pb2.DecidingStatus(rule="fifo", why="rule")

    @_answered
    async def Backup(self, request: client_pb2.BackupRequest, context: Context) -> Any:  # noqa: N802
        """Pretend: there is no store to copy."""
        return client_pb2.BackupReply(path=f"/backups/{request.name}", size_bytes=0)


class FakeBlobService(blob_pb2_grpc.BlobServiceServicer):
    """Blobs in memory, verified like real ones."""

    def __init__(self, blobs: FakeBlobs) -> None:
        self._blobs = blobs

    async def Put(self, requests: AsyncIterator[blob_pb2.BlobChunk], context: Context) -> Any:  # noqa: N802
        """Take one blob."""
        ref, parts, hasher = None, [], BlobHasher()
        async for chunk in requests:
            ref = ref or chunk.blob
            parts.append(chunk.data)
            hasher.update(chunk.data)
        if ref is None or hasher.cid() != ref.cid:
            await abort(context, Corrupted("the blob is not what its CID says; send it again"))
        self._blobs.puts += 1
        return self._blobs_to_wire(b"".join(parts))

    async def Get(self, request: types_pb2.BlobRef, context: Context) -> Any:  # noqa: N802
        """Send one blob in chunks."""
        data = self._blobs.content.get(request.cid)
        if data is None:
            await abort(context, NotFound(f"blob {request.cid} is not here"))
        for first in range(0, len(data), CHUNK_BYTES):
            yield blob_pb2.BlobChunk(data=data[first : first + CHUNK_BYTES])

    async def Has(self, request: blob_pb2.HasRequest, context: Context) -> Any:  # noqa: N802
        """Tell which blobs are here."""
        return blob_pb2.HasReply(present=[cid in self._blobs.content for cid in request.cids])

    def _blobs_to_wire(self, data: bytes) -> types_pb2.BlobRef:
        ref = self._blobs.put(data)
        return types_pb2.BlobRef(cid=ref.cid, size_bytes=ref.size_bytes)
