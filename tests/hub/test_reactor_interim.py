"""Interim booking: what runs long is booked by the part, and ends at the price it would have had in one piece."""

from __future__ import annotations

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobState
from farlane.domain.records import AttemptsFailed, LeasesMetered, TasksEnded
from farlane.hub.reactor.commands import Append, Command
from farlane.testing.builders import a_failure, a_job, a_node
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs, check_journal, check_resources, fingerprint

N1 = a_node("n1")
TASK, OTHER = task_id(JobId(1), 0), task_id(JobId(1), 1)
HOUR_S, HOUR_MS = 3600.0, 3_600_000
# A core second costs 1000 and a GiB second 100 nano-credits.
HOUR_NANO = 1100 * 3600
SPEC = a_job(timeout_ms=10 * HOUR_MS, retries=1)


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld(lease_s=1e9, interim_s=HOUR_S)
    world.join(N1)
    world.submit(SPEC, 2)
    world.schedule()
    return world


def run_for(world: SmallWorld, seconds: float, reported_ms: int) -> list[Command]:
    world.now += seconds
    return world.meter(N1.node, [TASK], reported_ms)


def parts(world: SmallWorld) -> list[tuple[list[int], list[int], list[int]]]:
    return [(r.parts, r.lease_ms, r.amounts) for r in world.journal if isinstance(r, LeasesMetered)]


def ended(world: SmallWorld) -> TasksEnded:
    return [record for record in world.journal if isinstance(record, TasksEnded)][-1]


def check(world: SmallWorld) -> None:
    check_journal(world)
    check_jobs(world.state)
    check_resources(world.state)


def test_an_hour_is_booked_and_its_reserve_is_spent(world: SmallWorld) -> None:
    job = world.state.jobs[JobId(1)]
    reserved = job.reserved
    out = run_for(world, HOUR_S, HOUR_MS)
    assert parts(world) == [([1], [HOUR_MS], [HOUR_NANO])]
    (append,) = out
    assert isinstance(append, Append)
    assert [lease.attempt for lease in append.leases] == [1]
    assert (job.spent, job.reserved, job.lease_ms) == (HOUR_NANO, reserved - HOUR_NANO, HOUR_MS)
    node = world.node(N1)
    assert (node.earned, node.busy_ms) == (HOUR_NANO, HOUR_MS)
    account = job.accounts[0]
    assert (account.spent, account.reserved) == (job.spent, job.reserved)
    check(world)


def test_the_end_costs_what_is_left_and_says_the_whole(world: SmallWorld) -> None:
    job = world.state.jobs[JobId(1)]
    run_for(world, HOUR_S, HOUR_MS)
    run_for(world, HOUR_S, 2 * HOUR_MS)
    world.now += 60
    world.end(N1.node, [TASK], lease_ms=2 * HOUR_MS + 60_000)
    assert [part for part, _, _ in parts(world)] == [[1], [2]]
    end = ended(world)
    assert (end.lease_ms, end.amounts) == ([2 * HOUR_MS + 60_000], [2 * HOUR_NANO + 66_001])
    assert (job.spent, job.lease_ms) == (2 * HOUR_NANO + 66_001, 2 * HOUR_MS + 60_000)
    check(world)


