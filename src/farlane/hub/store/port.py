"""The Store port: the hub's durable truth as an append-only sequence of records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from farlane.domain.bookkeeping import BookState, VoucherSigned
from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import JobSpec, JobState
from farlane.domain.records import Column, Record, TasksEnded, WorkRecord
from farlane.domain.usage import ModelUsage, UsageRow


@dataclass(frozen=True, slots=True)
class JobSummary:
    """One ended job as `ps` shows it, without loading its tasks. Times in unix seconds, money in nano-credits.

    first_lease_at: the earliest lease, 0 when there was none; retries: attempts that ended without a result, their
    tasks queued again; spent and lease_ms: over all attempts.
    """

    job: JobId
    key: str
    spec: JobSpec
    state: JobState
    opened_at: float
    first_lease_at: float
    ended_at: float
    total: int
    done: int
    failed: int
    stopped: int
    spent: int
    lease_ms: int
    retries: int
    reason: str


def restored_epoch(epoch: int, now: float) -> int:
    """Return the epoch of a store that is restored at `now` (unix seconds) from a backup of epoch `epoch`.

    The time, not one more: two restores of one backup would else begin the same epoch, and each would take the
    other's leases for its own. One more all the same where the clock is behind.
    """
    return max(epoch + 1, int(now))


class Store(Protocol):
    """What a hub needs of its store; every implementation passes the suites in `farlane.testing`.

    `append` may be called from one thread (the hub's loop) and never blocks; `on_durable` is called from the
    storage thread once everything appended before and with it is on disk (group commit), in order of appending;
    an error instead means nothing of that commit is durable and the store refuses every later append.
    Reads see every durable record; they may be called from any thread.
    """

    @property
    def epoch(self) -> int:
        """The store epoch: 1 for a new store, a higher one after each restore (see `restored_epoch`)."""
        ...

    @property
    def network(self) -> str:
        """The network's random id, made with the store."""
        ...

    def append(self, records: Sequence[Record], on_durable: Callable[[Exception | None], None]) -> None:
        """Queue records for the next commit."""
        ...

    def replay(self) -> Iterator[WorkRecord]:
        """Yield, in order, the records needed to rebuild the hub's state.

        Payloads and results are left out (empty columns of the right length), the payloads' sizes are not; jobs
        that have ended yield nothing but stand in `ended_jobs`; registered nodes and learnt run times come once,
        at their latest.
        """
        ...

    def replay_job(self, job: JobId) -> Iterator[WorkRecord]:
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
        """Return ended records whose tasks have result cursor > `after`, oldest first.

        Records come whole, stopping after about `limit` tasks. The first may begin before `after`; callers skip by
        `seq`.
        """
        ...

    def ended_jobs(self, publisher: str | None, limit: int) -> list[JobSummary]:
        """Return the newest ended jobs, newest first."""
        ...

    def ended_job(self, job: JobId) -> JobSummary | None:
        """Return one ended job's summary."""
        ...

    def books(self) -> list[BookState]:
        """Return every book ever opened, oldest first, as its last records leave it."""
        ...

    def leaves(self, book: int, first: int, count: int) -> list[bytes]:
        """Return packed leaves `first .. first + count - 1` of a book, fewer where it ends; none is ever forgotten."""
        ...

    def statements(self, book: int, first: int, count: int) -> dict[int, bytes]:
        """Return what replicas have served, as leaves `first .. first + count - 1` of a book state it, by index."""
        ...

    def leaf_places(self, task: TaskId) -> list[tuple[int, int]]:
        """Return (book, index) of every leaf of a task, oldest first."""
        ...

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        """Return a book's vouchers over more than `after` leaves, oldest first."""
        ...

    def usage(self, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what was booked in these months (`YYYY-MM`, both included), by month and then by name."""
        ...

    def model_usage(self, first_day: str, last_day: str) -> list[ModelUsage]:
        """Return what served models were asked on these days (`YYYY-MM-DD`, both included), by day and then by name."""
        ...

    def forget(self, ended_before: float) -> int:
        """Delete the tasks and results of jobs that ended before a time; returns how many jobs.

        Their idempotency keys and summaries stay.
        """
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
