"""Submission: a submit that is retried makes one job, batches may overlap but leave no gap, a job ends when sealed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import BlobRef, JobState
from farlane.domain.records import Column, JobEnded, JobOpened, JobSealed, TasksAdded
from farlane.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from farlane.hub.reactor import submission
from farlane.hub.reactor.commands import Append, FinishJob
from farlane.testing.builders import a_job, a_node, payloads
from farlane.testing.small_world import SmallWorld


@pytest.fixture
def world() -> SmallWorld:
    return SmallWorld()


def test_a_submit_is_recorded_with_its_key_and_time(world: SmallWorld) -> None:
    spec = a_job()
    job, existed = world.reactor.open_job(world.now, "k", spec)
    assert not existed
    assert world.take() == [Append(JobOpened(job.id, "k", spec, world.now))]
    assert job.state is JobState.PENDING


def test_a_submit_repeated_after_a_lost_reply_finds_its_job(world: SmallWorld) -> None:
    job = world.submit(a_job(), 3)
    again, existed = world.reactor.open_job(world.now + 5, "key", a_job())
    assert (again, existed) == (job, True)
    assert world.take() == []


def test_one_key_for_two_specifications_is_refused(world: SmallWorld) -> None:
    world.submit(a_job())
    with pytest.raises(IdempotencyMismatch, match="j1 with another specification; use a new key") as caught:
        world.reactor.open_job(world.now, "key", a_job(priority=51))
    assert caught.value.facts == {"job": 1}
    assert world.take() == []


def test_two_publishers_may_use_the_same_key(world: SmallWorld) -> None:
    first = world.submit(a_job())
    second = world.submit(a_job(publisher="lab/bob"))
    assert (first.id, second.id) == (1, 2)


def test_a_batch_sent_again_adds_nothing_and_one_that_overlaps_adds_its_tail(world: SmallWorld) -> None:
    job = world.submit(a_job(), 3, seal=False)
    world.reactor.add_tasks(world.now, job.id, 0, payloads(3))
    assert world.take() == []
    world.reactor.add_tasks(
        world.now, job.id, 2, Column([b"same", b"new", b"newer"], {2: BlobRef("cid", 70_000)})
    )
    (added,) = world.take()
    assert added == Append(
        TasksAdded(job.id, 3, Column([b"new", b"newer"], {1: BlobRef("cid", 70_000)}), world.now)
    )
    assert job.total == 5
    assert list(job.sizes) == [4, 4, 4, 3, 70_000]


def test_a_batch_that_leaves_a_gap_is_refused(world: SmallWorld) -> None:
    job = world.submit(a_job(), 3, seal=False)
    with pytest.raises(InvalidInput, match="j1 has 3 tasks; a batch from 4 on would leave a gap"):
        world.reactor.add_tasks(world.now, job.id, 4, payloads(1))
    assert job.total == 3


def test_a_sealed_job_takes_what_it_has_and_nothing_more(world: SmallWorld) -> None:
    job = world.submit(a_job(), 3)
    assert world.reactor.add_tasks(world.now, job.id, 1, payloads(2)) is job
    with pytest.raises(Conflict, match="j1 is sealed at 3 tasks; open a new job"):
        world.reactor.add_tasks(world.now, job.id, 1, payloads(3))
    assert world.take() == []


def test_a_job_holds_only_so_many_tasks(world: SmallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "MAX_TASKS_PER_JOB", 4)
    job = world.submit(a_job(), 3, seal=False)
    with pytest.raises(InvalidInput, match=r"j1 would have 5 tasks; one job holds at most 4: split"):
        world.reactor.add_tasks(world.now, job.id, 3, payloads(2))
    assert world.reactor.add_tasks(world.now, job.id, 3, payloads(1)).total == 4


@pytest.mark.parametrize("event", ["add_tasks", "seal_job", "stop_job"])
def test_a_job_that_is_not_open_is_not_found(world: SmallWorld, event: str) -> None:
    arguments = {"add_tasks": (0, payloads(1)), "seal_job": (), "stop_job": ("why",)}[event]
    with pytest.raises(NotFound, match="no open job j7 here; `farlane ps --all`"):
        getattr(world.reactor, event)(world.now, JobId(7), *arguments)


def test_a_sealed_job_without_tasks_has_succeeded(world: SmallWorld) -> None:
    job, _ = world.reactor.open_job(world.now, "k", a_job())
    world.take()
    world.reactor.add_tasks(world.now, job.id, 0, payloads(0))
    assert world.take() == []
    world.reactor.seal_job(world.now, job.id)
    ended = JobEnded(job.id, JobState.SUCCEEDED, world.now)
    assert world.take() == [Append(JobSealed(job.id, 0)), Append(ended), FinishJob(job.id)]


def test_sealing_twice_is_harmless(world: SmallWorld) -> None:
    job = world.submit(a_job(), 2)
    assert world.reactor.seal_job(world.now, job.id) is job
    assert world.take() == []


def test_an_unsealed_job_waits_for_more_even_when_all_its_tasks_have_ended(world: SmallWorld) -> None:
    node = a_node()
    world.join(node)
    job = world.submit(a_job(), 1, seal=False)
    world.schedule()
    world.end_all()
    assert (job.done, job.state) == (1, JobState.RUNNING)
    world.now += 30
    world.reactor.add_tasks(world.now, job.id, 1, payloads(1))
    assert job.since == world.now
    world.reactor.seal_job(world.now, job.id)
    world.schedule()
    world.end_all()
    assert (job.done, job.state) == (2, JobState.SUCCEEDED)


def test_tasks_added_while_others_wait_do_not_make_the_job_younger(world: SmallWorld) -> None:
    job = world.submit(a_job(), 1, seal=False)
    world.reactor.add_tasks(world.now + 30, job.id, 1, payloads(1))
    assert job.since == world.now


def test_an_ended_job_is_forgotten_with_its_key_and_an_open_one_is_not(world: SmallWorld) -> None:
    spec = replace(a_job(), name="other")
    ended = world.submit(a_job(), 0)
    world.submit(spec, 1, key="open")
    for job in (1, 2, 3):
        world.reactor.forget_job(JobId(job))
    assert list(world.state.jobs) == [2]
    assert world.state.keys == {("lab/ada", "open"): 2}
    assert ended.state is JobState.SUCCEEDED
