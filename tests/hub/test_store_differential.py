"""Property: after any history, and at any moment of it, the memory and the SQLite store give the same answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.ids import JobId, task_id
from farlane.domain.records import JobOpened, Record, TasksAdded, TasksEnded
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.backup import restore
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.histories import AT, history
from farlane.testing.store_suite import append, commit

STEP = st.tuples(st.integers(0, 71), st.integers(0, 5), st.integers(0, 20))
PROGRAM = st.lists(STEP, max_size=60)


@contextmanager
def both_stores() -> Iterator[tuple[MemoryStore, SqliteStore, Path]]:
    with tempfile.TemporaryDirectory() as directory:
        memory, sqlite = MemoryStore(), SqliteStore(Path(directory) / "hub.sqlite", ballast_bytes=4096)
        try:
            yield memory, sqlite, Path(directory)
        finally:
            memory.close()
            sqlite.close()


def answers(store: Store) -> dict[str, object]:
    """Everything a store can be asked, jobs by jobs."""
    found: dict[str, object] = {
        "replay": list(store.replay()), "last": store.last_job(), "ended": store.ended_jobs(None, 100),
        "ada": store.ended_jobs("ada", 2), "books": store.books(), "usage": store.usage("0000-00", "9999-99"),
        "month": store.usage("2025-06", "2025-06"), "models": store.model_usage("2025-06-02", "2025-06-30"),
    }  # fmt: skip
    for book in (1, 2, 3):
        found[f"book {book}"] = [store.leaves(book, first, 5) for first in range(0, 40, 4)]
        found[f"book {book} statements"] = [store.statements(book, first, 5) for first in range(0, 40, 4)]
        found[f"book {book} vouchers"] = (store.vouchers(book, 0, 100), store.vouchers(book, 9, 2))
    for job in map(JobId, range(1, store.last_job() + 1)):
        records = list(store.replay_job(job))
        total = sum(len(record.payloads.inline) for record in records if isinstance(record, TasksAdded))
        spec = store.job_spec(job)
        assert spec is not None
        found[f"{job} records"] = records
        found[f"{job} summary"] = store.ended_job(job)
        found[f"{job} key"] = (spec, store.job_by_key(spec.publisher, f"key-{job}"))
        found[f"{job} payloads"] = store.payloads(job, total // 3, total - total // 3)
        found[f"{job} leaves"] = [store.leaf_places(task_id(job, index)) for index in range(12)]
        found[f"{job} results"] = [store.results(job, after, 4) for after in range(0, total + 2, 3)]
    return found


@given(PROGRAM, PROGRAM)
@settings(max_examples=40, deadline=None)
def test_memory_and_sqlite_agree(
    before: list[tuple[int, int, int]], after: list[tuple[int, int, int]]
) -> None:
    batches = history([*before, *after])
    middle = len(history(before))
    with both_stores() as (memory, sqlite, _):
        for store in (memory, sqlite):
            for batch in batches[:middle]:
                append(store, batch)
            commit(store)
        assert answers(memory) == answers(sqlite)
        forgotten = AT + 4  # histories end jobs from AT to AT + 7
        assert memory.forget(forgotten) == sqlite.forget(forgotten)
        assert list(memory.replay()) == list(sqlite.replay())


@given(PROGRAM)
@settings(max_examples=15, deadline=None)
def test_reopening_and_restoring_change_nothing(program: list[tuple[int, int, int]]) -> None:
    with both_stores() as (memory, sqlite, directory):
        for batch in history(program):
            append(memory, batch)
            append(sqlite, batch)
        commit(memory)
        commit(sqlite)
        sqlite.backup(str(directory / "backup"))
        sqlite.close()
        with_reopened = SqliteStore(sqlite.path, ballast_bytes=4096)
        assert answers(with_reopened) == answers(memory)
        with_reopened.close()
        restore(directory / "backup", directory / "restored.sqlite")
        restored = SqliteStore(directory / "restored.sqlite", ballast_bytes=4096)
        assert answers(restored) == answers(memory)
        restored.close()


@given(PROGRAM, st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_client_that_resumes_by_cursor_sees_every_end_once(
    program: list[tuple[int, int, int]], limit: int
) -> None:
    batches = history(program)
    written = [record for batch in batches for record in batch]
    with both_stores() as (memory, sqlite, _):
        for store in (memory, sqlite):
            append(store, written)
            commit(store)
            for opened in (record for record in written if isinstance(record, JobOpened)):
                assert _read_by_cursor(store, opened.job, limit) == _ends_of(written, opened.job)


def _read_by_cursor(store: Store, job: JobId, limit: int) -> list[tuple[int, bytes]]:
    cursor, seen = 0, []
    while found := store.results(job, cursor, limit):
        for record in found:
            rows = list(zip(record.indices, record.results.inline, strict=True))
            seen += rows[max(0, cursor - record.seq) :]
            cursor = record.seq + len(rows)
    return seen


def _ends_of(records: list[Record], job: JobId) -> list[tuple[int, bytes]]:
    return [
        end
        for record in records
        if isinstance(record, TasksEnded) and record.job == job
        for end in zip(record.indices, record.results.inline, strict=True)
    ]


def test_histories_contain_every_kind_of_record() -> None:
    random = Random(7)
    program = [(random.randrange(72), random.randrange(6), random.randrange(21)) for _ in range(600)]
    kinds = {type(record) for batch in history(program) for record in batch}
    assert kinds == set(get_args(Record))
