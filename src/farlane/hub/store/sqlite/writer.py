"""The writing side: rows of one commit, summaries of jobs that end, checkpoints, and a full disk."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farlane.domain.bookkeeping import LeavesBooked
from farlane.domain.ids import JobId
from farlane.domain.jobs import TaskState
from farlane.domain.records import JobEnded, JobOpened, Record, TasksRequeued
from farlane.errors import DiskFull, FarlaneError
from farlane.hub.store.sqlite import encoding, queries
from farlane.hub.store.sqlite.faults import store_error, store_errors
from farlane.hub.store.sqlite.rows import WRITERS, Row, usage_row
from farlane.kit.files import Ballast

IDLE_CHECKPOINT_BYTES = 2 << 20
"""With this much in the journal it is moved into the file as soon as nothing else is queued."""
FULL_CHECKPOINT_BYTES = 8 << 20
"""With this much it is moved at once. Together with one commit it is less than the ballast, so that what the
journal holds can still be moved into the file when the disk is full."""
PROBE_BYTES, MAX_PROBE_BYTES = 1 << 20, 64 << 20
"""Room there must be before a store that was full accepts anything again: as much as was refused, in these bounds."""
_TABLE_PAGES = 3
"""Pages that the first row of a table adds to a commit, at most as a rule: its leaf, its index's, one new."""
_ROW_BYTES = 256
"""What a row costs beside its blobs."""
_FORGET_ROWS = 64

log = logging.getLogger(__name__)


