"""The history of a network as plain lists and dicts: what the in-memory store keeps, and how it answers."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter

from farlane.domain.bookkeeping import BookOpened, LeavesBooked, VoucherSigned
from farlane.domain.ids import JobId, NodeId, job_text
from farlane.domain.jobs import TaskState
from farlane.domain.records import (
    AttemptsFailed,
    Column,
    JobEnded,
    JobOpened,
    LeasesMetered,
    NodeRegistered,
    Record,
    RunTimeLearnt,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
    WorkRecord,
    payload_sizes,
)
from farlane.domain.usage import ModelUsage
from farlane.errors import Internal, NotFound
from farlane.hub.store.book_history import BookHistory
from farlane.hub.store.port import JobSummary

_OF_TASKS = (TasksAdded, TasksLeased, TasksEnded, AttemptsFailed, LeasesMetered, TasksRequeued)


class History:
    """Records of one network, by job; positions keep their order over all jobs."""

    def __init__(self) -> None:
        self.nodes: dict[NodeId, NodeRegistered] = {}
        self.run_times: dict[str, RunTimeLearnt] = {}
        self.summaries: dict[JobId, JobSummary] = {}  # oldest end first
        self.forgotten: set[JobId] = set()
        self.keys: dict[tuple[str, str], JobId] = {}
        self._jobs: dict[JobId, list[tuple[int, WorkRecord]]] = {}
        self._opened: dict[JobId, JobOpened] = {}
        self._open: set[JobId] = set()
        self._next_pos = 1
        self.books = BookHistory()
        self.model_usage: dict[tuple[str, ...], ModelUsage] = {}

    def check(self, records: Iterable[Record]) -> None:
        """Make sure that no job and no key is opened twice.

        Raises:
            Internal: one is.
        """
        jobs, keys = set(self._opened), set(self.keys)
        for record in records:
            if isinstance(record, JobOpened):
                key = (record.spec.publisher, record.key)
                if record.job in jobs or key in keys:
                    raise Internal(
                        f"the store refused a record: {job_text(record.job)} or its key exists already"
                    )
                jobs.add(record.job)
                keys.add(key)

    def add(self, record: Record) -> None:
        """Add one record at the end."""
        pos, self._next_pos = self._next_pos, self._next_pos + 1
        if isinstance(record, NodeRegistered):
            self.nodes.pop(record.spec.node, None)
            self.nodes[record.spec.node] = record
        elif isinstance(record, RunTimeLearnt):
            self.run_times.pop(record.profile, None)
            self.run_times[record.profile] = record
        elif isinstance(record, BookOpened | LeavesBooked | VoucherSigned):
            self.books.add(record)
        elif isinstance(record, ModelUsage):
            known = self.model_usage.get(record.key)
            self.model_usage[record.key] = record if known is None else known.plus(record)
        else:
            if isinstance(record, JobOpened):
                self._opened[record.job] = record
                self.keys[record.spec.publisher, record.key] = record.job
                self._open.add(record.job)
            self._jobs.setdefault(record.job, []).append((pos, record))
            if isinstance(record, JobEnded):
                self._end(record)
            elif isinstance(record, TasksRequeued):
                self._open.add(record.job)
                self.summaries.pop(record.job, None)
                self.forgotten.discard(record.job)

    def _end(self, end: JobEnded) -> None:
        opened = self._opened[end.job]
        total = spent = lease_ms = retries = 0
        leased_at: list[float] = []
        ends: dict[int, int] = {}
        for record in self.records_of(end.job):
            if isinstance(record, TasksAdded):
                total += len(record.payloads.inline)
            elif isinstance(record, TasksLeased):
                leased_at.append(record.at)
            elif isinstance(record, AttemptsFailed):
                retries += len(record.indices)
            elif isinstance(record, TasksEnded):
                ends.update(zip(record.indices, record.states, strict=True))
            elif isinstance(record, TasksRequeued):
                for index in record.indices:
                    ends.pop(index, None)
            if isinstance(record, TasksEnded | AttemptsFailed):
                spent += sum(record.amounts)
                lease_ms += sum(record.lease_ms)
        done, failed, stopped = (
            list(ends.values()).count(state)
            for state in (TaskState.DONE, TaskState.FAILED, TaskState.STOPPED)
        )
        self._open.discard(end.job)
        self.summaries.pop(end.job, None)
        self.summaries[end.job] = JobSummary(
            end.job, opened.key, opened.spec, end.state, opened.at, min(leased_at, default=0.0), end.at, total,
            done, failed, stopped, spent, lease_ms, retries, end.reason,
        )  # fmt: skip

    def records_of(self, job: JobId) -> list[WorkRecord]:
        """Return all records of one job, in order."""
        return [record for _, record in self._jobs.get(job, ())]

    def records(self, jobs: Iterable[JobId] | None = None) -> Iterator[WorkRecord]:
        """Yield nodes, run times and the records of some jobs (None: all) in order."""
        yield from self.nodes.values()
        yield from self.run_times.values()
        histories = self._jobs.values() if jobs is None else [self._jobs[job] for job in jobs]
        for _, record in heapq.merge(*histories, key=itemgetter(0)):
            yield record

    def open_jobs(self) -> list[JobId]:
        """Return the jobs that have not ended, in order of opening."""
        return sorted(self._open)

    def opened(self, job: JobId) -> JobOpened | None:
        """Return how a job was opened."""
        return self._opened.get(job)

    def last_job(self) -> JobId:
        """Return the highest job id, 0 when there is none."""
        return max(self._opened, default=JobId(0))

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        """Return the payloads of a range of tasks.

        Raises:
            NotFound: not all of them are there.
        """
        found = Column([], {})
        for batch in self.records_of(job):
            if isinstance(batch, TasksAdded):
                _pick(found, batch, first, count)
        if len(found.inline) != count:
            raise NotFound(
                f"{job_text(job)} has no payloads {first} to {first + count - 1} in the store", job=job
            )
        return found

    def results(self, job: JobId, after: int, limit: int) -> list[TasksEnded]:
        """Return whole ended records beyond a cursor, of about `limit` tasks."""
        found: list[TasksEnded] = []
        for record in self.records_of(job):
            if limit > 0 and isinstance(record, TasksEnded) and record.seq + len(record.indices) > after:
                found.append(record)
                limit -= len(record.indices)
        return found

    def forget(self, ended_before: float) -> int:
        """Drop the task records of jobs that ended before a time; returns how many jobs."""
        ended = [
            job
            for job, summary in self.summaries.items()
            if summary.ended_at < ended_before and job not in self.forgotten
        ]
        for job in ended:
            self._jobs[job] = [entry for entry in self._jobs[job] if not isinstance(entry[1], _OF_TASKS)]
        self.forgotten.update(ended)
        return len(ended)


def blank(record: WorkRecord) -> WorkRecord:
    """Return a record as `replay` yields it: without payloads, whose sizes stay, and without results."""
    if isinstance(record, TasksAdded):
        blank_payloads = Column([b""] * len(record.payloads.inline), {})
        return replace(record, payloads=blank_payloads, sizes=list(payload_sizes(record)))
    if isinstance(record, TasksEnded):
        return replace(record, results=Column([b""] * len(record.indices), {}))
    return record


def _pick(found: Column, batch: TasksAdded, first: int, count: int) -> None:
    for row, payload in enumerate(batch.payloads.inline):
        if first <= batch.first + row < first + count:
            if row in batch.payloads.blobs:
                found.blobs[len(found.inline)] = batch.payloads.blobs[row]
            found.inline.append(payload)


def newest(summaries: Sequence[JobSummary], publisher: str | None, limit: int) -> list[JobSummary]:
    """Return the last `limit` summaries (of one publisher), last first."""
    mine = [summary for summary in reversed(summaries) if publisher in (None, summary.spec.publisher)]
    return mine[:limit]
