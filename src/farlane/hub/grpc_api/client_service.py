"""ClientService: the session stream and the plain calls of publishers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, TaskId, index_of, job_text
from farlane.domain.jobs import JobState
from farlane.errors import FarlaneError, InvalidInput
from farlane.hub.explaining import explain_job
from farlane.hub.grpc_api.session import ClientSession
from farlane.hub.hub import Hub
from farlane.hub.intake import check, stamp
from farlane.hub.quoting import quote_job
from farlane.hub.reactor.state import Job
from farlane.hub.status import ended_status, node_status, open_status
from farlane.kit.tasks import TaskSupervisor
from farlane.wire.jobs import job_spec_from_wire
from farlane.wire.results import failure_to_wire, tasks_ended_to_wire
from farlane.wire.serving import current_identity
from farlane.wire.status import abort
from farlane.wire.v1 import client_pb2, client_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
HubSource = Callable[[], Hub]
Reply = TypeVar("Reply")
Service = TypeVar("Service")
Request = TypeVar("Request")
MAX_LISTED = 1000


def _answered(
    method: Callable[[Service, Request, Context], Awaitable[Reply]],
) -> Callable[[Service, Request, Context], Awaitable[Reply]]:
    """Turn an error of the tree into its status."""

    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Context) -> Reply:
        try:
            return await method(self, request, context)
        except FarlaneError as error:
            await abort(context, error)
            raise

    return call


class ClientService(client_pb2_grpc.ClientServiceServicer):
    """Serves publishers. `hub` returns the hub in force, which changes after a store failure."""

    def __init__(self, hub: HubSource) -> None:
        self._hub = hub

    @_answered
    async def Session(self, request: Any, context: Context) -> None:  # type: ignore[override]  # writes to the context
        """Run one publisher's stream."""
        hub = self._hub()
        hub.engine.check()
        async with TaskSupervisor("client session") as tasks:
            await ClientSession(hub, current_identity(), tasks).run(request, context)

    @_answered
    async def Quote(self, request: client_pb2.QuoteRequest, context: Context) -> client_pb2.QuoteReply:
        """Price a job without submitting it."""
        hub, who = self._hub(), current_identity()
        spec = stamp(job_spec_from_wire(request.spec), who.organisation, who.publisher)
        check(spec, hub.engine.now())
        return quote_job(hub.reactor.state, spec, max(1, request.tasks), request.payload_bytes)

    @_answered
    async def ListJobs(
        self, request: client_pb2.ListJobsRequest, context: Context
    ) -> client_pb2.ListJobsReply:
        """List the caller's jobs, newest first."""
        hub, who = self._hub(), current_identity()
        limit = min(request.limit or 100, MAX_LISTED)
        mine = [job for job in hub.reactor.state.jobs.values() if job.spec.publisher == who.publisher]
        found = [open_status(job) for job in sorted(mine, key=lambda job: -job.id)[:limit]]
        if request.all:
            known = {status.job for status in found}
            ended = await _in_thread(hub.store.ended_jobs, who.publisher, limit)
            found += [ended_status(job) for job in ended if job.job not in known]
        found.sort(key=lambda status: -status.job)
        return client_pb2.ListJobsReply(jobs=found[:limit])

    @_answered
    async def GetJob(self, request: client_pb2.GetJobRequest, context: Context) -> client_pb2.JobStatus:
        """Return one job's status."""
        return self._status(JobId(request.job))

    @_answered
    async def ListTasks(
        self, request: client_pb2.ListTasksRequest, context: Context
    ) -> client_pb2.ListTasksReply:
        """List ended tasks without their results."""
        hub = self._hub()
        job = JobId(request.job)
        hub.find_job(job, current_identity().publisher)
        limit = min(request.limit or 1000, 10 * MAX_LISTED)
        found = await _in_thread(hub.store.results, job, request.after, limit)
        replies = [tasks_ended_to_wire(record) for record in found]
        for reply in replies:
            reply.ClearField("results")
        return client_pb2.ListTasksReply(ended=replies)

    @_answered
    async def Explain(self, request: client_pb2.ExplainRequest, context: Context) -> client_pb2.ExplainReply:
        """Tell why a job waits, or how it ended."""
        hub, job = self._hub(), JobId(request.job)
        found = hub.find_job(job, current_identity().publisher)
        failures = await _in_thread(_first_failures, hub, job)
        if isinstance(found, Job) and not found.state.final:
            reply = explain_job(hub.reactor, found, hub.engine.policy, hub.engine.now())
        else:
            reply = client_pb2.ExplainReply(
                job=job, state=found.state, dominant=_ended_reason(found.state, found.reason)
            )
        reply.failures.extend(failure_to_wire(failure) for failure in failures)
        return reply

    @_answered
    async def ListNodes(
        self, request: client_pb2.ListNodesRequest, context: Context
    ) -> client_pb2.ListNodesReply:
        """List every node the hub has met."""
        hub = self._hub()
        state, now = hub.reactor.state, hub.engine.now()
        used = state.table.capacity - state.table.free
        rows = [
            (node, [int(value) for value in used[state.table.rows[key]]]) for key, node in state.nodes.items()
        ]
        return client_pb2.ListNodesReply(nodes=[node_status(node, row, now) for node, row in rows])

    @_answered
    async def DrainNode(
        self, request: client_pb2.DrainNodeRequest, context: Context
    ) -> client_pb2.DrainNodeReply:
        """Ask a node to finish or hand back its work and leave."""
        hub = self._hub()
        node = hub.engine.run(lambda reactor, now: reactor.drain_node(request.node, request.hand_back))
        return client_pb2.DrainNodeReply(leases=len(node.leases))

    @_answered
    async def StopJob(self, request: client_pb2.StopJobRequest, context: Context) -> client_pb2.JobStatus:
        """Stop a job; returns once that is durable."""
        hub, job = self._hub(), JobId(request.job)
        hub.stop_job(job, current_identity().publisher, request.reason or "stopped by its publisher")
        await _durable(hub)
        return self._status(job)

    @_answered
    async def RetryJob(self, request: client_pb2.RetryJobRequest, context: Context) -> client_pb2.JobStatus:
        """Run an ended job's failed tasks again; returns once that is durable."""
        hub, job = self._hub(), JobId(request.job)
        hub.retry_job(job, current_identity().publisher)
        await _durable(hub)
        return self._status(job)

    async def FollowLogs(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request: client_pb2.FollowLogsRequest, context: Context
    ) -> None:
        """Stream what a job printed, and what it prints until it ends when `follow` is set."""
        try:
            await self._follow(request, context)
        except FarlaneError as error:
            await abort(context, error)

    async def _follow(self, request: client_pb2.FollowLogsRequest, context: Context) -> None:
        hub, job = self._hub(), JobId(request.job)
        found = hub.find_job(job, current_identity().publisher)
        wanted = request.index if request.HasField("index") else None
        ended = not isinstance(found, Job) or found.state.final
        if ended or not request.follow:
            for chunk in await _in_thread(lambda: list(hub.logs.read(job))):
                if wanted in (None, index_of(chunk.task)):
                    await context.write(_line(chunk))
            return
        async for chunk in hub.logs.follow(job):
            if wanted in (None, index_of(chunk.task)):
                await context.write(_line(chunk))

    @_answered
    async def Backup(self, request: client_pb2.BackupRequest, context: Context) -> client_pb2.BackupReply:
        """Write a consistent copy of the store beside it."""
        hub = self._hub()
        if not request.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InvalidInput(
                f"{request.name!r} is not a backup name; use letters, digits, '-', '_' and '.'"
            )
        folder = hub.settings.directory / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / request.name
        await _in_thread(hub.store.backup, str(target))
        return client_pb2.BackupReply(path=str(Path(target).absolute()), size_bytes=target.stat().st_size)

    def _status(self, job: JobId) -> client_pb2.JobStatus:
        found = self._hub().find_job(job, current_identity().publisher)
        return open_status(found) if isinstance(found, Job) else ended_status(found)


