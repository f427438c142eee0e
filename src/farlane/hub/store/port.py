"""The Store port: the hub's durable truth as an append-only sequence of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec, JobState
from farlane.domain.records import Column, Record, TasksEnded


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One ended job as `ps` shows it, without loading its tasks. Times in unix seconds, money in nano-credits."""

    job: JobId
    key: str
    spec: JobSpec
    state: JobState
    opened_at: float
    ended_at: float
    total: int
    done: int
    failed: int
    stopped: int
    spent: int
    lease_ms: int
    reason: str


class Store(Protocol):
    """What a hub needs of its store; every implementation passes `farlane.testing.store_suite`.

    `append` may be called from one thread (the hub's loop) and never blocks; `on_durable` is called from the
    storage thread once everything appended before and with it is on disk (group commit), in order of appending;
    an error instead means nothing of that commit is durable and the store refuses every later append.
    Reads see every durable record; they may be called from any thread.
    """

    @property
    def epoch(self) -> int:
        """The store epoch: 1 for a new store, one more after each restore from a backup."""
        ...

    @property
    def network(self) -> str:
        """The network's random id, made with the store."""
        ...

    def append(self, records: Sequence[Record], on_durable: Callable[[Exception | None], None]) -> None:
        """Queue records for the next commit."""
        ...

    def replay(self) -> Iterator[Record]:
        """Yield, in order, the records needed to rebuild the hub's state.

        Payloads and results are left out (empty columns of the right length); jobs that have ended yield
        nothing but stand in `ended_jobs`; registered nodes and learnt run times come once, at their latest.
        """
        ...

    def replay_job(self, job: JobId) -> Iterator[Record]:
        """Yield all records of one job, ended or not (for `retry` of an ended job), as `replay` would."""
        ...

    def last_job(self) -> JobId:
        """Return the highest job id ever opened, 0 when none was."""
        ...

    def job_by_key(self, publisher: str, key: str) -> JobId | None:
        """Return the job opened under an idempotency key."""
        ...

    def job_spec(self, job: JobId) -> JobSpec | None:
        """Return the specification of any job, ended or not."""
        ...

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        """Return the payloads of tasks `first .. first + count - 1`.

        Raises:
            NotFound: not all of them are there.
        """
        ...

    def results(self, job: JobId, after: int, limit: int) -> list[TasksEnded]:
        """Return ended records whose tasks have result cursor > `after`, oldest first, whole records,
        stopping after about `limit` tasks. The first record may begin before `after`; callers skip by `seq`.
        """
        ...

    def ended_jobs(self, publisher: str | None, limit: int) -> list[JobSummary]:
        """Return the newest ended jobs, newest first."""
        ...

    def ended_job(self, job: JobId) -> JobSummary | None:
        """Return one ended job's summary."""
        ...

    def forget(self, ended_before: float) -> int:
        """Delete the tasks and results of jobs that ended before a time; returns how many jobs. Keeps idempotency keys."""
        ...

    def backup(self, target: str) -> None:
        """Write a consistent copy of the whole store to a new file, while running."""
        ...

    def resume(self) -> None:
        """Accept appends again after a failed commit; what failed is not there.

        Raises:
            DiskFull: the store still cannot write.
        """
        ...

    def close(self) -> None:
        """Commit what was appended, then release the store."""
        ...
