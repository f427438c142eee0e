"""ClientService: the session stream and the plain calls of publishers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, TaskId, index_of, job_text
from farlane.domain.jobs import JobState
from farlane.domain.records import Column, TasksEnded
from farlane.errors import ConnectionLost, FarlaneError, InvalidInput, PermissionRefused, Unavailable
from farlane.hub.deciding.standing import decider_text, deciding_status
from farlane.hub.explaining import explain_job
from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.grpc_api.session import ClientSession
from farlane.hub.hub import Hub
from farlane.hub.intake import check, stamp
from farlane.hub.log_store import LogChunk
from farlane.hub.quoting import quote_job
from farlane.hub.reactor.capped import notices
from farlane.hub.reactor.membership import find_node
from farlane.hub.reactor.state import Job
from farlane.hub.result_rows import MESSAGE_BYTES, pieces
from farlane.hub.status import ended_status, node_status, open_status, tell_capped
from farlane.kit.tasks import TaskSupervisor
from farlane.wire import limits
from farlane.wire.jobs import job_spec_from_wire
from farlane.wire.results import failure_to_wire, tasks_ended_to_wire
from farlane.wire.serving import current_identity
from farlane.wire.status import abort
from farlane.wire.stream import STALL_S
from farlane.wire.v1 import client_pb2, client_pb2_grpc

HubSource = Callable[[], Hub]
Reply = TypeVar("Reply")
MAX_LISTED = 1000
MAX_LISTED_TASKS = 10_000
MAX_REASON_CHARS = 500
MAX_BACKUP_NAME_CHARS = 100
STOPPED = "stopped by its publisher"
"""The reason of a job that was stopped without one."""
PAGE_ROWS = 1000
"""Results read from the store at once when only their failures are looked for."""

log = logging.getLogger(__name__)


class ClientService(client_pb2_grpc.ClientServiceServicer):
    """Serves publishers. `hub` returns the hub in force, which changes after a store failure."""

    def __init__(self, hub: HubSource) -> None:
        self._hub = hub

    @answered
    async def Session(self, request: Any, context: Context) -> None:  # type: ignore[override]  # writes to the context
        """Run one publisher's stream."""
        hub = self._writable()
        try:
            async with TaskSupervisor("client session") as tasks:
                await ClientSession(hub, current_identity(), tasks).run(request, context)
        except ConnectionLost as error:
            log.info("%s", error.message)  # nobody is left to be told

    @answered
    async def Quote(self, request: client_pb2.QuoteRequest, context: Context) -> client_pb2.QuoteReply:
        """Price a job without submitting it."""
        hub, who = self._writable(), current_identity()
        spec = stamp(job_spec_from_wire(request.spec), who.organisation, who.publisher)
        check(spec, hub.engine.now())
        reply = quote_job(hub.reactor.state, spec, max(1, request.tasks), request.payload_bytes)
        reply.custody = hub.custody(who.organisation)
        reply.notices.extend(notices(hub.reactor.state, spec))
        return reply

    @answered
    async def ListJobs(
        self, request: client_pb2.ListJobsRequest, context: Context
    ) -> client_pb2.ListJobsReply:
        """List the caller's jobs, newest first."""
        hub, who = self._writable(), current_identity()
        limit = min(request.limit or 100, MAX_LISTED)
        mine = [job for job in hub.reactor.state.jobs.values() if job.spec.publisher == who.publisher]
        found = [open_status(job) for job in mine]
        if request.all:
            known = {status.job for status in found}
            # Of which project a job is stands in its specification: the store cannot choose by it.
            most = MAX_LISTED if request.project else limit
            ended = await _in_thread(hub.store.ended_jobs, who.publisher, most)
            found += [ended_status(job) for job in ended if job.job not in known]
        if request.project:
            found = [status for status in found if status.project == request.project]
        found.sort(key=lambda status: -status.job)
        shown = [tell_capped(hub.reactor.state, status) for status in found[:limit]]
        await hub.engine.durable()
        return client_pb2.ListJobsReply(jobs=shown)

    @answered
    async def GetJob(self, request: client_pb2.GetJobRequest, context: Context) -> client_pb2.JobStatus:
        """Return one job's status."""
        hub = self._writable()
        status = self._status(hub, JobId(request.job))
        # What the hub knows may be ahead of what it could still prove after a crash.
        await hub.engine.durable()
        return status

    @answered
    async def ListTasks(
        self, request: client_pb2.ListTasksRequest, context: Context
    ) -> client_pb2.ListTasksReply:
        """List ended tasks without their results."""
        hub, job = self._hub(), JobId(request.job)
        hub.find_job(job, current_identity().publisher)
        limit = min(request.limit or 1000, MAX_LISTED_TASKS)
        found = await _in_thread(hub.store.results, job, request.after, limit)
        return _listed(found, request.after, limit)

    @answered
    async def Explain(self, request: client_pb2.ExplainRequest, context: Context) -> client_pb2.ExplainReply:
        """Tell why a job waits, or how it ended."""
        hub, job = self._writable(), JobId(request.job)
        found = hub.find_job(job, current_identity().publisher)
        failures = await _in_thread(_first_failures, hub, job) if found.failed + found.stopped else []
        if isinstance(found, Job) and not found.state.final:
            notices = hub.notices(found.spec.organisation)
            reply = explain_job(hub.reactor, found, hub.engine.explaining, hub.engine.now(), notices)
            reply.decider = decider_text(hub.engine.policy)
        else:
            dominant, fix = _ended_reason(found.state, found.reason)
            reply = client_pb2.ExplainReply(job=job, state=found.state, dominant=dominant, fix=fix)
        await hub.engine.durable()
        reply.failures.extend(failure_to_wire(failure) for failure in failures)
        return reply

    @answered
    async def GetDeciding(
        self, request: client_pb2.GetDecidingRequest, context: Context
    ) -> client_pb2.DecidingStatus:
        """Tell who decides where tasks go, how often and why."""
        engine = self._hub().engine
        return deciding_status(engine.policy, engine.rounds)

    @answered
    async def ListNodes(
        self, request: client_pb2.ListNodesRequest, context: Context
    ) -> client_pb2.ListNodesReply:
        """List every node the hub has met."""
        hub = self._writable()
        state, now = hub.reactor.state, hub.engine.now()
        used = state.table.capacity - state.table.free
        rows = [
            (node, [int(value) for value in used[state.table.rows[key]]]) for key, node in state.nodes.items()
        ]
        return client_pb2.ListNodesReply(nodes=[node_status(node, row, now) for node, row in rows])

    @answered
    async def DrainNode(
        self, request: client_pb2.DrainNodeRequest, context: Context
    ) -> client_pb2.DrainNodeReply:
        """Ask a node to finish or hand back its work and leave."""
        hub, who = self._hub(), current_identity()
        found = find_node(hub.reactor.state, request.node).spec
        if found.organisation != who.organisation:
            raise PermissionRefused(
                f"node {found.name} belongs to {found.organisation}; only its own organisation can drain it",
                node=found.node,
            )
        node = hub.engine.run(lambda reactor, now: reactor.drain_node(found.node, request.hand_back))
        return client_pb2.DrainNodeReply(leases=len(node.leases))

    @answered
    async def StopJob(self, request: client_pb2.StopJobRequest, context: Context) -> client_pb2.JobStatus:
        """Stop a job; returns once that is durable."""
        hub, job = self._writable(), JobId(request.job)
        reason = limits.text("the reason for stopping a job", request.reason, MAX_REASON_CHARS)
        hub.stop_job(job, current_identity().publisher, reason or STOPPED)
        await hub.engine.durable()
        return self._status(hub, job)

    @answered
    async def RetryJob(self, request: client_pb2.RetryJobRequest, context: Context) -> client_pb2.JobStatus:
        """Run an ended job's failed tasks again; returns once that is durable."""
        hub, job = self._writable(), JobId(request.job)
        hub.retry_job(job, current_identity().publisher)
        await hub.engine.durable()
        return self._status(hub, job)

    async def FollowLogs(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request: client_pb2.FollowLogsRequest, context: Context
    ) -> None:
        """Stream what a job printed, and what it prints until it ends when `follow` is set."""
        try:
            async for chunk in self._log_of(request):
                await _write(context, chunk)
        except ConnectionLost as error:
            log.info("%s", error.message)
        except FarlaneError as error:
            await abort(context, error)

    async def _log_of(self, request: client_pb2.FollowLogsRequest) -> AsyncIterator[LogChunk]:
        hub, job = self._hub(), JobId(request.job)
        try:
            await hub.engine.durable()  # only then it is certain whether the job has ended
        except FarlaneError as error:
            raise Unavailable(f"the log cannot be followed for now: {error.message}") from error
        found = hub.find_job(job, current_identity().publisher)
        wanted = request.index if request.HasField("index") else None
        ended = not isinstance(found, Job) or found.state.final
        chunks = hub.logs.follow(job) if request.follow and not ended else hub.logs.read_in_turns(job)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                if wanted in (None, index_of(chunk.task)):
                    yield chunk

    @answered
    async def Backup(self, request: client_pb2.BackupRequest, context: Context) -> client_pb2.BackupReply:
        """Write a consistent copy of the store beside it."""
        hub = self._hub()
        limits.text("the name of a backup", request.name, MAX_BACKUP_NAME_CHARS, required=True)
        if not request.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InvalidInput(
                f"{request.name!r} is not a backup name; use letters, digits, '-', '_' and '.'"
            )
        folder = hub.settings.directory / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / request.name
        await _in_thread(hub.store.backup, str(target))
        return client_pb2.BackupReply(path=str(Path(target).absolute()), size_bytes=target.stat().st_size)

    def _writable(self) -> Hub:
        """Return the hub in force; one whose store has failed knows things that nobody may learn.

        Raises:
            DiskFull: the store has no room; Unavailable: it cannot be written for another reason.
        """
        hub = self._hub()
        hub.engine.check()
        return hub

    @staticmethod
    def _status(hub: Hub, job: JobId) -> client_pb2.JobStatus:
        found = hub.find_job(job, current_identity().publisher)
        if not isinstance(found, Job):
            return ended_status(found)
        return tell_capped(hub.reactor.state, open_status(found))


