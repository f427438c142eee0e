"""The conformance suite of the Store port's archive: ended jobs, forgetting, backups and restores."""

# ruff: noqa: D102 - the name of a test says what it checks
from __future__ import annotations

import time
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import JobOpened, JobSealed, RunTimeLearnt, TasksRequeued
from farlane.errors import Conflict, NotFound
from farlane.hub.store.port import Store
from farlane.testing.histories import (
    AT,
    FULL_SPEC,
    attempts_failed,
    finished_job,
    job_ended,
    job_opened,
    model_usage,
    node_registered,
    tasks_added,
    tasks_ended,
    tasks_leased,
)
from farlane.testing.store_suite import StoreCase, commit


class StoreArchiveSuite(StoreCase):
    """What every store must keep of jobs that have ended, and give back after a restore."""

    # --- ended jobs -----------------------------------------------------------------------------------------

    def test_a_summary_counts_what_happened(self, store: Store) -> None:
        commit(store, JobOpened(JobId(1), "key", FULL_SPEC, AT), tasks_added(1, 0, 4), tasks_added(1, 4, 2))
        commit(store, tasks_leased(1, [1, 2], at=AT + 3), tasks_leased(1, [0, 3, 4], at=AT + 2))
        commit(store, tasks_ended(1, 0, [0, 1, 2]), attempts_failed(1, [3, 4]))
        commit(store, tasks_leased(1, [3, 4], at=AT + 4), attempts_failed(1, [4]))
        commit(store, tasks_ended(1, 3, [3], TaskState.FAILED), tasks_ended(1, 4, [4, 5], TaskState.STOPPED))
        assert store.ended_job(JobId(1)) is None
        commit(store, job_ended(1, JobState.STOPPED, AT + 5, "enough"))
        found = store.ended_job(JobId(1))
        assert found is not None
        assert (found.total, found.done, found.failed, found.stopped) == (6, 3, 1, 2)
        assert found.spent == 6 * 1000 + sum(range(6)) + 3 * 3
        assert found.lease_ms == 6 * 10 + sum(range(6)) + 3 * 5
        assert (found.first_lease_at, found.retries) == (AT + 2, 3)
        assert (found.key, found.spec, found.state, found.reason) == (
            "key",
            FULL_SPEC,
            JobState.STOPPED,
            "enough",
        )
        assert (found.opened_at, found.ended_at) == (AT, AT + 5)

    def test_a_job_that_never_had_a_lease_says_so(self, store: Store) -> None:
        commit(store, job_opened(1), tasks_added(1, 0, 2), job_ended(1, JobState.STOPPED))
        commit(store, job_opened(2), tasks_leased(2, [0]), attempts_failed(2, [0]))
        found = store.ended_job(JobId(1))
        assert found is not None
        assert (found.first_lease_at, found.retries) == (0.0, 0)

    def test_ended_jobs_come_newest_first(self, store: Store) -> None:
        for job, publisher in ((1, "ada"), (2, "bob"), (3, "ada"), (4, "ada")):
            commit(store, job_opened(job, publisher=publisher))
        for job in (3, 1, 2):
            commit(store, job_ended(job))
        assert [summary.job for summary in store.ended_jobs(None, 10)] == [2, 1, 3]
        assert [summary.job for summary in store.ended_jobs(None, 2)] == [2, 1]
        assert [summary.job for summary in store.ended_jobs("ada", 10)] == [1, 3]
        assert store.ended_jobs("eve", 10) == []

    def test_a_requeue_opens_a_job_again(self, store: Store) -> None:
        first = tasks_ended(1, 0, [0, 1]), tasks_ended(1, 2, [2, 3], TaskState.FAILED)
        leased = tasks_leased(1, [0, 1, 2, 3], at=AT - 5), attempts_failed(1, [2])
        commit(store, job_opened(1), tasks_added(1, 0, 4), JobSealed(JobId(1), 4), *leased, *first)
        commit(store, job_ended(1, JobState.FAILED))
        commit(store, TasksRequeued(JobId(1), [2, 3], AT))
        assert store.ended_job(JobId(1)) is None
        assert store.ended_jobs(None, 10) == []
        assert list(store.replay()) == list(store.replay_job(JobId(1)))
        assert list(store.replay())[-1] == TasksRequeued(JobId(1), [2, 3], AT)
        again = tasks_ended(1, 4, [3]), tasks_ended(1, 5, [2], TaskState.FAILED)
        failed = tasks_leased(1, [2, 3]), attempts_failed(1, [3, 2])
        commit(store, *failed, *again, job_ended(1, JobState.FAILED, AT + 9))
        assert store.results(JobId(1), 4, 100) == list(again)
        assert store.results(JobId(1), 0, 100) == [*first, *again]
        found = store.ended_job(JobId(1))
        assert found is not None
        assert (found.total, found.done, found.failed, found.stopped) == (4, 3, 1, 0)
        assert found.spent == 4 * 1000 + 0 + 1 + 2 + 3 + 2 * 1000 + 3 + 2 + 3 * 3
        assert (found.first_lease_at, found.retries) == (AT - 5, 3)
        assert list(store.replay()) == []

    # --- forgetting -----------------------------------------------------------------------------------------

    def test_forget_drops_tasks_but_keeps_keys_and_summaries(self, store: Store) -> None:
        for job, at in ((1, AT), (2, AT + 10), (3, AT + 20)):
            commit(store, *finished_job(job, 5, at=at))
        commit(store, job_opened(4), tasks_added(4, 0, 1))
        summary = store.ended_job(JobId(1))
        assert store.forget(AT + 20) == 2
        assert store.forget(AT + 20) == 0
        assert store.results(JobId(1), 0, 10) == []
        with pytest.raises(NotFound, match="j1 "):
            store.payloads(JobId(1), 0, 1)
        assert [type(record).__name__ for record in store.replay_job(JobId(1))] == [
            "JobOpened",
            "JobSealed",
            "JobEnded",
        ]
        assert store.job_by_key("ada", "key-1") == 1
        assert store.ended_job(JobId(1)) == summary
        assert store.payloads(JobId(3), 4, 1).inline == [b"payload 3.4"]
        assert store.payloads(JobId(4), 0, 1).inline == [b"payload 4.0"]

    def test_forget_of_a_long_job(self, store: Store) -> None:
        commit(store, job_opened(1), *(tasks_added(1, number, 1) for number in range(500)), job_ended(1))
        assert store.forget(AT + 1) == 1
        assert [type(record).__name__ for record in store.replay_job(JobId(1))] == ["JobOpened", "JobEnded"]

    # --- backups --------------------------------------------------------------------------------------------

    def test_usage_of_models_is_summed_and_survives_a_backup(self, store: Store, tmp_path: Path) -> None:
        commit(store, model_usage(1), model_usage(3, requests=5), model_usage(1, "lab/other"))
        commit(store, model_usage(1, requests=4))
        both = model_usage(1).plus(model_usage(1, requests=4))
        assert (both.requests, both.reply_bytes) == (5, 200)
        assert store.model_usage("2025-06-01", "2025-06-02") == [both, model_usage(1, "lab/other")]
        assert store.model_usage("2025-06-02", "2025-06-30") == [model_usage(3, requests=5)]
        store.backup(str(tmp_path / "backup"))
        (tmp_path / "restored").mkdir()
        restored = self.restore(tmp_path / "backup", tmp_path / "restored")
        assert restored.model_usage("2025-06-01", "2025-06-01")[0] == both
        commit(restored, job_opened(1))
        restored.close()

    def test_a_backup_restores_into_a_new_epoch(self, store: Store, tmp_path: Path) -> None:
        commit(store, node_registered(), RunTimeLearnt("p", 2.5, 4), *finished_job(1, 3), *finished_job(2, 2))
        commit(store, job_opened(3), tasks_added(3, 0, 5, blobs=[1]), tasks_leased(3, [0]))
        store.forget(AT + 1)
        store.backup(str(tmp_path / "backup"))
        commit(store, job_opened(4))
        (tmp_path / "restored").mkdir()
        began = int(time.time())
        restored = self.restore(tmp_path / "backup", tmp_path / "restored")
        assert began <= restored.epoch <= time.time()
        assert restored.network == store.network
        assert restored.last_job() == 3
        assert [*restored.replay(), job_opened(4)] == list(store.replay())
        assert restored.ended_jobs(None, 10) == store.ended_jobs(None, 10)
        assert restored.payloads(JobId(3), 0, 5) == store.payloads(JobId(3), 0, 5)
        assert restored.forget(AT + 1) == 0
        commit(restored, job_opened(4), tasks_ended(3, 0, [0]))
        assert restored.results(JobId(3), 0, 1) == [tasks_ended(3, 0, [0])]
        restored.close()

    def test_restores_of_one_backup_never_share_an_epoch(self, store: Store, tmp_path: Path) -> None:
        store.backup(str(tmp_path / "backup"))
        epochs = [
            self._epoch_restored(tmp_path / "backup", tmp_path / f"at {number}", now)
            for number, now in enumerate((AT, AT + 1.9, AT + 3600))
        ]
        assert epochs == [AT, AT + 1, AT + 3600]

    def test_an_epoch_goes_up_though_the_clock_is_behind(self, store: Store, tmp_path: Path) -> None:
        store.backup(str(tmp_path / "first"))
        (tmp_path / "restored").mkdir()
        restored = self.restore(tmp_path / "first", tmp_path / "restored", AT)
        restored.backup(str(tmp_path / "second"))
        restored.close()
        assert self._epoch_restored(tmp_path / "second", tmp_path / "later", AT - 10) == AT + 1

    def _epoch_restored(self, backup: Path, directory: Path, now: float) -> int:
        directory.mkdir()
        restored = self.restore(backup, directory, now)
        restored.close()
        return restored.epoch

    def test_a_backup_overwrites_nothing(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "precious").write_bytes(b"precious")
        with pytest.raises(Conflict, match="exists"):
            store.backup(str(tmp_path / "precious"))
        assert (tmp_path / "precious").read_bytes() == b"precious"
