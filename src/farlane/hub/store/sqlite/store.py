"""The SQLite store: the Store port over one storage thread that writes and a pool of connections that read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from farlane.domain.bookkeeping import BookState, VoucherSigned
from farlane.domain.ids import JobId, TaskId, job_text
from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column, Record, RunTimeLearnt, TasksEnded, WorkRecord
from farlane.domain.usage import ModelUsage, UsageRow
from farlane.errors import Corrupted, DiskFull, FarlaneError, NotFound
from farlane.hub.store.port import JobSummary
from farlane.hub.store.sqlite import books, encoding, queries, rows
from farlane.hub.store.sqlite.backup import write_backup
from farlane.hub.store.sqlite.connections import ReadPool, open_writer
from farlane.hub.store.sqlite.faults import store_errors
from farlane.hub.store.sqlite.history_rows import merged
from farlane.hub.store.sqlite.lock import lock_store
from farlane.hub.store.sqlite.schema import STORE, bring_forward, check_sqlite, create_store
from farlane.hub.store.sqlite.writer import SqliteWriter
from farlane.hub.store.thread import OnDurable, StorageThread
from farlane.kit.files import Ballast
from farlane.kit.sqlite_files import recognise

BALLAST_BYTES = 16 << 20
"""Disk space kept back, so that a full disk leaves room to move the journal into the file and to close."""


class SqliteStore:
    """A hub's durable truth in one SQLite file (WAL, synchronous=FULL); made if it is missing.

    Beside the file stand `-wal` and `-shm` while it is open, `.lock` (who uses it) and `.ballast`.

    Args:
        path: the file; its directory must exist.
        max_bytes: the file does not grow beyond this; a store that would is full. None: as far as the disk goes.
        ballast_bytes: disk space to keep back.
        network: the id a new store gets, hex digits; None: a random one.

    Raises:
        Conflict: another hub uses the store, or a newer farlane wrote it.
        Corrupted: the file is damaged.
        InvalidInput: the file is no store.
        DiskFull: there is no room for a new store.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None = None,
        ballast_bytes: int = BALLAST_BYTES,
        network: str | None = None,
    ) -> None:
        check_sqlite()
        self.path = path
        self._lock = lock_store(path)
        try:
            if not path.exists():
                create_store(path, network)
            self._open(max_bytes, Ballast(path.with_name(f"{path.name}.ballast"), ballast_bytes))
        except BaseException:
            self._lock.release()
            raise

    def _open(self, max_bytes: int | None, ballast: Ballast) -> None:
        with store_errors(self.path), contextlib.ExitStack() as undo:
            connection = open_writer(self.path, max_bytes)
            undo.callback(connection.close)
            bring_forward(connection, recognise(connection, self.path, STORE))
            properties = dict(connection.execute(queries.PROPERTIES))
            self._epoch, self._network = int(properties["epoch"]), str(properties["network"])
            self._writer = SqliteWriter(connection, self.path, ballast)
            refusal = _refusal_at_start(ballast)
            undo.pop_all()
        self._reads = ReadPool(self.path)
        self._thread = StorageThread("farlane-store", self._writer, refusal)

    @property
    def epoch(self) -> int:
        """The store epoch: 1 for a new store, a higher one after each restore (see `restored_epoch`)."""
        return self._epoch

    @property
    def network(self) -> str:
        """The network's random id, made with the store."""
        return self._network

    @property
    def refusal(self) -> FarlaneError | None:
        """Why appends are refused, None while they are not."""
        return self._thread.refusal

    def append(self, records: Sequence[Record], on_durable: OnDurable) -> None:
        """Queue records for the next commit; they must not be changed afterwards.

        Raises:
            Conflict: the store is closed.
        """
        self._thread.append(records, on_durable)

    def resume(self) -> None:
        """Accept appends again after a failed commit, if there is room now.

        What failed was never acknowledged and is not in the store: rebuild the hub's state by `replay`.

        Raises:
            DiskFull: there is still no room; nothing changes.
            Corrupted: the file is damaged; only a backup helps.
        """
        self._thread.call(self._resume)

    def _resume(self) -> None:
        if self._thread.refusal is None:
            return
        if isinstance(self._thread.refusal, Corrupted):
            raise self._thread.refusal
        self._writer.check_space()
        self._thread.clear()

    def replay(self) -> Iterator[WorkRecord]:
        """Yield nodes and learnt run times, then the records of open jobs in order, without payloads and results.

        Raises:
            Corrupted: a row cannot be read.
        """
        with self._reads.reading() as connection:
            yield from map(rows.read_node, connection.execute(queries.NODES))
            for profile, mean_ms, count in connection.execute(queries.RUN_TIMES):
                yield RunTimeLearnt(profile, mean_ms, count)
            yield from merged(connection, queries.HISTORY_OF_OPEN_JOBS)

    def replay_job(self, job: JobId) -> Iterator[WorkRecord]:
        """Yield all records of one job in order, without payloads and results."""
        with self._reads.reading() as connection:
            yield from merged(connection, queries.HISTORY_OF_JOB, (job,))

    def last_job(self) -> JobId:
        """Return the highest job id ever opened, 0 when none was."""
        return JobId(self._fetch(queries.LAST_JOB, ())[0])

    def job_by_key(self, publisher: str, key: str) -> JobId | None:
        """Return the job opened under an idempotency key."""
        row = self._fetch(queries.JOB_BY_KEY, (publisher, key))
        return None if row is None else JobId(row[0])

    def job_spec(self, job: JobId) -> JobSpec | None:
        """Return the specification of any job, ended or not."""
        row = self._fetch(queries.JOB_SPEC, (job,))
        return None if row is None else encoding.unpack_spec(row[0])

    def _fetch(self, statement: str, parameters: tuple[Any, ...]) -> Any:
        with self._reads.reading() as connection:
            return connection.execute(statement, parameters).fetchone()

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        """Return the payloads of tasks `first .. first + count - 1`.

        A batch is read whole even for one of its tasks: ask for ranges.

        Raises:
            NotFound: not all of them are there.
            Corrupted: a batch does not match its checksum.
        """
        found = Column([], {})
        span = {"job": job, "first": first, "end": first + count}
        with self._reads.reading() as connection:
            for start, blob in connection.execute(queries.PAYLOADS, span):
                _extend(found, rows.read_column(blob), first + len(found.inline) - start, count)
        if len(found.inline) != count:
            raise NotFound(
                f"{job_text(job)} has no payloads {first} to {first + count - 1} in the store, only "
                f"{len(found.inline)} of them: the job is unknown, shorter, or was forgotten",
                job=job,
            )
        return found

    def results(self, job: JobId, after: int, limit: int) -> list[TasksEnded]:
        """Return ended records with a result cursor > `after`, oldest first, whole, of about `limit` tasks.

        Raises:
            Corrupted: a batch does not match its checksum.
        """
        found: list[TasksEnded] = []
        with self._reads.reading() as connection:
            for seq, count, node, at, details, results in connection.execute(
                queries.RESULTS, {"job": job, "after": after}
            ):
                if limit <= 0:
                    break
                found.append(rows.tasks_ended(job, (seq, node, at), details, results))
                limit -= count
        return found

    def ended_jobs(self, publisher: str | None, limit: int) -> list[JobSummary]:
        """Return the newest ended jobs, newest first."""
        statement = queries.NEWEST_SUMMARIES if publisher is None else queries.NEWEST_SUMMARIES_OF
        parameters = (limit,) if publisher is None else (publisher, limit)
        with self._reads.reading() as connection:
            return [rows.read_summary(row) for row in connection.execute(statement, parameters)]

    def ended_job(self, job: JobId) -> JobSummary | None:
        """Return one ended job's summary."""
        row = self._fetch(queries.SUMMARY_OF_JOB, (job,))
        return None if row is None else rows.read_summary(row)

    def books(self) -> list[BookState]:
        """Return every book ever opened, oldest first, as its last records leave it."""
        with self._reads.reading() as connection:
            return books.books(connection)

    def leaves(self, book: int, first: int, count: int) -> list[bytes]:
        """Return leaves `first .. first + count - 1` of a book, fewer where it ends.

        Raises:
            Corrupted: a batch does not match its checksum.
        """
        with self._reads.reading() as connection:
            return books.leaves(connection, book, first, count)

    def statements(self, book: int, first: int, count: int) -> dict[int, bytes]:
        """Return what replicas have served as some leaves of a book state it, packed, by index."""
        with self._reads.reading() as connection:
            return dict(connection.execute(queries.STATEMENTS, (book, first, first + count - 1)))

    def leaf_places(self, task: TaskId) -> list[tuple[int, int]]:
        """Return (book, index) of every leaf of a task, oldest first."""
        with self._reads.reading() as connection:
            return books.leaf_places(connection, task)

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        """Return a book's vouchers over more than `after` leaves, oldest first."""
        with self._reads.reading() as connection:
            return books.vouchers(connection, book, after, limit)

    def usage(self, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what was booked in these months (`YYYY-MM`, both included)."""
        with self._reads.reading() as connection:
            return books.usage(connection, first_month, last_month)

    def model_usage(self, first_day: str, last_day: str) -> list[ModelUsage]:
        """Return what served models were asked on these days (`YYYY-MM-DD`, both included)."""
        with self._reads.reading() as connection:
            return [
                ModelUsage(*row) for row in connection.execute(queries.MODEL_USAGE, (first_day, last_day))
            ]

    def forget(self, ended_before: float) -> int:
        """Delete the tasks and results of jobs that ended before a time; returns how many jobs.

        Many small commits between those of the hub, so that appends never wait long. Works on a full store.
        """
        forgotten = 0
        while (job := self._thread.call(lambda: self._writer.forget_some(ended_before))) is not None:
            forgotten += job > 0
        return forgotten

    def backup(self, target: str) -> None:
        """Write a consistent copy of the whole store to a new file, while running.

        Raises:
            Conflict: the file exists.
            DiskFull: no room for it; nothing is left behind.
        """
        with self._reads.reading() as connection:
            write_backup(connection, Path(target))

    def close(self) -> None:
        """Commit what was appended, then release the store; harmless when it is closed already."""
        if self._thread.close():
            self._reads.close()
            self._writer.close()
            self._lock.release()


def _refusal_at_start(ballast: Ballast) -> FarlaneError | None:
    """Reserve the ballast; without room for it the store opens for reading, until `resume`."""
    try:
        ballast.reserve()
    except DiskFull as error:
        return error
    return None


def _extend(found: Column, batch: Column, skip: int, count: int) -> None:
    """Add rows of a batch from `skip` on to `found`, up to `count` rows in all; a gap adds nothing."""
    if skip < 0:
        return
    for row in range(skip, min(len(batch.inline), skip + count - len(found.inline))):
        if row in batch.blobs:
            found.blobs[len(found.inline)] = batch.blobs[row]
        found.inline.append(batch.inline[row])