async def _write(context: Context, chunk: LogChunk) -> None:
    line = client_pb2.LogLine(task=chunk.task, attempt=chunk.attempt, stream=chunk.stream, data=chunk.data)
    try:
        async with asyncio.timeout(STALL_S):
            await context.write(line)
    except TimeoutError as error:
        raise ConnectionLost(f"sending a log: its reader has taken nothing for {STALL_S:g} s") from error


def _listed(found: list[TasksEnded], after: int, limit: int) -> client_pb2.ListTasksReply:
    """Return ended tasks behind a cursor without their results, as many as were asked for and fit one message."""
    reply = client_pb2.ListTasksReply()
    for record in found:
        start = max(0, after - record.seq)
        piece = next(pieces(record, start, min(len(record.indices), start + limit), with_results=False), None)
        if piece is None:
            continue
        listed = tasks_ended_to_wire(replace(piece, results=Column([b""] * len(piece.indices))))
        listed.ClearField("results")
        if reply.ended and reply.ByteSize() + listed.ByteSize() > 2 * MESSAGE_BYTES:
            return reply
        reply.ended.append(listed)
        limit -= len(piece.indices)
        if limit <= 0 or len(piece.indices) < len(record.indices) - start:
            return reply
    return reply


def _ended_reason(state: JobState, reason: str) -> tuple[str, str]:
    """Return why a job has ended as it has, and what would bring the rest about."""
    if state is JobState.SUCCEEDED:
        return "every task has succeeded", ""
    if state is JobState.STOPPED:
        words = "it was stopped by its publisher" if reason == STOPPED else f"it was stopped: {reason}"
        return words, "`farlane retry` runs its failed and stopped tasks"
    # A failed job has a reason of its own only where the reactor ended it early: at its deadline or budget.
    if "deadline" in reason:
        return (
            "its deadline passed before all tasks had ended; those that had not have failed",
            "submit what is left as a new job with a later deadline; a retry would meet the same one",
        )
    if "budget" in reason:
        return (
            "what is left of its budget does not cover another attempt; the tasks that had not ended have failed",
            "submit what is left as a new job with a larger budget, or with less CPU, memory or max_duration, so that "
            "an attempt reserves less; a retry would meet the same budget",
        )
    return "tasks have failed; see the failures below", "`farlane retry` runs them again"


def _first_failures(hub: Hub, job: JobId, most: int = 3) -> list[Failure]:
    """Return the first few failures of a job, each with its task in front of the message."""
    found: list[Failure] = []
    after = 0
    while page := hub.store.results(job, after, PAGE_ROWS):
        for record in page:
            for row, failure in record.failures.items():
                task = f"{job_text(job)}.{index_of(TaskId(record.indices[row]))}"
                found.append(replace(failure, message=f"{task}: {failure.message}"))
                if len(found) == most:
                    return found
        after = page[-1].seq + len(page[-1].indices)
    return found


async def _in_thread(work: Callable[..., Reply], *args: Any) -> Reply:
    return await asyncio.get_running_loop().run_in_executor(None, functools.partial(work, *args))
