"""The conformance suite of the Store port: subclass it in a test module and say how a store is made."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import BlobRef, TaskState
from farlane.domain.records import (
    Column,
    JobOpened,
    JobSealed,
    Record,
    RunTimeLearnt,
    TasksAdded,
    TasksEnded,
)
from farlane.errors import Conflict, FarlaneError, NotFound
from farlane.hub.store.port import Store
from farlane.testing.histories import (
    A100,
    AT,
    FULL_SPEC,
    attempts_failed,
    finished_job,
    job_ended,
    job_opened,
    node_registered,
    tasks_added,
    tasks_ended,
    tasks_leased,
)

WAIT_S = 30.0
"""How long a commit may take before a test gives up."""


def append(store: Store, records: Sequence[Record]) -> Future[None]:
    """Append records; the future ends when they are durable, or with the store's error."""
    future: Future[None] = Future()

    def on_durable(error: Exception | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    store.append(records, on_durable)
    return future


def commit(store: Store, *records: Record) -> None:
    """Append records and wait until they are durable."""
    append(store, records).result(WAIT_S)


class StoreCase(ABC):
    """How a store is made and restored, and one that is lent to each test."""

    @abstractmethod
    def create(self, directory: Path) -> Store:
        """Make a new store in an empty directory."""

    @abstractmethod
    def restore(self, backup: Path, directory: Path, now: float | None = None) -> Store:
        """Make a store in an empty directory from another's backup, at a time (None: by the machine's clock)."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """Lend a new store."""
        directory = tmp_path / "store"
        directory.mkdir()
        store = self.create(directory)
        yield store
        store.close()


class StoreSuite(StoreCase):
    """What every store must do; what it keeps of ended jobs is `farlane.testing.store_archive_suite`."""

    def test_a_new_store_is_empty_and_has_its_own_network(self, store: Store, tmp_path: Path) -> None:
        other = self.create(tmp_path)
        assert store.epoch == other.epoch == 1
        assert len(store.network) >= 16
        assert store.network != other.network
        other.close()
        assert list(store.replay()) == []
        assert store.last_job() == 0
        assert store.ended_jobs(None, 10) == []
        assert store.job_spec(JobId(1)) is None
        assert store.job_by_key("ada", "key-1") is None
        assert store.ended_job(JobId(1)) is None

    # --- durability -----------------------------------------------------------------------------------------

    def test_every_append_is_acknowledged_once_and_in_order(self, store: Store) -> None:
        order: list[int] = []
        commit(store, job_opened(1))
        for number in range(200):
            store.append([tasks_added(1, number, 1)], lambda error, number=number: order.append(number))  # type: ignore[misc]
        commit(store)
        assert order == list(range(200))

    def test_append_does_not_wait_for_the_storage_thread(self, store: Store) -> None:
        gate = threading.Event()
        told: list[int] = []
        store.append([job_opened(1)], lambda error: told.append(gate.wait(WAIT_S)))
        last = append(store, [job_opened(2)])
        assert not last.done()
        assert not told
        gate.set()
        last.result(WAIT_S)
        assert told == [True]

    def test_what_is_acknowledged_can_be_read_at_that_moment(self, store: Store) -> None:
        seen: Future[Column] = Future()
        store.append(
            [job_opened(1), tasks_added(1, 0, 3)],
            lambda error: seen.set_result(store.payloads(JobId(1), 1, 2)),
        )
        assert seen.result(WAIT_S).inline == [b"payload 1.1", b"payload 1.2"]

    def test_an_empty_append_is_acknowledged_after_those_before(self, store: Store) -> None:
        first = append(store, [job_opened(1)])
        append(store, []).result(WAIT_S)
        assert first.done()

    def test_a_listener_that_fails_does_not_stop_the_others(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(error: Exception | None) -> None:
            raise ValueError("a broken listener")

        store.append([job_opened(1)], broken)
        commit(store, job_opened(2))
        assert store.last_job() == 2
        assert "a broken listener" in caplog.text

    def test_after_a_failed_commit_nothing_is_accepted_until_resumed(self, store: Store) -> None:
        commit(store, job_opened(1))
        failed = append(store, [job_opened(2), job_opened(3, key="key-1")])
        error = failed.exception(WAIT_S)
        assert isinstance(error, FarlaneError)
        with pytest.raises(type(error)) as refused:
            commit(store, job_opened(4))
        assert refused.value.args == error.args
        assert store.last_job() == 1
        store.resume()
        commit(store, job_opened(2))
        assert [record.job for record in store.replay() if isinstance(record, JobOpened)] == [1, 2]

    def test_resume_of_a_healthy_store_changes_nothing(self, store: Store) -> None:
        store.resume()
        commit(store, job_opened(1))
        assert store.last_job() == 1

    def test_close_commits_what_is_queued_and_ends_everything(self, store: Store) -> None:
        last = [append(store, [job_opened(number)]) for number in range(1, 50)][-1]
        store.close()
        assert last.done()
        assert last.exception() is None
        store.close()
        with pytest.raises(Conflict, match="closed"):
            append(store, [job_opened(50)])
        with pytest.raises(Conflict, match="closed"):
            store.last_job()

    def test_many_threads_read_while_the_hub_appends(self, store: Store) -> None:
        commit(store, job_opened(1))
        stop = threading.Event()

        def read() -> int:
            most = 0
            while not stop.is_set():
                count = sum(isinstance(record, TasksAdded) for record in store.replay_job(JobId(1)))
                assert count >= most
                most = count
            return most

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(4)]
            for number in range(100):
                commit(store, tasks_added(1, number, 1))
            stop.set()
            assert all(0 <= reader.result(WAIT_S) <= 100 for reader in readers)

    # --- replay ---------------------------------------------------------------------------------------------

    def test_replay_yields_open_jobs_in_order_without_payloads_and_results(self, store: Store) -> None:
        ended = tasks_ended(1, 0, [0, 2], TaskState.FAILED)
        written: list[Record] = [
            JobOpened(JobId(1), "key", FULL_SPEC, AT), tasks_added(1, 0, 3, blobs=[1]), job_opened(2),
            tasks_leased(1, [0, 2], copy=1, gpu=A100), tasks_added(2, 0, 2), ended, attempts_failed(2, [1]),
            tasks_added(1, 3, 1), JobSealed(JobId(1), 4),
        ]  # fmt: skip
        for record in written:
            commit(store, record)
        expected = list(written)
        expected[1] = TasksAdded(JobId(1), 0, Column([b"", b"", b""], {}), AT, [11, 100_001, 11])
        expected[4] = TasksAdded(JobId(2), 0, Column([b"", b""], {}), AT, [11, 11])
        expected[5] = replace(ended, results=Column([b"", b""], {}))
        expected[7] = TasksAdded(JobId(1), 3, Column([b""], {}), AT, [11])
        assert list(store.replay()) == expected

    @pytest.mark.parametrize(
        ("payloads", "given", "sizes"),
        [
            (Column([b""], {}), None, [0]),
            (Column([b"abc"] * 300, {}), None, [3] * 300),
            (Column([b"a" * row for row in range(300)], {}), None, list(range(300))),
            (Column([b"", b"ab"], {0: BlobRef("bafk", 1 << 40)}), None, [1 << 40, 2]),
            (Column([b"", b""], {0: BlobRef("bafk", 9), 1: BlobRef("bafk", 9)}), None, [9, 9]),
            (Column([b"", b""], {}), [5, 70_000], [5, 70_000]),  # a record that was replayed itself
        ],
        ids=["empty", "alike", "different", "blob", "blobs alike", "given"],
    )
    def test_the_sizes_of_payloads_are_replayed(
        self, store: Store, payloads: Column, given: list[int] | None, sizes: list[int]
    ) -> None:
        commit(store, job_opened(1), TasksAdded(JobId(1), 0, payloads, AT, given))
        expected = TasksAdded(JobId(1), 0, Column([b""] * len(sizes), {}), AT, sizes)
        assert list(store.replay()) == list(store.replay_job(JobId(1))) == [job_opened(1), expected]
        assert store.payloads(JobId(1), 0, len(sizes)) == payloads

    def test_an_ended_job_is_replayed_only_by_name(self, store: Store) -> None:
        life = finished_job(1, 3)
        commit(store, *life, job_opened(2))
        assert list(store.replay()) == [job_opened(2)]
        replayed = list(store.replay_job(JobId(1)))
        assert [type(record) for record in replayed] == [type(record) for record in life]
        assert replayed[-1] == life[-1]
        assert list(store.replay_job(JobId(3))) == []

    def test_nodes_and_run_times_come_first_and_once(self, store: Store) -> None:
        commit(store, node_registered("n1", "old"), job_opened(1), RunTimeLearnt("p", 5.0, 1))
        commit(store, node_registered("n2"), RunTimeLearnt("q", 7.5, 2))
        commit(store, node_registered("n1", "new"), RunTimeLearnt("p", 6.0, 2))
        assert list(store.replay()) == [
            node_registered("n2"), node_registered("n1", "new"), RunTimeLearnt("q", 7.5, 2),
            RunTimeLearnt("p", 6.0, 2), job_opened(1),
        ]  # fmt: skip

    def test_a_replay_may_be_left_half_way(self, store: Store) -> None:
        commit(store, job_opened(1), job_opened(2))
        assert next(iter(store.replay())) == job_opened(1)
        commit(store, job_opened(3))
        assert len(list(store.replay())) == 3

    # --- jobs, payloads, results ----------------------------------------------------------------------------

    def test_jobs_are_found_by_key_and_number(self, store: Store) -> None:
        commit(store, JobOpened(JobId(7), "k", FULL_SPEC, AT), job_opened(9, key="k", publisher="bob"))
        assert store.last_job() == 9
        assert store.job_by_key("ada", "k") == 7
        assert store.job_by_key("bob", "k") == 9
        assert store.job_by_key("eve", "k") is None
        assert store.job_spec(JobId(7)) == FULL_SPEC
        commit(store, job_ended(7))
        assert store.job_by_key("ada", "k") == 7
        assert store.job_spec(JobId(7)) == FULL_SPEC

    def test_payloads_of_any_range(self, store: Store) -> None:
        commit(store, job_opened(1), job_opened(2))
        batches = [tasks_added(1, 0, 4, blobs=[0, 3]), tasks_added(1, 4, 1), tasks_added(1, 5, 6, blobs=[2])]
        for batch in batches:
            commit(store, batch, tasks_added(2, batch.first, len(batch.payloads.inline)))
        inline = [payload for batch in batches for payload in batch.payloads.inline]
        blobs = {batch.first + row: blob for batch in batches for row, blob in batch.payloads.blobs.items()}
        for first in range(11):
            for count in range(12 - first):
                rows = range(first, first + count)
                expected = Column(
                    inline[first : first + count], {i - first: blobs[i] for i in rows if i in blobs}
                )
                assert store.payloads(JobId(1), first, count) == expected

    @pytest.mark.parametrize(("job", "first", "count"), [(1, 3, 2), (1, 4, 1), (2, 0, 1)])
    def test_payloads_that_are_not_there_are_missed(
        self, store: Store, job: int, first: int, count: int
    ) -> None:
        commit(store, job_opened(1), tasks_added(1, 0, 4))
        with pytest.raises(NotFound, match=f"j{job} has no payloads {first} to {first + count - 1}"):
            store.payloads(JobId(job), first, count)

    def test_results_resume_at_any_cursor(self, store: Store) -> None:
        commit(store, job_opened(1), tasks_added(1, 0, 12), job_opened(2), tasks_ended(2, 0, [0]))
        ended = [tasks_ended(1, 0, [5, 1, 3]), tasks_ended(1, 3, [0]), tasks_ended(1, 4, [9, 8, 7, 6])]
        for record in ended:
            commit(store, record)
        for after in range(9):
            for limit in range(10):
                assert store.results(JobId(1), after, limit) == _expected(ended, after, limit)
        assert store.results(JobId(3), 0, 10) == []


def _expected(ended: list[TasksEnded], after: int, limit: int) -> list[TasksEnded]:
    found, tasks = [], 0
    for record in ended:
        if record.seq + len(record.indices) > after and tasks < limit:
            found.append(record)
            tasks += len(record.indices)
    return found