class SqliteWriter:
    """The engine of the storage thread; owns the writing connection.

    Args:
        connection: see `open_writer`.
        path: the store file, for messages.
        ballast: released when the disk is full.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, ballast: Ballast) -> None:
        self._connection, self._path, self._ballast = connection, path, ballast
        self._journal_bytes = 0  # an estimate: SQLite does not tell, and it only paces checkpoints
        self._touched: set[type] = set()  # kinds of record in the open transaction
        self._open_bytes = 0  # what the open transaction has taken, or has tried to
        self._wanted_bytes = PROBE_BYTES
        with store_errors(path):
            (last,) = connection.execute(queries.LAST_POS).fetchone()
            (self._page_bytes,) = connection.execute(queries.PAGE_BYTES).fetchone()
        self._next_pos = (last or 0) + 1

    def write(self, records: Sequence[Record]) -> int:
        """Insert records into the open transaction, beginning one if there is none; returns the bytes written.

        Raises:
            DiskFull: no room.
            Corrupted: the file is damaged.
            Internal: a record contradicts what is stored.
        """
        size_bytes = 0
        try:
            if records and not self._connection.in_transaction:
                self._connection.execute(queries.BEGIN)
            for record in records:
                size_bytes += self._insert(record)
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error
        self._journal_bytes += size_bytes
        return size_bytes

    def _insert(self, record: Record) -> int:
        statement, to_row = WRITERS[type(record)]
        pos, row = self._next_pos, to_row(record)
        cost = self._cost(type(record), row)
        self._open_bytes += cost
        self._next_pos += 1
        self._connection.execute(statement, (*row, pos))
        if isinstance(record, JobOpened):
            self._connection.execute(queries.OPEN_JOB, (record.job,))
        elif isinstance(record, LeavesBooked):
            self._connection.execute(queries.ADD_USAGE, usage_row(record))
            stated = [(record.book, record.first + row, raw) for row, raw in record.statements.items()]
            self._connection.executemany(queries.ADD_STATEMENT, stated)
        elif isinstance(record, JobEnded):
            self._summarise(record, pos)
        elif isinstance(record, TasksRequeued):
            self._connection.execute(queries.OPEN_JOB, (record.job,))
            self._connection.execute(queries.DROP_SUMMARY, (record.job,))
        return cost

    def _cost(self, kind: type, row: Row) -> int:
        """Estimate the bytes a row adds to the journal."""
        cost = _ROW_BYTES
        for value in row:
            if isinstance(value, bytearray):
                # What does not fit into a quarter of a page has pages of its own.
                pages = len(value) // self._page_bytes + 1 if len(value) * 4 > self._page_bytes else 0
                cost += pages * self._page_bytes if pages else len(value)
        if kind not in self._touched:
            self._touched.add(kind)
            cost += _TABLE_PAGES * self._page_bytes
        return cost

    def _summarise(self, record: JobEnded, pos: int) -> None:
        job = record.job
        (total,) = self._fetch(queries.COUNT_ADDED, job)
        done, failed, stopped, spent, lease_ms = self._fetch(queries.COUNT_ENDED, job)
        more_spent, more_lease_ms, retries = self._fetch(queries.COUNT_FAILED, job)
        (first_lease_at,) = self._fetch(queries.FIRST_LEASE_AT, job)
        if self._fetch(queries.WAS_REQUEUED, job)[0]:
            # Ends that were made void are summed above; what counts now needs each task's last end.
            done, failed, stopped = self._count_last_ends(job)
        self._connection.execute(queries.CLOSE_JOB, (job,))
        self._connection.execute(
            queries.SET_SUMMARY,
            (pos, record.state.value, first_lease_at, record.at, total, done, failed, stopped,
             spent + more_spent, lease_ms + more_lease_ms, retries, record.reason, job),
        )  # fmt: skip

    def _fetch(self, statement: str, job: JobId) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._connection.execute(statement, (job,)).fetchone()
        return found

    def _count_last_ends(self, job: JobId) -> tuple[int, int, int]:
        ends: dict[int, int] = {}
        for _, details, is_end in self._connection.execute(queries.ENDINGS, {"job": job}):
            if is_end:
                ended = encoding.unpack_ended(details)
                ends.update(zip(ended.indices, ended.states, strict=True))
            else:
                for index in encoding.unpack_requeued(details).indices:
                    ends.pop(index, None)
        counts = list(ends.values())
        return counts.count(TaskState.DONE), counts.count(TaskState.FAILED), counts.count(TaskState.STOPPED)

    def commit(self) -> None:
        """Commit with fsync.

        Raises:
            DiskFull: no room.
            Unavailable: the disk failed.
        """
        self._touched.clear()
        if self._connection.in_transaction:
            with store_errors(self._path):
                self._connection.execute(queries.COMMIT)
        self._open_bytes = 0

    def abandon(self, reason: FarlaneError) -> None:
        """Roll back; on a full disk give the ballast back and shrink the journal, so that closing has room."""
        self._touched.clear()
        size_bytes, self._open_bytes = self._open_bytes, 0
        try:
            if self._connection.in_transaction:
                self._connection.execute(queries.ROLLBACK)
            if isinstance(reason, DiskFull):
                self._wanted_bytes = min(max(self._wanted_bytes, size_bytes), MAX_PROBE_BYTES)
                self._ballast.release()
                self._connection.execute(queries.TRUNCATE_JOURNAL)
                self._journal_bytes = 0
        except (sqlite3.Error, OSError) as error:
            log.error("the store could not tidy up after a failed commit: %s", error)

    def rest(self, busy: bool) -> None:
        """Move the journal into the file when there is enough of it.

        It runs after the callers of the commit know, so that it delays only what is queued behind.
        """
        if self._journal_bytes < (FULL_CHECKPOINT_BYTES if busy else IDLE_CHECKPOINT_BYTES):
            return
        self._journal_bytes = 0
        try:
            self._connection.execute(queries.CHECKPOINT)
        except sqlite3.Error as error:
            # Nothing is lost: the journal holds it all. A disk that stays full fails the next commit.
            log.warning("the store's journal could not be checkpointed: %s", error)

    def check_space(self) -> None:
        """Make sure that there is room again for what was refused, ballast included.

        Less would not do: what was refused comes again at once, and a store that opens and fills by turns takes
        every other client's and node's connection with it each time.

        Raises:
            DiskFull: there is not; the ballast is not held.
        """
        self._ballast.reserve()
        try:
            # A commit of its own: pages that are freed again before it are never written.
            self._connection.execute(queries.PROBE_SPACE, (self._wanted_bytes,))
            self._connection.execute(queries.END_PROBE)
            self._connection.execute(queries.CHECKPOINT)
        except sqlite3.Error as error:
            reason = store_error(error, self._path)
            self.abandon(reason)
            raise reason from error
        self._wanted_bytes = PROBE_BYTES

    def forget_some(self, ended_before: float) -> JobId | None:
        """Delete some task rows of one job that ended before a time, in one commit.

        Returns:
            The job when it is now forgotten altogether, 0 when some of it is left, None when there is no such job.
        """
        with store_errors(self._path):
            self._connection.execute(queries.BEGIN)
            try:
                forgotten = self._delete_some(ended_before)
                self._connection.execute(queries.COMMIT)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute(queries.ROLLBACK)
                raise
        self._journal_bytes += len(queries.DELETE_SOME) * _TABLE_PAGES * self._page_bytes
        self.rest(busy=True)
        return forgotten

    def _delete_some(self, ended_before: float) -> JobId | None:
        row = self._connection.execute(queries.NEXT_TO_FORGET, (ended_before,)).fetchone()
        if row is None:
            return None
        job = JobId(row[0])
        for statement in queries.DELETE_SOME.values():
            if self._connection.execute(statement, (job, _FORGET_ROWS)).rowcount >= _FORGET_ROWS:
                return JobId(0)
        self._connection.execute(queries.MARK_FORGOTTEN, (job,))
        return job

    def close(self) -> None:
        """Move the journal into the file, remove it, and close."""
        try:
            self._connection.execute(queries.TRUNCATE_JOURNAL)
        except sqlite3.Error as error:
            log.warning("the store's journal could not be checkpointed; the next start does it: %s", error)
        self._connection.close()
