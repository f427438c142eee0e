"""Failures: each kind runs again as its rule says, within its allowance, and ends the task when that is used up."""

from __future__ import annotations

import pytest

from farlane.domain.failures import MAX_FREE_ATTEMPTS, RULES, FailureKind
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import AttemptsFailed, TasksEnded
from farlane.testing.builders import a_failure, a_job, a_node
from farlane.testing.small_world import SmallWorld

N1, N2 = a_node("n1"), a_node("n2", cpu=1000)
TASK = task_id(JobId(1), 0)


def kinds(again: str) -> list[FailureKind]:
    return [kind for kind, rule in RULES.items() if rule.again == again]


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def attempts_until_the_end(world: SmallWorld, kind: FailureKind) -> int:
    """Fail the one task of job 1 in the same way until it is not given out again; returns how often it ran."""
    ran = 0
    while True:
        world.now += 300
        world.beat()
        if not world.schedule():
            return ran
        ran += 1
        world.end(N1.node, [TASK], a_failure(kind))


@pytest.mark.parametrize("kind", kinds("counted"))
@pytest.mark.parametrize("retries", [0, 2])
def test_a_publishers_failure_uses_up_the_retries(world: SmallWorld, kind: FailureKind, retries: int) -> None:
    job = world.submit(a_job(retries=retries))
    assert attempts_until_the_end(world, kind) == 1 + retries
    assert (job.state, job.failed, job.retried) == (JobState.FAILED, 1, retries)


@pytest.mark.parametrize("kind", kinds("free"))
def test_anybody_elses_failure_uses_up_none_but_not_for_ever(world: SmallWorld, kind: FailureKind) -> None:
    job = world.submit(a_job(retries=2))
    assert attempts_until_the_end(world, kind) == 1 + MAX_FREE_ATTEMPTS
    assert (job.state, job.failed) == (JobState.FAILED, 1)


@pytest.mark.parametrize("kind", kinds("never"))
def test_what_cannot_get_better_never_runs_again(world: SmallWorld, kind: FailureKind) -> None:
    job = world.submit(a_job(retries=2))
    assert attempts_until_the_end(world, kind) == 1
    assert (job.state, job.retried) == (JobState.FAILED, 0)


def test_counted_and_free_failures_have_allowances_of_their_own(world: SmallWorld) -> None:
    job = world.submit(a_job(retries=1))
    for kind in (FailureKind.BLOB, FailureKind.TIMEOUT, FailureKind.BLOB):
        world.schedule()
        world.end(N1.node, [TASK], a_failure(kind))
    assert (job.counted, job.free) == ({0: 1}, {0: 2})
    world.schedule()
    world.end(N1.node, [TASK], a_failure(FailureKind.TIMEOUT))
    assert job.state is JobState.FAILED
    assert (job.counted, job.free, job.avoid) == ({}, {}, {})


def test_the_last_failure_is_what_the_publisher_sees(world: SmallWorld) -> None:
    world.submit(a_job(retries=1), 2)
    for message in ("first", "second"):
        world.schedule()
        world.end(N1.node, [TASK], a_failure(FailureKind.EXCEPTION, message))
    again, ended = (r for r in world.journal if isinstance(r, AttemptsFailed | TasksEnded))
    assert isinstance(again, AttemptsFailed)
    assert isinstance(ended, TasksEnded)
    assert ([f.message for f in again.failures], again.attempts) == (["first"], [1])
    assert ({row: f.message for row, f in ended.failures.items()}, ended.attempts) == ({0: "second"}, [2])
    assert ended.states == bytes([TaskState.FAILED])


def test_a_mixed_batch_ends_some_and_queues_the_others_again(world: SmallWorld) -> None:
    job = world.submit(a_job(retries=1), 4)
    job.counted[2] = 1
    world.schedule()
    tasks = [task_id(job.id, index) for index in (3, 2, 1)]
    world.end(N1.node, [task_id(job.id, 0)])
    world.end(N1.node, tasks, a_failure())
    assert bytes(job.states) == bytes([TaskState.DONE, TaskState.QUEUED, TaskState.FAILED, TaskState.QUEUED])
    ended, again = world.journal[-2:]
    assert isinstance(ended, TasksEnded)
    assert isinstance(again, AttemptsFailed)
    assert (ended.seq, ended.indices, ended.failures) == (1, [2], {0: a_failure()})
    assert again.indices == [3, 1]
    assert (world.node(N1).done, world.node(N1).failed, world.node(N1).lost) == (1, 3, 0)
    assert sorted(job.returned) == [1, 3]


def test_a_retry_goes_where_the_task_has_not_failed_yet(world: SmallWorld) -> None:
    world.submit(a_job(retries=3))
    world.schedule()
    world.end(N1.node, [TASK], a_failure())
    world.join(N2)
    world.schedule()
    assert world.held[N2.node] == {TASK: 2}
    world.end(N2.node, [TASK], a_failure())
    assert world.state.jobs[JobId(1)].avoid == {0: frozenset({N1.node, N2.node})}
    assert world.schedule() == 1  # both have failed it: any will do


def test_tasks_that_failed_in_different_places_are_placed_apart(world: SmallWorld) -> None:
    job = world.submit(a_job(retries=3), 5)
    world.join(N2)
    assert world.schedule() == 5
    held = dict(world.held[N2.node])
    assert len(held) == 1
    world.end(N2.node, list(held), a_failure())
    world.end(N1.node, list(world.held[N1.node]), a_failure())
    view, _ = world.reactor.view(world.now)
    avoided = {
        tuple(world.state.table.ids[row] for row in range(2) if group.avoid is not None and group.avoid[row]):
        group.count for group in view.groups
    }  # fmt: skip
    assert avoided == {(N2.node,): 1, (N1.node,): 4}
    world.schedule()
    (moved,) = held
    assert moved in world.held[N1.node]
    assert len(world.held[N2.node]) == 1
    assert job.leased >= 2


def test_what_comes_back_is_looked_at_before_younger_jobs() -> None:
    tiny = SmallWorld()
    tiny.join(a_node("n1", cpu=1000))
    tiny.submit(a_job(retries=1))
    tiny.schedule()
    for key in range(70):
        tiny.submit(a_job(), key=str(key))
    tiny.end(N1.node, [TASK], a_failure())
    view, _ = tiny.reactor.view(tiny.now)
    assert [group.job for group in view.groups][:2] == [1, 2]
    tiny.schedule()
    assert TASK in tiny.held[N1.node]