def _line(chunk: Any) -> client_pb2.LogLine:
    return client_pb2.LogLine(task=chunk.task, attempt=chunk.attempt, stream=chunk.stream, data=chunk.data)


def _ended_reason(state: JobState, reason: str) -> str:
    words = {
        JobState.SUCCEEDED: "every task has succeeded",
        JobState.FAILED: "tasks have failed; see the failures below, and `farlane retry` to run them again",
        JobState.STOPPED: "the job was stopped",
    }
    return f"{words[state]}: {reason}" if reason else words[state]


def _first_failures(hub: Hub, job: JobId, most: int = 3) -> list[Failure]:
    """Return the first few failures of a job, each with its task in front of the message."""
    found: list[Failure] = []
    for record in hub.store.results(job, 0, 100_000):
        for row, failure in record.failures.items():
            task = f"{job_text(job)}.{index_of(TaskId(record.indices[row]))}"
            found.append(replace(failure, message=f"{task}: {failure.message}"))
            if len(found) == most:
                return found
    return found


async def _durable(hub: Hub) -> None:
    """Wait until everything done so far is on disk."""
    done = asyncio.Event()
    hub.engine.after(done.set)
    await done.wait()


async def _in_thread(work: Callable[..., Reply], *args: Any) -> Reply:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(work, *args))
