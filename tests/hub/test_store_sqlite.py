"""The SQLite store as a file: modes, locks, journal, group commit, reads beside commits, old and foreign files."""

from __future__ import annotations

import gzip
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import JobOpened, JobSealed, Record, RunTimeLearnt, TasksAdded, TasksRequeued
from farlane.errors import Conflict, Corrupted, InvalidInput
from farlane.hub.store.sqlite import schema
from farlane.hub.store.sqlite.connections import open_writer
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.histories import (
    A100,
    AT,
    FULL_SPEC,
    attempts_failed,
    book_opened,
    finished_job,
    job_ended,
    job_opened,
    leases_metered,
    leaves_booked,
    model_usage,
    node_registered,
    tasks_added,
    tasks_ended,
    tasks_leased,
    voucher_signed,
)
from farlane.testing.store_suite import append, commit

BALLAST = 64 << 10
MIB = 1 << 20
DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, ballast_bytes=BALLAST)
    yield store
    store.close()


def large_batch(
    job: int, first: int, count: int = 256, size_bytes: int = 1024, spread: int = 1
) -> TasksAdded:
    added = tasks_added(job, first, count)
    added.payloads.inline[:] = [os.urandom(size_bytes + row % spread) for row in range(count)]
    return added


def hold_storage_thread(store: SqliteStore) -> threading.Event:
    """Open job 1 and keep the storage thread in its acknowledgement until the returned event is set."""
    gate, held = threading.Event(), threading.Event()

    def on_durable(error: Exception | None) -> None:
        held.set()
        gate.wait(30)

    store.append([job_opened(1)], on_durable)
    assert held.wait(30)
    return gate


# --- the file ---------------------------------------------------------------------------------------------------


def test_only_the_owner_may_open_its_files(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm", "hub.sqlite.lock", "hub.sqlite.ballast"), 0o600
    )


def test_commits_are_synced(path: Path) -> None:
    schema.create_store(path)
    connection = open_writer(path, None)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    connection.close()


def test_a_second_hub_is_refused(store: SqliteStore, path: Path) -> None:
    with pytest.raises(Conflict, match=rf"in use by another hub \(process {os.getpid()}\)"):
        SqliteStore(path)
    commit(store, job_opened(1))
    store.close()
    again = SqliteStore(path, ballast_bytes=BALLAST)
    assert again.last_job() == 1
    again.close()


def test_reopening_keeps_network_epoch_and_order(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1), tasks_added(1, 0, 2))
    network = store.network
    store.close()
    again = SqliteStore(path, ballast_bytes=BALLAST)
    assert (again.network, again.epoch) == (network, 1)
    commit(again, tasks_added(1, 2, 1))
    assert [type(record) for record in again.replay()] == [JobOpened, TasksAdded, TasksAdded]
    again.close()


def test_close_leaves_one_file_without_a_journal(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1), *(large_batch(1, first) for first in range(0, 2560, 256)))
    assert path.with_name("hub.sqlite-wal").stat().st_size > MIB
    store.close()
    assert {file.name for file in path.parent.iterdir()} == {
        "hub.sqlite",
        "hub.sqlite.lock",
        "hub.sqlite.ballast",
    }


@pytest.mark.parametrize("batch", [1, 256])
def test_the_journal_stays_small(store: SqliteStore, path: Path, batch: int) -> None:
    commit(store, job_opened(1))
    size_bytes = path.stat().st_size
    for number in range(400 if batch == 1 else 120):
        append(store, [large_batch(1, number * batch, batch)]).result(30)
    assert path.with_name("hub.sqlite-wal").stat().st_size <= 16 * MIB
    assert path.stat().st_size > size_bytes  # it was checkpointed, not merely small


# --- commits ----------------------------------------------------------------------------------------------------


def test_what_queues_up_during_a_commit_is_one_commit(store: SqliteStore) -> None:
    statements: list[str] = []
    store._writer._connection.set_trace_callback(statements.append)
    gate = hold_storage_thread(store)
    futures = [append(store, [tasks_added(1, number, 1)]) for number in range(100)]
    gate.set()
    futures[-1].result(30)
    assert statements.count("COMMIT") == 2


def test_a_commit_is_closed_at_its_size_limit(store: SqliteStore) -> None:
    statements: list[str] = []
    store._writer._connection.set_trace_callback(statements.append)
    gate = hold_storage_thread(store)
    futures = [append(store, [large_batch(1, number, 1, MIB)]) for number in range(12)]
    gate.set()
    futures[-1].result(30)
    assert 1 + 3 <= statements.count("COMMIT") <= 1 + 4


