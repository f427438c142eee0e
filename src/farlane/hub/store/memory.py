"""The in-memory store: the Store port over plain lists, for tests and for hubs that may forget everything."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from farlane.domain import records
from farlane.domain.bookkeeping import BookState, VoucherSigned
from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import JobSpec
from farlane.domain.records import Column, Record, TasksEnded, WorkRecord
from farlane.domain.usage import ModelUsage, UsageRow
from farlane.errors import Conflict, FarlaneError
from farlane.hub.store.history import History, blank, newest
from farlane.hub.store.port import JobSummary, restored_epoch
from farlane.hub.store.thread import OnDurable, StorageThread
from farlane.kit.files import atomic_write


class _Backup(msgspec.Struct):
    """What a backup file holds: MessagePack of this."""

    network: str
    epoch: int
    records: list[tuple[str, msgspec.Raw]]
    summaries: list[JobSummary]
    forgotten: set[JobId]


class _MemoryEngine:
    """A history that grows commit by commit; reads and commits exclude each other."""

    def __init__(self) -> None:
        self._history = History()
        self._staged: list[Record] = []
        self._lock = threading.Lock()
        self._closed = False

    def write(self, records: Sequence[Record]) -> int:
        self._staged += records
        return 0

    def commit(self) -> None:
        with self._lock:
            self._history.check(self._staged)
            for record in self._staged:
                self._history.add(record)
        self._staged.clear()

    def abandon(self, reason: FarlaneError) -> None:
        self._staged.clear()

    def rest(self, busy: bool) -> None:
        """Memory needs no housekeeping."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[History]:
        with self._lock:
            if self._closed:
                raise Conflict("the store is closed; open it again to read from it")
            yield self._history

    def close(self) -> None:
        with self._lock:
            self._closed = True


