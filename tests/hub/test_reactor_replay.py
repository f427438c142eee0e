"""Replay: the state after a restart is the state before it, whatever had happened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import BlobRef, JobState, TaskState
from farlane.domain.prices import RateVector
from farlane.domain.records import (
    Column,
    JobEnded,
    JobOpened,
    JobSealed,
    RunTimeLearnt,
    TasksAdded,
    TasksEnded,
    TasksRequeued,
)
from farlane.hub.reactor.commands import Append, FinishJob
from farlane.hub.reactor.reactor import Reactor
from farlane.testing.builders import A100, T4, a_failure, a_gpu_node, a_job, a_node, gpus, payloads
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs, check_journal, check_resources, fingerprint

N1 = a_node("n1")


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def tasks(job: int, *indices: int) -> list[TaskId]:
    return [task_id(JobId(job), index) for index in indices]


def restart_changes_nothing(world: SmallWorld) -> None:
    before = fingerprint(world.state)
    world.restart()
    assert fingerprint(world.state) == before
    check_jobs(world.state)
    check_resources(world.state)
    check_journal(world)


def test_nothing_comes_back_as_nothing() -> None:
    reactor = Reactor(3, 10.0)
    reactor.replay([], JobId(0), 5.0)
    assert (reactor.state.next_job, reactor.state.jobs, reactor.take_commands()) == (1, {}, [])


def test_jobs_in_every_stage_come_back(world: SmallWorld) -> None:
    world.submit(a_job(retries=2), 8)
    world.schedule()
    world.now += 1
    world.end(N1.node, tasks(1, 0), lease_ms=500)
    world.end(N1.node, tasks(1, 1), a_failure())
    world.end(N1.node, tasks(1, 2), a_failure(FailureKind.BAD_PAYLOAD))
    world.submit(a_job(budget=10**9), 2, key="2", seal=False)
    world.submit(a_job(priority=9), 1, key="3")
    restart_changes_nothing(world)
    job = world.state.jobs[JobId(1)]
    assert (job.done, job.failed, job.leased, job.ready) == (1, 1, 1, 5)
    assert (job.counted, job.avoid) == ({1: 1}, {1: frozenset({N1.node})})
    assert (job.fresh, list(job.returned)) == (4, [1])
    assert [list(queue) for queue in world.state.waiting.values()] == [[1, 2], [3]]


def test_leases_of_several_rounds_on_one_node_come_back(world: SmallWorld) -> None:
    world.submit(a_job(), 6)
    world.schedule()
    world.end(N1.node, tasks(1, 1, 2))
    world.now += 1
    assert world.schedule() == 2
    restart_changes_nothing(world)
    assert {task: lease.at for task, lease in world.node(N1).leases.items()} == {
        **dict.fromkeys(tasks(1, 0, 3), world.now - 1), **dict.fromkeys(tasks(1, 4, 5), world.now),
    }  # fmt: skip


def test_leases_in_force_get_a_full_lease_for_their_nodes_to_return(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    world.now += 60
    restart_changes_nothing(world)
    world.tick(10)
    assert len(world.node(N1).leases) == 2
    assert not world.node(N1).connected
    world.join(N1)
    world.end_all()
    assert world.state.jobs[JobId(1)].state is JobState.SUCCEEDED


def test_leases_of_nodes_that_never_return_run_out_after_a_restart(world: SmallWorld) -> None:
    world.submit(a_job())
    world.schedule()
    world.restart()
    world.tick(10.5)
    assert world.state.jobs[JobId(1)].ready == 1
    check_journal(world)


def test_a_task_that_failed_with_its_last_lease_lost_leaves_nothing_behind(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.state.jobs[JobId(1)].free[0] = 10
    world.schedule()
    world.tick(10.5)
    world.restart()
    assert world.node(N1).leases == {}
    check_resources(world.state)


def test_what_nodes_did_for_open_jobs_comes_back(world: SmallWorld) -> None:
    job = world.submit(a_job(retries=1), 4)
    world.schedule()
    world.now += 1
    world.end(N1.node, tasks(1, 0))
    world.end(N1.node, tasks(1, 1), a_failure())
    world.end(N1.node, tasks(1, 2), a_failure(FailureKind.BLOB))
    world.reactor.add_tasks(world.now, job.id, 0, payloads(1))
    before = world.node(N1)
    world.restart()
    after = world.node(N1)
    assert (after.done, after.failed, after.lost, after.earned, after.busy_ms) == (
        before.done, before.failed, before.lost, before.earned, before.busy_ms,
    )  # fmt: skip
    assert (after.done, after.failed, after.lost) == (1, 1, 1)


def test_leases_of_gpus_come_back_with_their_kind_and_price() -> None:
    world = SmallWorld()
    world.join(
        a_gpu_node("g", (T4, 1), (A100, 1), rates=RateVector(gpu_second=(("T4", 1000), ("A100", 9000))))
    )
    world.submit(a_job(resources=gpus()), 3)
    world.schedule()
    restart_changes_nothing(world)
    (node,) = world.state.nodes.values()
    assert {lease.gpu: lease.reserve for lease in node.leases.values()} == {T4: 60_000, A100: 540_000}


def test_a_node_that_came_back_dearer_does_not_change_what_is_reserved(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    world.join(replace(N1, rates=RateVector(core_second=10**6)))
    world.schedule()
    restart_changes_nothing(world)


def test_the_age_of_a_job_that_grew_when_nothing_waited_comes_back(world: SmallWorld) -> None:
    job = world.submit(a_job(), 2, seal=False)
    world.schedule()
    world.now += 30
    world.reactor.add_tasks(world.now, job.id, 2, payloads(1))
    world.take()
    assert job.since == world.now
    restart_changes_nothing(world)


def test_a_retried_job_comes_back(world: SmallWorld) -> None:
    job = world.submit(a_job(), 3)
    world.schedule()
    world.end(N1.node, tasks(1, 0))
    world.reactor.stop_job(world.now, job.id, "enough")
    world.now += 5
    world.reactor.retry_job(world.now, job)
    world.take()
    restart_changes_nothing(world)
    again = world.state.jobs[JobId(1)]
    assert (again.state, again.ready, again.done, again.stopped, again.seq) == (JobState.PENDING, 2, 1, 0, 3)


def test_ended_jobs_are_left_to_the_store_and_their_numbers_are_not_given_again(world: SmallWorld) -> None:
    world.submit(a_job())
    world.schedule()
    world.end_all()
    world.restart()
    assert world.state.jobs == {}
    assert world.submit(a_job(), key="2").id == 2


def test_run_times_come_back_as_they_were_last_recorded(world: SmallWorld) -> None:
    world.submit(a_job(), 4)
    world.schedule()
    world.now += 1
    world.end_all()
    recorded = [record for record in world.journal if isinstance(record, RunTimeLearnt)][-1]
    world.restart()
    learnt = world.state.run_times["f"]
    assert (learnt.mean_ms, learnt.count) == (recorded.mean_ms, recorded.count) == (10, 4)


def test_a_new_epoch_keeps_the_leases_until_their_nodes_show_up(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    world.restore(len(world.journal))
    assert len(world.node(N1).leases) == 2
    before = fingerprint(world.state)
    world.report(N1.node, tasks(1, 0), [1], epoch=1)
    assert fingerprint(world.state) == before
    world.join(N1)
    assert world.held[N1.node] == world.node(N1).leases == {}
    world.now += 2
    world.schedule()
    assert world.held[N1.node] == {tasks(1, 0)[0]: 2, tasks(1, 1)[0]: 2}


def test_a_job_all_of_whose_tasks_have_ended_is_ended_when_nobody_did(world: SmallWorld) -> None:
    spec = a_job()
    ended = TasksEnded(
        JobId(4),
        0,
        N1.node,
        9.0,
        [0],
        [0],
        bytes([TaskState.STOPPED]),
        Column([b""]),
        {},
        {},
        [0],
        [0],
        [0],
        [0],
    )
    records = [
        JobOpened(JobId(4), "k", spec, 1.0),
        TasksAdded(JobId(4), 0, Column([b""], {0: BlobRef("cid", 7)}), 1.0),
        JobSealed(JobId(4), 1),
        replace(ended, node=""),
    ]
    reactor = Reactor(1, 10.0)
    reactor.replay(records, JobId(0), 20.0)
    job = reactor.state.jobs[JobId(4)]
    assert reactor.take_commands() == [Append(JobEnded(job.id, JobState.SUCCEEDED, 20.0)), FinishJob(job.id)]
    assert reactor.state.next_job == 5
    assert list(job.sizes) == [7]


def test_a_record_may_also_ask_for_tasks_that_were_done() -> None:
    world = SmallWorld()
    world.join(N1)
    job = world.submit(a_job(), 2)
    world.schedule()
    world.end_all()
    records = [*world.records_of(job.id), TasksRequeued(job.id, [1], world.now)]
    again = world.reactor.restore_job(records)
    assert again is not None
    assert (again.done, again.ready, list(again.returned)) == (1, 1, [1])