def test_one_row_a_batch_never_one_a_task(store: SqliteStore) -> None:
    commit(store, *finished_job(1, 5000))
    connection = sqlite3.connect(store.path)
    for table in ("tasks_added", "tasks_leased", "tasks_ended"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
    connection.close()


def test_a_read_does_not_wait_for_a_commit(store: SqliteStore) -> None:
    commit(store, job_opened(1))
    began, gate = threading.Event(), threading.Event()

    class SlowRecords(list[Record]):
        def __iter__(self) -> Iterator[Record]:
            yield job_opened(2)
            began.set()  # in the middle of a transaction, on the storage thread
            assert gate.wait(30)

    future = append(store, SlowRecords([job_opened(2)]))
    assert began.wait(30)
    assert store.last_job() == 1
    gate.set()
    future.result(30)
    assert store.last_job() == 2


@pytest.mark.parametrize("spread", [1, 50], ids=["sizes alike", "sizes different"])
def test_replay_of_100_000_tasks_is_quick_and_reads_no_payload(
    store: SqliteStore, path: Path, spread: int
) -> None:
    commit(store, job_opened(1))
    for first in range(0, 100_000, 256):
        future = append(store, [large_batch(1, first, 256, 64, spread)])
    future.result(60)
    store.close()
    damaged = bytearray(path.read_bytes())
    _damage_every_payload(damaged)
    path.write_bytes(damaged)
    again = SqliteStore(path, ballast_bytes=BALLAST)
    began = time.perf_counter()
    batches = [record for record in again.replay() if isinstance(record, TasksAdded)]
    took_s = time.perf_counter() - began
    assert sum(len(batch.payloads.inline) for batch in batches) == 391 * 256
    sizes = [64 + row % spread for row in range(256)]
    assert all(batch.sizes == sizes for batch in batches)
    assert took_s < 1.0
    with pytest.raises(Corrupted):
        again.payloads(JobId(1), 5000, 1)
    again.close()


def _damage_every_payload(data: bytearray) -> None:
    """Flip a bit in every page that is nothing but the middle of a large blob (an overflow page)."""
    page = schema.PAGE_BYTES
    kinds = {2, 5, 10, 13}  # the first byte of b-tree pages
    for start in range(page, len(data), page):
        is_overflow = data[start] == 0 and data[start] not in kinds
        if is_overflow:
            data[start + page // 2] ^= 1


# --- old, foreign and damaged files -----------------------------------------------------------------------------


def v1_history() -> list[Record]:
    """What tests/data/store-v1.sqlite.gz holds: made by the code of schema 1, not to be made again once released."""
    return [
        node_registered(), RunTimeLearnt("train", 1234.5, 17),
        *finished_job(1, 300),
        JobOpened(JobId(2), "retried", FULL_SPEC, AT), tasks_added(2, 0, 4, blobs=[2]), JobSealed(JobId(2), 4),
        tasks_leased(2, [0, 1, 2, 3], at=AT + 1, gpu=A100), attempts_failed(2, [0]), tasks_ended(2, 0, [1, 2]),
        tasks_ended(2, 2, [0, 3], TaskState.FAILED), job_ended(2, JobState.FAILED, AT + 7, "two tasks failed"),
        TasksRequeued(JobId(2), [0, 3], AT + 9),
    ]  # fmt: skip


def test_a_store_of_schema_1_still_opens(path: Path) -> None:
    path.write_bytes(gzip.decompress((DATA / "store-v1.sqlite.gz").read_bytes()))
    store = SqliteStore(path, ballast_bytes=BALLAST)
    fresh = SqliteStore(path.with_name("fresh.sqlite"), ballast_bytes=BALLAST)
    commit(fresh, *v1_history())
    assert store.epoch == 1
    assert list(store.replay()) == list(fresh.replay())
    assert store.ended_jobs(None, 10) == fresh.ended_jobs(None, 10)
    assert store.results(JobId(1), 0, 1000) == [tasks_ended(1, 0, range(300))]
    assert store.payloads(JobId(2), 0, 4) == tasks_added(2, 0, 4, blobs=[2]).payloads
    assert store.job_spec(JobId(2)) == FULL_SPEC
    commit(store, tasks_ended(2, 4, [0, 3]), job_ended(2))
    summary = store.ended_job(JobId(2))
    assert summary is not None
    assert (summary.done, summary.failed) == (4, 0)
    assert (summary.first_lease_at, summary.retries) == (AT + 1, 1)
    store.close()
    fresh.close()


def test_a_store_of_schema_2_still_opens_with_its_books(path: Path) -> None:
    path.write_bytes(gzip.decompress((DATA / "store-v2.sqlite.gz").read_bytes()))
    store = SqliteStore(path, ballast_bytes=BALLAST)
    fresh = SqliteStore(path.with_name("fresh.sqlite"), ballast_bytes=BALLAST)
    commit(fresh, *v1_history(), book_opened(1), leaves_booked(1, 0, 5), voucher_signed(1, 5))
    assert list(store.replay()) == list(fresh.replay())
    (old,), (new,) = store.books(), fresh.books()
    assert (old.opened, old.voucher) == (new.opened, new.voucher)
    assert old.owed_nano == 80
    assert len(store.leaves(1, 0, 100)) == 8
    more = [tasks_leased(2, [0, 3], attempt=2), leases_metered(2, [0, 3])]
    commit(store, *more)
    assert list(store.replay())[-2:] == more
    store.close()
    fresh.close()


def test_a_store_of_schema_3_still_opens_and_takes_usage_of_models(path: Path) -> None:
    path.write_bytes(gzip.decompress((DATA / "store-v3.sqlite.gz").read_bytes()))
    store = SqliteStore(path, ballast_bytes=BALLAST)
    assert len(store.leaves(1, 0, 100)) == 5
    assert list(store.replay())[-1] == leases_metered(2, [0, 3])
    assert store.model_usage("0000-00-00", "9999-99-99") == []
    commit(store, model_usage(2))
    assert store.model_usage("2025-06-02", "2025-06-02") == [model_usage(2)]
    store.close()


def test_a_store_of_schema_4_still_opens_and_takes_statements(path: Path) -> None:
    path.write_bytes(gzip.decompress((DATA / "store-v4.sqlite.gz").read_bytes()))
    store = SqliteStore(path, ballast_bytes=BALLAST)
    assert store.model_usage("2025-06-01", "2025-06-01") == [model_usage(1)]
    assert store.statements(1, 0, 100) == {}
    commit(store, replace(leaves_booked(1, 5, 3), statements={1: b"stated"}))
    assert store.statements(1, 0, 100) == {6: b"stated"}
    store.close()


def test_migrations_run_in_order_and_each_is_all_or_nothing(path: Path) -> None:
    schema.create_store(path)
    connection = open_writer(path, None)

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half_way (x)")
        raise ValueError("a broken migration")

    steps: dict[int, schema.Migration] = {
        1: lambda connection: connection.execute("CREATE TABLE second (x)") and None,
        2: fails,
    }
    with pytest.raises(ValueError, match="broken migration"):
        schema.bring_forward(connection, 1, steps, target=3)
    assert schema_version(connection) == 2
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert "second" in tables
    assert "half_way" not in tables
    steps[2] = lambda connection: connection.execute("INSERT INTO second VALUES (1)") and None
    schema.bring_forward(connection, 2, steps, target=3)
    assert schema_version(connection) == 3
    connection.close()


def schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_store_of_a_newer_farlane_is_refused(path: Path) -> None:
    schema.create_store(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Conflict, match="newer farlane"):
        SqliteStore(path)
    assert path.with_name("hub.sqlite.lock").exists()
    with pytest.raises(Conflict, match="newer farlane"):  # and not: in use by another hub
        SqliteStore(path)


def test_another_database_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE holiday_photos (x)")
    connection.close()
    with pytest.raises(InvalidInput, match="not a farlane store"):
        SqliteStore(path)


@pytest.mark.parametrize("damage", ["empty", "text", "header", "pages", "truncated"])
def test_a_damaged_file_says_restore_a_backup(store: SqliteStore, path: Path, damage: str) -> None:
    commit(store, job_opened(1), *(large_batch(1, first) for first in range(0, 1024, 256)))
    store.close()
    data = path.read_bytes()
    path.write_bytes({
        "empty": b"", "text": b"hello, world\n" * 5000, "header": os.urandom(100) + data[100:],
        "pages": data[:100] + os.urandom(len(data) - 100), "truncated": data[: len(data) // 10],
    }[damage])  # fmt: skip
    with pytest.raises(Corrupted, match="restore a backup"):
        SqliteStore(path, ballast_bytes=BALLAST)


def test_a_damaged_row_is_noticed_when_it_is_read(store: SqliteStore, path: Path) -> None:
    secret = b"a payload that will be damaged on the disk"
    added = tasks_added(1, 0, 2)
    added.payloads.inline[0] = secret
    commit(store, job_opened(1), added, job_opened(2), tasks_added(2, 0, 1))
    store.close()
    data = path.read_bytes()
    assert data.count(secret) == 1
    path.write_bytes(data.replace(secret, secret.replace(b"damaged", b"Damaged")))
    again = SqliteStore(path, ballast_bytes=BALLAST)
    with pytest.raises(Corrupted, match=r"checksum.*restore a backup"):
        again.payloads(JobId(1), 0, 2)
    assert again.payloads(JobId(2), 0, 1).inline == [b"payload 2.0"]
    again.close()


def test_sizes_that_are_not_one_for_each_task_are_noticed(store: SqliteStore, path: Path) -> None:
    commit(store, job_opened(1), tasks_added(1, 0, 4, blobs=[2]))
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE tasks_added SET count = 3")
    connection.commit()
    connection.close()
    again = SqliteStore(path, ballast_bytes=BALLAST)
    with pytest.raises(Corrupted, match=r"4 rows for 3 tasks.*restore a backup"):
        list(again.replay())
    again.close()
