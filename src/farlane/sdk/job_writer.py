"""The job writer: opens one job under an idempotency key, adds tasks by position and seals it."""

from __future__ import annotations

import asyncio
import secrets

from farlane.domain.ids import MAX_TASKS_PER_JOB, JobId
from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column
from farlane.errors import InvalidJob
from farlane.sdk.session import Session
from farlane.wire.columns import column_to_wire
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.v1 import client_pb2


class JobWriter:
    """One job on its way to the hub. Every message may be sent twice: the hub takes it once.

    Args:
        session: the stream.
        spec: what to run; its blobs are on the hub already.
        key: idempotency key; the same key and specification give the same job for ever.
    """

    def __init__(self, session: Session, spec: JobSpec, key: str | None = None) -> None:
        self._session = session
        self._spec = spec
        self._key = key or secrets.token_hex(16)
        self._job: JobId | None = None
        self.total = 0
        self.sealed = False

    @property
    def opened(self) -> bool:
        """Whether the hub has the job."""
        return self._job is not None

    @property
    def job(self) -> JobId:
        """The job's id, known once it is open."""
        assert self._job is not None, "the job is not open yet"
        return self._job

    async def open(self, tasks: int = 0) -> JobId:
        """Open the job and wait for its id.

        Args:
            tasks: how many will be added, 0 where that is not known.

        Raises:
            InvalidJob: the hub refuses it.
            IdempotencyMismatch: the key belongs to another job.
            QuotaReached: so many more tasks may not be open.
        """
        message = client_pb2.OpenJob(key=self._key, spec=job_spec_to_wire(self._spec), tasks=tasks)
        reply = await self._session.request(client_pb2.ClientMessage(open=message))
        self._job = JobId(reply.opened.job)
        return self._job

    def add(self, payloads: Column, *, seal: bool = False) -> asyncio.Future[client_pb2.ClientReply]:
        """Add tasks after those added before, in one message.

        Args:
            payloads: one row a task; at most `batches.MAX_ROWS`.
            seal: no more tasks will come.

        Returns:
            Done when the hub has them, durably unless the job is relaxed.

        Raises:
            InvalidJob: more tasks than a job may have.
        """
        if self.total + len(payloads.inline) > MAX_TASKS_PER_JOB:
            raise InvalidJob(f"a job has at most {MAX_TASKS_PER_JOB} tasks; start another job for the rest")
        add = client_pb2.AddTasks(
            job=self.job, first=self.total, payloads=column_to_wire(payloads), seal=seal
        )
        reply = self._session.request(client_pb2.ClientMessage(add=add))
        self.total += len(payloads.inline)
        self.sealed = self.sealed or seal
        return reply

    def seal(self) -> asyncio.Future[client_pb2.ClientReply]:
        """Say that no more tasks will come; the job ends when all have ended."""
        self.sealed = True
        return self._session.request(client_pb2.ClientMessage(seal=client_pb2.SealJob(job=self.job)))