class MemoryStore:
    """A store that lives as long as its process.

    Args:
        manual: nothing becomes durable by itself: `release` and `fail` decide, on the caller's thread, so that a
            test sees every moment between an append and its acknowledgement. Otherwise a thread does it at once.
    """

    def __init__(self, *, manual: bool = False) -> None:
        self._network, self._epoch = secrets.token_hex(16), 1
        self._engine = _MemoryEngine()
        self._manual = manual
        self._pending: deque[tuple[Sequence[Record], OnDurable]] = deque()
        self._refusal: FarlaneError | None = None
        self._closed = False
        self._thread = None if manual else StorageThread("farlane-memory-store", self._engine)

    @property
    def epoch(self) -> int:
        """The store epoch: 1 for a new store, a higher one after each restore (see `restored_epoch`)."""
        return self._epoch

    @property
    def network(self) -> str:
        """The network's random id, made with the store."""
        return self._network

    def append(self, records: Sequence[Record], on_durable: OnDurable) -> None:
        """Queue records for the next commit.

        Raises:
            Conflict: the store is closed.
        """
        if self._thread is not None:
            self._thread.append(records, on_durable)
        elif self._closed:
            raise Conflict("the store is closed; nothing can be appended to it any more")
        else:
            self._pending.append((records, on_durable))

    @property
    def pending(self) -> int:
        """How many appends wait for `release`; 0 unless manual."""
        return len(self._pending)

    def release(self, count: int | None = None) -> int:
        """Make the oldest `count` appends (None: all) durable and tell their callers; returns how many it told.

        After `fail` they are told its error instead, and nothing becomes durable.
        """
        told = 0
        while self._pending and told != count:
            records, on_durable = self._pending.popleft()
            if self._refusal is None:
                self._commit(records)
            on_durable(self._refusal)
            told += 1
        return told

    def _commit(self, records: Sequence[Record]) -> None:
        try:
            self._engine.write(records)
            self._engine.commit()
        except FarlaneError as error:
            self._engine.abandon(error)
            self._refusal = error

    def fail(self, error: FarlaneError) -> None:
        """Let every append that was not released fail, and all later ones."""
        self._refusal = error

    def resume(self) -> None:
        """Accept appends again after a failed commit or `fail`; what failed stays lost."""
        if self._thread is not None:
            self._thread.call(self._thread.clear)
        else:
            self.release()
            self._refusal = None

    def replay(self) -> Iterator[WorkRecord]:
        """Yield nodes and learnt run times, then the records of open jobs in order, without payloads and results."""
        with self._engine.reading() as history:
            found = list(history.records(history.open_jobs()))
        return map(blank, found)

    def replay_job(self, job: JobId) -> Iterator[WorkRecord]:
        """Yield all records of one job in order, without payloads and results."""
        with self._engine.reading() as history:
            return map(blank, history.records_of(job))

    def last_job(self) -> JobId:
        """Return the highest job id ever opened, 0 when none was."""
        with self._engine.reading() as history:
            return history.last_job()

    def job_by_key(self, publisher: str, key: str) -> JobId | None:
        """Return the job opened under an idempotency key."""
        with self._engine.reading() as history:
            return history.keys.get((publisher, key))

    def job_spec(self, job: JobId) -> JobSpec | None:
        """Return the specification of any job, ended or not."""
        with self._engine.reading() as history:
            opened = history.opened(job)
        return None if opened is None else opened.spec

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        """Return the payloads of tasks `first .. first + count - 1`.

        Raises:
            NotFound: not all of them are there.
        """
        with self._engine.reading() as history:
            return history.payloads(job, first, count)

    def results(self, job: JobId, after: int, limit: int) -> list[TasksEnded]:
        """Return ended records with a result cursor > `after`, oldest first, whole, of about `limit` tasks."""
        with self._engine.reading() as history:
            return history.results(job, after, limit)

    def ended_jobs(self, publisher: str | None, limit: int) -> list[JobSummary]:
        """Return the newest ended jobs, newest first."""
        with self._engine.reading() as history:
            return newest(list(history.summaries.values()), publisher, limit)

    def ended_job(self, job: JobId) -> JobSummary | None:
        """Return one ended job's summary."""
        with self._engine.reading() as history:
            return history.summaries.get(job)

    def books(self) -> list[BookState]:
        """Return every book ever opened, oldest first, as its last records leave it."""
        with self._engine.reading() as history:
            return history.books.states()

    def leaves(self, book: int, first: int, count: int) -> list[bytes]:
        """Return leaves `first .. first + count - 1` of a book, fewer where it ends."""
        with self._engine.reading() as history:
            return history.books.leaves(book, first, count)

    def statements(self, book: int, first: int, count: int) -> dict[int, bytes]:
        """Return what replicas have served as some leaves of a book state it, packed, by index."""
        with self._engine.reading() as history:
            return history.books.statements(book, first, count)

    def leaf_places(self, task: TaskId) -> list[tuple[int, int]]:
        """Return (book, index) of every leaf of a task, oldest first."""
        with self._engine.reading() as history:
            return history.books.leaf_places(task)

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        """Return a book's vouchers over more than `after` leaves, oldest first."""
        with self._engine.reading() as history:
            return history.books.vouchers(book, after, limit)

    def usage(self, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what was booked in these months (`YYYY-MM`, both included)."""
        with self._engine.reading() as history:
            return history.books.usage(first_month, last_month)

    def model_usage(self, first_day: str, last_day: str) -> list[ModelUsage]:
        """Return what served models were asked on these days (`YYYY-MM-DD`, both included)."""
        with self._engine.reading() as history:
            found = sorted(history.model_usage.items())
        return [row for _, row in found if first_day <= row.day <= last_day]

    def forget(self, ended_before: float) -> int:
        """Delete the tasks and results of jobs that ended before a time; returns how many jobs."""
        with self._engine.reading() as history:
            return history.forget(ended_before)

    def backup(self, target: str) -> None:
        """Write everything durable to a new file.

        Raises:
            Conflict: the file exists.
        """
        path = Path(target)
        if path.exists():
            raise Conflict(f"{path} exists; a backup never overwrites anything: choose another file name")
        with self._engine.reading() as history:
            packed = [
                (type(each).__name__, msgspec.Raw(msgspec.msgpack.encode(each)))
                for each in (*history.records(), *history.books.records(), *history.model_usage.values())
            ]
            backup = _Backup(
                self._network, self._epoch, packed, list(history.summaries.values()), history.forgotten
            )
            data = msgspec.msgpack.encode(backup)
        atomic_write(path, data)

    @classmethod
    def restore(cls, backup: Path, *, manual: bool = False, now: float | None = None) -> Self:
        """Return a new store with the content of a backup, in a new epoch.

        Args:
            backup: what `backup` wrote.
            manual: as for a new store.
            now: unix seconds; None: the machine's clock.
        """
        found = msgspec.msgpack.decode(backup.read_bytes(), type=_Backup)
        store = cls(manual=manual)
        store._network = found.network
        store._epoch = restored_epoch(found.epoch, time.time() if now is None else now)
        with store._engine.reading() as history:
            for kind, body in found.records:
                history.add(msgspec.msgpack.decode(body, type=getattr(records, kind)))
            history.summaries = {summary.job: summary for summary in found.summaries}
            history.forgotten = found.forgotten
        return store

    def close(self) -> None:
        """Make durable what was appended, then refuse everything."""
        if self._thread is not None:
            self._thread.close()
        else:
            self.release()
        self._closed = True
        self._engine.close()