@pytest.mark.parametrize("kind", [FailureKind.REFUSED, FailureKind.EXCEPTION])
def test_what_was_booked_stays_owed_whatever_the_ending(world: SmallWorld, kind: FailureKind) -> None:
    job = world.state.jobs[JobId(1)]
    run_for(world, HOUR_S, HOUR_MS)
    world.now += HOUR_S / 4
    world.end(N1.node, [TASK], a_failure(kind), lease_ms=5 * HOUR_MS // 4)
    paid = kind is FailureKind.EXCEPTION
    assert job.spent == HOUR_NANO + (HOUR_NANO // 4 + 1 if paid else 0)
    check(world)


def test_a_lost_node_keeps_what_was_booked_and_no_more(world: SmallWorld) -> None:
    job = world.state.jobs[JobId(1)]
    run_for(world, HOUR_S, HOUR_MS)
    world.leave(N1.node, "gone")
    end = [record for record in world.journal if isinstance(record, AttemptsFailed)][-1]
    assert end.amounts == [HOUR_NANO, 0]
    assert (job.spent, job.reserved) == (HOUR_NANO, 0)
    check(world)


def test_a_stopped_job_pays_up_to_the_stop(world: SmallWorld) -> None:
    run_for(world, HOUR_S, HOUR_MS)
    world.now += HOUR_S / 2
    job = world.reactor.stop_job(world.now, JobId(1), "enough")
    world.take()
    assert job.state is JobState.STOPPED
    # Both tasks from their leases on, each rounded up to the millisecond that has begun.
    assert job.spent == 2 * -(-1100 * (3 * HOUR_MS // 2 + 1) // 1000)
    check(world)


def test_an_attempt_that_ends_earlier_than_its_parts_costs_what_they_did(world: SmallWorld) -> None:
    run_for(world, HOUR_S, HOUR_MS)
    world.end(N1.node, [TASK], lease_ms=1)
    end = ended(world)
    assert (end.lease_ms, end.amounts) == ([HOUR_MS], [HOUR_NANO + 1])  # the bytes moved
    check(world)


def test_parts_stop_at_what_the_attempt_reserved(world: SmallWorld) -> None:
    reserve = world.node(N1).leases[TASK].reserve
    run_for(world, 100 * HOUR_S, 100 * HOUR_MS)
    run_for(world, 100 * HOUR_S, 200 * HOUR_MS)
    assert [amounts for _, _, amounts in parts(world)] == [[reserve], [0]]
    check(world)


@pytest.mark.parametrize(
    ("seconds", "reported_ms"),
    [(HOUR_S / 2 - 1, HOUR_MS), (HOUR_S, HOUR_MS // 2 - 1), (HOUR_S, 0)],
    ids=["the hub saw less", "the node says less", "nothing"],
)
def test_crumbs_are_not_booked(world: SmallWorld, seconds: float, reported_ms: int) -> None:
    assert run_for(world, seconds, reported_ms) == []


def test_only_what_is_in_force_is_booked(world: SmallWorld) -> None:
    world.now += HOUR_S
    before = fingerprint(world.state)
    assert world.meter(N1.node, [TASK], HOUR_MS, epoch=7) == []
    world.held[N1.node] |= {TASK: 9, task_id(JobId(5), 0): 1}
    assert world.meter(N1.node, [TASK, task_id(JobId(5), 0)], HOUR_MS) == []
    assert fingerprint(world.state) == before


def test_a_task_named_twice_is_booked_once(world: SmallWorld) -> None:
    world.now += HOUR_S
    world.meter(N1.node, [TASK, OTHER, TASK], HOUR_MS)
    assert parts(world) == [([1, 1], [HOUR_MS] * 2, [HOUR_NANO] * 2)]


def test_nothing_is_booked_where_the_hub_asks_for_nothing() -> None:
    world = SmallWorld(lease_s=1e9)
    world.join(N1)
    world.submit(SPEC)
    world.schedule()
    assert run_for(world, 10 * HOUR_S, 10 * HOUR_MS) == []


def test_a_restart_brings_the_parts_back(world: SmallWorld) -> None:
    run_for(world, HOUR_S, HOUR_MS)
    before = fingerprint(world.state)
    world.restart()
    assert fingerprint(world.state) == before
    world.join(N1)
    run_for(world, HOUR_S, 2 * HOUR_MS)
    assert [part for part, _, _ in parts(world)] == [[1], [2]]
    world.end(N1.node, [TASK, OTHER], lease_ms=2 * HOUR_MS)
    world.restart()
    job = world.recall(JobId(1))
    assert (job.state, job.spent) == (JobState.SUCCEEDED, 2 * (2 * HOUR_NANO + 1))
    check(world)


def test_a_budget_is_not_passed_by_parts() -> None:
    world = SmallWorld(lease_s=1e9, interim_s=HOUR_S)
    world.join(N1)
    job = world.submit(a_job(timeout_ms=2 * HOUR_MS, budget=2 * HOUR_NANO + 300_000), 2)
    assert world.schedule() == 1
    run_for(world, HOUR_S, HOUR_MS)
    assert world.schedule() == 0
    world.now += HOUR_S
    world.end(N1.node, [TASK], lease_ms=2 * HOUR_MS)
    assert job.spent <= 2 * HOUR_NANO + 300_000
    check(world)
