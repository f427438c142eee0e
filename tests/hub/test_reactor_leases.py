"""Leases: an answer counts by its fence (epoch, attempt, node), exactly once; silent nodes lose what they hold."""

from __future__ import annotations

import pytest

from farlane.domain.failures import MAX_FREE_ATTEMPTS, FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import Durability, JobState, TaskState
from farlane.domain.records import AttemptsFailed, TasksEnded, TasksLeased
from farlane.hub.reactor.commands import AcceptEnded, Append, Deliver, FinishJob, GrantLeases
from farlane.testing.builders import a_failure, a_job, a_node
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs, check_journal, check_resources, fingerprint

N1, N2 = a_node("n1"), a_node("n2")
TASK = task_id(JobId(1), 0)


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def lose_and_lease_again(world: SmallWorld) -> None:
    """Let the lease of the only node run out, and give it the same task again."""
    world.tick(10.5)
    world.now += 5
    world.beat()
    assert world.schedule() == 1


def test_a_lease_is_recorded_before_its_node_gets_it(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.commands.clear()
    assert world.schedule() == 2
    leased = TasksLeased(JobId(1), N1.node, [0, 1], [1, 1], world.now)
    granted = GrantLeases(N1.node, JobId(1), [0, 1], [1, 1], relaxed=False)
    assert world.commands == [Append(leased), granted]


def test_a_result_is_recorded_delivered_and_then_acknowledged(world: SmallWorld) -> None:
    job = world.submit(a_job(profile=""))
    world.schedule()
    world.now += 2
    ended, deliver, job_ended, finish, accepted = world.end(N1.node, [TASK], lease_ms=1500)
    assert isinstance(deliver, Deliver)
    assert ended == Append(deliver.record)
    record = deliver.record
    assert (record.seq, record.node, record.at, record.indices, record.attempts) == (
        0,
        N1.node,
        world.now,
        [0],
        [1],
    )
    assert (record.states, record.results.inline, record.lease_ms) == (
        bytes([TaskState.DONE]),
        [b"result"],
        [1500],
    )
    assert (record.cpu_us, record.peak_bytes) == ([1000], [4096])
    assert isinstance(job_ended, Append)
    assert finish == FinishJob(job.id)
    assert accepted == AcceptEnded(N1.node, 1, 1, relaxed=False)
    assert job.state is JobState.SUCCEEDED
    assert world.node(N1).done == 1


def test_an_answer_given_twice_counts_once(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    world.end(N1.node, [TASK])
    before = fingerprint(world.state)
    out = world.report(N1.node, [TASK], [1])
    assert out == [AcceptEnded(N1.node, 1, 2, relaxed=False)]
    assert fingerprint(world.state) == before
    assert world.state.stale_results == 1


def test_a_task_named_twice_in_one_batch_counts_once(world: SmallWorld) -> None:
    job = world.submit(a_job())
    world.schedule()
    world.report(N1.node, [TASK, TASK], [1, 1])
    assert (job.done, world.state.stale_results) == (1, 1)
    check_resources(world.state)


def test_an_answer_after_the_lease_was_given_to_another_node_is_void(world: SmallWorld) -> None:
    job = world.submit(a_job())
    world.schedule()
    world.tick(10.5)
    world.join(N2)
    assert world.schedule() == 1
    assert world.held[N2.node] == {TASK: 2}
    before = fingerprint(world.state)
    world.report(N1.node, [TASK], [1])
    assert fingerprint(world.state) == before
    world.end(N2.node, [TASK])
    assert job.done == 1


def test_an_answer_of_the_same_node_to_an_older_attempt_is_void(world: SmallWorld) -> None:
    job = world.submit(a_job())
    world.schedule()
    lose_and_lease_again(world)
    assert world.held[N1.node] == {TASK: 2}
    before = fingerprint(world.state)
    world.report(N1.node, [TASK], [1], a_failure())
    assert fingerprint(world.state) == before
    world.report(N1.node, [TASK], [2])
    assert job.done == 1


@pytest.mark.parametrize("epoch", [0, 2])
def test_an_answer_of_another_epoch_is_void(world: SmallWorld, epoch: int) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    before = fingerprint(world.state)
    world.report(N1.node, [TASK, TaskId(TASK + 1)], [1, 1], epoch=epoch)
    assert fingerprint(world.state) == before
    assert world.state.stale_results == 2


def test_an_answer_to_an_attempt_never_given_is_void(world: SmallWorld) -> None:
    world.submit(a_job())
    world.schedule()
    before = fingerprint(world.state)
    world.report(N1.node, [TASK, task_id(JobId(9), 9)], [2, 1])
    assert fingerprint(world.state) == before


def test_rows_of_one_batch_are_judged_one_by_one(world: SmallWorld) -> None:
    first, second = world.submit(a_job(), 2), world.submit(a_job(), 1, key="2")
    world.schedule()
    other = task_id(second.id, 0)
    out = world.report(N1.node, [TASK, other, TaskId(TASK + 1)], [1, 1, 7])
    assert (first.done, second.done, world.state.stale_results) == (1, 1, 1)
    assert [command.record.job for command in out if isinstance(command, Deliver)] == [1, 2]
    assert list(world.node(N1).leases) == [TASK + 1]


@pytest.mark.parametrize(
    ("rows", "relaxed"), [([1], True), ([2], False), ([1, 2], False), ([1, 9], False), ([9], False)]
)
def test_only_results_of_relaxed_jobs_are_acknowledged_early(
    world: SmallWorld, rows: list[int], relaxed: bool
) -> None:
    world.submit(a_job(durability=Durability.RELAXED))
    world.submit(a_job(), key="2")
    world.schedule()
    grants = {command.job: command.relaxed for command in world.commands if isinstance(command, GrantLeases)}
    assert grants == {1: True, 2: False}
    out = world.report(N1.node, [task_id(JobId(job), 0) for job in rows], [1] * len(rows))
    assert out[-1] == AcceptEnded(N1.node, 1, 1, relaxed)
    delivered = {command.record.job: command.relaxed for command in out if isinstance(command, Deliver)}
    assert delivered == {job: job == 1 for job in rows if job != 9}


def test_the_cursor_counts_every_end_once_in_order(world: SmallWorld) -> None:
    job = world.submit(a_job(), 4)
    world.schedule()
    for index in (2, 0, 3, 1):
        world.end(N1.node, [task_id(job.id, index)])
    ends = [record for record in world.journal if isinstance(record, TasksEnded)]
    assert [(record.seq, record.indices) for record in ends] == [(0, [2]), (1, [0]), (2, [3]), (3, [1])]


class TestExpiry:
    def test_a_silent_node_loses_its_leases_after_a_lease_and_not_before(self, world: SmallWorld) -> None:
        world.submit(a_job(), 2)
        world.schedule()
        world.tick(10.0)
        assert len(world.node(N1).leases) == 2
        world.tick(0.5)
        assert world.node(N1).leases == {}
        record = world.journal[-1]
        assert isinstance(record, AttemptsFailed)
        assert (record.indices, record.attempts, record.amounts) == ([0, 1], [1, 1], [0, 0])
        assert record.lease_ms == [10_501, 10_501]
        assert {failure.kind for failure in record.failures} == {FailureKind.NODE_LOST}
        assert record.failures[0].message == "node n1 has not been heard of for 10 s"

    def test_a_heartbeat_renews_every_lease(self, world: SmallWorld) -> None:
        world.submit(a_job())
        world.schedule()
        for _ in range(5):
            world.tick(6.0)
            world.reactor.hear_node(world.now, N1.node, 0.25)
        assert list(world.node(N1).leases) == [TASK]
        assert (world.node(N1).rtt_s, world.node(N1).last_seen) == (0.25, world.now)
        world.reactor.hear_node(world.now, N1.node)
        assert world.node(N1).rtt_s == 0.25

    def test_what_is_lost_runs_elsewhere_when_there_is_an_elsewhere(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.schedule()
        world.tick(10.5)
        assert job.avoid == {0: frozenset({N1.node})}
        world.now += 1000
        world.beat()
        world.join(N2)
        world.schedule()
        assert world.held[N2.node] == {TASK: 2}
        world.end(N2.node, [TASK])
        assert job.avoid == {}

    def test_what_is_lost_runs_on_the_same_node_when_there_is_no_other(self, world: SmallWorld) -> None:
        world.submit(a_job())
        world.schedule()
        lose_and_lease_again(world)
        assert world.held[N1.node] == {TASK: 2}

    def test_after_many_losses_a_task_fails_and_its_lease_is_given_back(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        for attempt in range(1, MAX_FREE_ATTEMPTS + 2):
            world.join(N1, forgetful=True)
            world.now += 600
            world.beat()
            assert world.schedule() == 1
            assert world.held[N1.node] == {TASK: attempt}
            assert job.free.get(0, 0) == attempt - 1
        world.tick(10.5)
        assert (job.state, job.failed, job.retried, job.free) == (JobState.FAILED, 1, MAX_FREE_ATTEMPTS, {})
        record = next(record for record in reversed(world.journal) if isinstance(record, TasksEnded))
        assert (record.node, record.attempts, record.amounts) == (N1.node, [MAX_FREE_ATTEMPTS + 1], [0])
        assert record.failures[0].kind is FailureKind.NODE_LOST
        for check in (check_jobs, check_resources):
            check(world.state)
        check_journal(world)

    def test_lost_tasks_with_and_without_attempts_left_part_ways(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 2)
        job.free[1] = MAX_FREE_ATTEMPTS
        world.schedule()
        world.tick(10.5)
        assert bytes(job.states) == bytes([TaskState.QUEUED, TaskState.FAILED])
        failed, ended = world.journal[-2:]
        assert isinstance(failed, AttemptsFailed)
        assert isinstance(ended, TasksEnded)
        assert (failed.indices, ended.indices) == ([0], [1])
        assert job.lease_ms == world.node(N1).busy_ms == 2 * 10_501
        check_resources(world.state)
        assert job.running == {}
