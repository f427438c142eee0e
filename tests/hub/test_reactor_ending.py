"""Ending: jobs are stopped, miss their deadline, and are run again for what failed."""

from __future__ import annotations

import pytest

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import JobEnded, JobSealed, TasksRequeued
from farlane.errors import Conflict
from farlane.hub.reactor import submission
from farlane.hub.reactor.commands import Append, Deliver, FinishJob, RevokeLeases
from farlane.hub.reactor.state import MAX_ATTEMPTS
from farlane.testing.builders import a_failure, a_job, a_node, payloads
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs, check_resources, fingerprint

N1 = a_node("n1", cpu=2000)


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def tasks(job: int, *indices: int) -> list[TaskId]:
    return [task_id(JobId(job), index) for index in indices]


class TestStopping:
    def test_what_runs_is_revoked_and_what_waits_never_starts(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 4, seal=False)
        world.schedule()
        world.end(N1.node, tasks(1, 0))
        world.reactor.stop_job(world.now, job.id, "enough")
        revoke, _, running, _, waiting, *end = [c for c in world.take() if not _is_seal(c)]
        assert revoke == RevokeLeases(N1.node, tasks(1, 1), [1], "enough")
        assert isinstance(running, Deliver)
        assert isinstance(waiting, Deliver)
        assert (running.record.seq, running.record.node, running.record.indices) == (1, N1.node, [1])
        assert (waiting.record.seq, waiting.record.node, waiting.record.indices) == (2, "", [2, 3])
        assert (waiting.record.attempts, waiting.record.states) == ([0, 0], bytes([TaskState.STOPPED] * 2))
        assert set(waiting.record.failures.values()) == {Failure(FailureKind.CANCELLED, "enough")}
        assert end == [
            Append(JobEnded(job.id, JobState.STOPPED, world.now, "enough")),
            FinishJob(job.id),
        ]
        assert (job.done, job.stopped, job.failed, job.state) == (1, 3, 0, JobState.STOPPED)
        assert world.held[N1.node] == {}
        assert not world.state.waiting
        check_resources(world.state)
        check_jobs(world.state)

    def test_it_seals_the_job_so_that_nothing_can_be_added(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 1, seal=False)
        world.reactor.stop_job(world.now, job.id, "enough")
        assert Append(JobSealed(job.id, 1)) in world.take()
        with pytest.raises(Conflict, match="sealed"):
            world.reactor.add_tasks(world.now, job.id, 1, payloads(1))

    def test_an_ended_job_stays_as_it_is(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 1)
        world.schedule()
        world.end_all()
        assert world.reactor.stop_job(world.now, job.id, "too late") is job
        assert world.take() == []
        assert (job.state, job.reason) == (JobState.SUCCEEDED, "")

    def test_other_jobs_on_the_same_node_go_on(self, world: SmallWorld) -> None:
        first, second = world.submit(a_job()), world.submit(a_job(), key="2")
        world.schedule()
        world.reactor.stop_job(world.now, first.id, "enough")
        world.take()
        assert list(world.node(N1).leases) == tasks(2, 0)
        assert second.leased == 1
        check_resources(world.state)

    def test_tasks_waiting_to_run_again_are_stopped_too(self, world: SmallWorld) -> None:
        job = world.submit(a_job(retries=1))
        world.schedule()
        world.end(N1.node, tasks(1, 0), a_failure())
        world.reactor.stop_job(world.now, job.id, "enough")
        world.take()
        assert (job.stopped, job.ready, world.schedule()) == (1, 0, 0)

    def test_a_failure_that_is_not_paid_ends_running_tasks_at_no_cost(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.schedule()
        failure = Failure(FailureKind.BUDGET, "no more")
        out: list = []
        submission.end_early(world.state, out, world.now + 5, job, failure, TaskState.FAILED)
        (record,) = [c.record for c in out if isinstance(c, Deliver)]
        assert (record.lease_ms, record.amounts) == ([5001], [0])
        assert (job.spent, job.failed) == (0, 1)


class TestDeadlines:
    def test_what_has_not_ended_by_then_fails(self, world: SmallWorld) -> None:
        job = world.submit(a_job(deadline_at=world.now + 5), 4)
        world.schedule()
        world.end(N1.node, tasks(1, 0))
        world.tick(4.9)
        assert job.failed == 0
        out = world.tick(0.1)
        assert [c.tasks for c in out if isinstance(c, RevokeLeases)] == [tasks(1, 1)]
        assert (job.done, job.failed, job.state) == (1, 3, JobState.FAILED)
        failures = [f for c in out if isinstance(c, Deliver) for f in c.record.failures.values()]
        assert {f.kind for f in failures} == {FailureKind.DEADLINE}
        assert job.reason == "the job's deadline passed before this task had ended"
        check_resources(world.state)

    def test_a_job_that_was_done_in_time_has_no_reason(self, world: SmallWorld) -> None:
        job = world.submit(a_job(deadline_at=world.now + 5), 1, seal=False)
        world.schedule()
        world.end_all()
        assert world.tick(6) == []
        world.reactor.seal_job(world.now, job.id)
        assert world.take()[1] == Append(JobEnded(job.id, JobState.SUCCEEDED, world.now))

    def test_an_open_job_stays_open_and_later_tasks_fail_as_well(self, world: SmallWorld) -> None:
        job = world.submit(a_job(deadline_at=world.now + 5), 1, seal=False)
        world.tick(6)
        assert (job.failed, job.state) == (1, JobState.PENDING)
        world.reactor.add_tasks(world.now, job.id, 1, payloads(1))
        world.tick(0.1)
        world.reactor.seal_job(world.now, job.id)
        assert (job.failed, job.state) == (2, JobState.FAILED)


class TestRetrying:
    def ended_job(self, world: SmallWorld, retries: int = 0) -> None:
        """Leave job 1 with one task done, two failed and one stopped."""
        job = world.submit(a_job(retries=retries), 4)
        world.schedule()
        world.end(N1.node, tasks(1, 0))
        world.end(N1.node, tasks(1, 1), a_failure(FailureKind.BAD_PAYLOAD))
        world.schedule()
        world.end(N1.node, tasks(1, 2), a_failure(FailureKind.BAD_PAYLOAD))
        world.reactor.stop_job(world.now, job.id, "enough")
        world.take()
        assert (job.done, job.failed, job.stopped) == (1, 2, 1)

    @pytest.mark.parametrize("forgotten", [False, True])
    def test_failed_and_stopped_tasks_run_again(self, world: SmallWorld, forgotten: bool) -> None:
        self.ended_job(world)
        earned, spent, done = world.node(N1).earned, world.state.jobs[JobId(1)].spent, world.node(N1).done
        if forgotten:
            world.reactor.forget_job(JobId(1))
        job = world.state.jobs.get(JobId(1)) or world.reactor.restore_job(world.records_of(JobId(1)))
        assert job is not None
        world.now += 100
        assert world.reactor.retry_job(world.now, job) == 3
        assert world.take() == [Append(TasksRequeued(job.id, [1, 2, 3], world.now))]
        assert (job.state, job.ready, job.done, job.failed, job.stopped) == (JobState.PENDING, 3, 1, 0, 0)
        assert (job.since, job.ended_at, job.reason, job.spent, job.seq) == (world.now, 0.0, "", spent, 4)
        assert world.state.keys["lab/ada", "key"] == 1
        assert (world.node(N1).earned, world.node(N1).done) == (earned, done)
        while world.schedule():
            world.end_all()
            world.now += 1
            world.beat()
        assert (job.state, job.done, job.seq) == (JobState.SUCCEEDED, 4, 7)
        assert {lease.attempt for lease in world.granted if lease.task == tasks(1, 1)[0]} == {1, 2}

    def test_they_have_all_their_retries_again(self, world: SmallWorld) -> None:
        job = world.submit(a_job(retries=1))
        for _ in range(2):
            for _ in range(2):
                world.schedule()
                world.end_all(a_failure())
            assert job.state is JobState.FAILED
            world.reactor.retry_job(world.now, job)
        assert job.attempts[0] == 4

    def test_a_job_that_has_not_ended_is_refused(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        with pytest.raises(
            Conflict, match=r"j1 is pending; only an ended job can be retried \(stop it first\)"
        ):
            world.reactor.retry_job(world.now, job)

    def test_a_job_without_failures_is_refused(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.schedule()
        world.end_all()
        with pytest.raises(Conflict, match="j1 has no failed or stopped task to retry"):
            world.reactor.retry_job(world.now, job)

    def test_a_task_is_not_tried_so_often_that_attempts_would_get_old_numbers(
        self, world: SmallWorld
    ) -> None:
        self.ended_job(world, retries=100)
        job = world.state.jobs[JobId(1)]
        job.attempts[2] = MAX_ATTEMPTS - 111
        assert world.reactor.retry_job(world.now, job) == 3
        world.reactor.stop_job(world.now, job.id, "enough")
        job.attempts[2] += 1
        with pytest.raises(
            Conflict, match=r"been tried 145 times; with its 100 retries .* limit of 255 attempts"
        ):
            world.reactor.retry_job(world.now, job)

    def test_a_job_without_records_cannot_be_restored(self, world: SmallWorld) -> None:
        assert world.reactor.restore_job([]) is None

    def test_restoring_leaves_what_is_open_alone(self, world: SmallWorld) -> None:
        self.ended_job(world)
        world.submit(a_job(), 2, key="2")
        world.schedule()
        world.reactor.forget_job(JobId(1))
        before = fingerprint(world.state)
        world.reactor.restore_job(world.records_of(JobId(1)))
        assert fingerprint(world.state) == before
        check_resources(world.state)


def _is_seal(command: object) -> bool:
    return isinstance(command, Append) and isinstance(command.record, JobSealed)
