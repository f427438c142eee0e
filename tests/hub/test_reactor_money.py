"""Money: reserves cover the worst case, budgets and price caps are never passed, amounts are rounded up once."""

from __future__ import annotations

import pytest

from farlane.domain.failures import RULES, FailureKind
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import BlobRef, JobState
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, Column, OutputFile, TasksEnded
from farlane.domain.resources import GIB, Capacity, Resources
from farlane.hub.reactor.commands import Append
from farlane.hub.reactor.viewing import UNLIMITED, within_budget
from farlane.testing.builders import A100, T4, a_command, a_failure, a_gpu_node, a_job, a_node, gpus
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs

N1 = a_node("n1")
TASK = task_id(JobId(1), 0)
RESERVE = 316_001
"""60 s x (1000 for the core + 100 for the GiB) = 66,000; 256 MiB + 4 bytes at 1,000,000 a GiB = 250,000.004."""


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def last_end(world: SmallWorld) -> TasksEnded | AttemptsFailed:
    return next(r for r in reversed(world.journal) if isinstance(r, TasksEnded | AttemptsFailed))


class TestAmounts:
    def test_an_amount_is_lease_time_times_rates_plus_bytes_moved_rounded_up(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.schedule()
        world.now += 1
        world.end(N1.node, [TASK], lease_ms=10)
        # 10 ms x 1100 a second = 11; 4 bytes in and 6 out at 1,000,000 a GiB = 0.0093; together 11.0093.
        assert last_end(world).amounts == [12]
        assert (job.spent, job.lease_ms, world.node(N1).earned, world.node(N1).busy_ms) == (12, 10, 12, 10)

    def test_an_exact_amount_is_not_rounded(self, world: SmallWorld) -> None:
        free_moves = a_node("n2", rates=RateVector(core_second=1000, gib_second=100))
        world.leave(N1.node)
        world.join(free_moves)
        world.submit(a_job())
        world.schedule()
        world.now += 1
        world.end(free_moves.node, [TASK], lease_ms=10)
        assert last_end(world).amounts == [11]

    def test_large_results_and_output_files_are_bytes_moved(self, world: SmallWorld) -> None:
        world.submit(a_command())
        world.schedule()
        world.now += 1
        files = (OutputFile("out/a", BlobRef("cid", GIB // 2)), OutputFile("out/b", BlobRef("cid", GIB // 4)))
        world.report(N1.node, [TASK], [1], lease_ms=10, result=b"", outputs={0: files})
        # 11 for the time, 750,000 for the files, 0.004 for the payload.
        assert last_end(world).amounts == [750_012]

    def test_the_payload_counts_by_its_size_even_out_of_band(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 0, seal=False)
        column = Column([b""], {0: BlobRef("cid", GIB)})
        world.reactor.add_tasks(world.now, job.id, 0, column)
        world.schedule()
        assert world.node(N1).leases[TASK].reserve == 66_000 + 1_250_000
        world.now += 1
        world.end(N1.node, [TASK], lease_ms=10, result=b"")
        assert last_end(world).amounts == [1_000_011]

    @pytest.mark.parametrize(
        ("reported", "passed_s", "counted"), [(700, 1.0, 700), (5000, 1.0, 1001), (0, 1.0, 1), (5, 0.0, 1)]
    )
    def test_lease_time_is_what_both_sides_saw_and_at_least_a_millisecond(
        self, world: SmallWorld, reported: int, passed_s: float, counted: int
    ) -> None:
        world.submit(a_job())
        world.schedule()
        world.now += passed_s
        world.end(N1.node, [TASK], lease_ms=reported)
        assert last_end(world).lease_ms == [counted]

    def test_no_amount_passes_its_reserve(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.schedule()
        assert (job.reserved, world.node(N1).leases[TASK].reserve) == (RESERVE, RESERVE)
        world.now += 300
        world.end(N1.node, [TASK], lease_ms=300_000)
        # 300 s would be 330,000.
        assert last_end(world).amounts == [RESERVE]
        assert (job.spent, job.reserved) == (RESERVE, 0)

    @pytest.mark.parametrize("kind", [kind for kind, rule in RULES.items() if rule.again != "never"])
    def test_a_failure_is_paid_as_its_blame_says(self, world: SmallWorld, kind: FailureKind) -> None:
        job = world.submit(a_job(retries=1), 2)
        world.schedule()
        world.now += 1
        world.end(N1.node, [TASK], a_failure(kind), lease_ms=10)
        # That something was preempted is the hub's to say, and no node is believed that does.
        expected = 12 if RULES[kind].paid and kind is not FailureKind.PREEMPTED else 0
        assert last_end(world).amounts == [expected]
        assert job.spent == world.node(N1).earned == expected
        assert job.lease_ms == 10

    def test_all_attempts_of_a_task_are_paid(self, world: SmallWorld) -> None:
        job = world.submit(a_job(retries=1))
        for failure in (a_failure(), None):
            world.schedule()
            world.now += 1
            world.end(N1.node, [TASK], failure, lease_ms=10)
        assert job.spent == 24


class TestBudgets:
    @pytest.mark.parametrize(
        ("budget", "leases"),
        [(RESERVE - 1, 0), (RESERVE, 1), (2 * RESERVE - 1, 1), (2 * RESERVE, 2), (10**9, 3)],
    )
    def test_a_lease_needs_its_whole_reserve(self, world: SmallWorld, budget: int, leases: int) -> None:
        job = world.submit(a_job(budget=budget), 3)
        assert world.schedule() == leases
        assert (job.leased, job.ready, job.reserved) == (leases, 3 - leases, leases * RESERVE)

    def test_what_a_lease_did_not_use_pays_for_the_next(self, world: SmallWorld) -> None:
        job = world.submit(a_job(budget=RESERVE + 12), 3)
        ran = 0
        while world.schedule():
            ran += 1
            world.now += 1
            world.end_all()
        assert ran == 2
        assert (job.spent, job.done, job.state) == (24, 2, JobState.RUNNING)
        world.tick(0)
        assert (job.done, job.failed, job.state) == (2, 1, JobState.FAILED)
        assert job.reason == "the job's budget does not cover another task"
        assert last_end(world).amounts == [0]

    def test_a_job_is_not_given_up_while_a_lease_may_still_give_money_back(self, world: SmallWorld) -> None:
        job = world.submit(a_job(budget=RESERVE), 2)
        world.schedule()
        world.tick(1)
        assert job.failed == 0
        world.end_all()
        world.tick(0)
        assert (job.done, job.failed) == (1, 1)

    def test_it_waits_while_no_node_could_run_it_at_all(self) -> None:
        world = SmallWorld()
        job = world.submit(a_job(budget=1))
        world.tick(1)
        assert job.state is JobState.PENDING
        world.join(N1)
        world.tick(1)
        assert job.state is JobState.FAILED

    def test_only_nodes_whose_price_it_covers_are_used(self, world: SmallWorld) -> None:
        world.join(a_node("n2", rates=RateVector(core_second=10**6)))
        job = world.submit(a_job(budget=3 * RESERVE), 9)
        eligible, affordable, _ = within_budget(world.state, job)
        assert (list(eligible), affordable) == ([True, False], 3)
        world.schedule()
        assert {lease.node for lease in world.granted} == {N1.node}

    def test_free_nodes_take_any_number(self) -> None:
        world = SmallWorld()
        world.join(a_node("n1", rates=RateVector()))
        job = world.submit(a_job(budget=1), 4)
        assert within_budget(world.state, job)[1] == UNLIMITED
        assert world.schedule() == 4

    def test_the_largest_payload_decides_what_is_affordable_the_real_one_what_is_reserved(
        self, world: SmallWorld
    ) -> None:
        job = world.submit(a_job(budget=3 * RESERVE), 2, seal=False)
        world.reactor.add_tasks(world.now, job.id, 2, Column([b""], {0: BlobRef("cid", GIB)}))
        assert within_budget(world.state, job)[1] == 0
        world.tick(0)
        assert job.failed == 3

    def test_what_the_budget_does_not_cover_stays_in_the_queue(self, world: SmallWorld) -> None:
        """Two groups of one job are each within the budget, both together pass it by one."""
        job = world.submit(a_job(budget=4 * RESERVE - 1), 4)
        assert world.schedule() == 3
        world.end_all(a_failure(FailureKind.BLOB))
        view, _ = world.reactor.view(world.now)
        assert [(group.count, group.affordable) for group in view.groups] == [(3, 3), (1, 3)]
        assert world.schedule() == 3
        assert (job.leased, job.ready, job.reserved) == (3, 1, 3 * RESERVE)
        check_jobs(world.state)

    def test_a_node_is_priced_by_the_gpus_it_has(self) -> None:
        """What some other kind would cost there does not count against it."""
        world = SmallWorld()
        rates = RateVector(gpu_second=(("T4", 10), ("*", 10**9)))
        world.join(a_gpu_node("cheap", (T4, 1), rates=rates))
        world.join(a_gpu_node("dear", (A100, 1), rates=rates))
        job = world.submit(a_job(resources=gpus(), budget=10_000))
        assert list(within_budget(world.state, job)[0]) == [True, False]
        world.tick(0)
        assert world.schedule() == 1
        assert job.reserved == 600

    def test_a_kind_above_the_price_cap_does_not_count_against_a_node(self) -> None:
        world = SmallWorld()
        world.join(
            a_gpu_node("both", (T4, 1), (A100, 1), rates=RateVector(gpu_second=(("T4", 10), ("*", 10**9))))
        )
        world.submit(a_job(resources=gpus(), budget=10_000, max_price=50_000))
        world.tick(0)
        assert world.schedule() == 1


class TestMaxPrice:
    @pytest.mark.parametrize(("cap", "leases"), [(3_960_000, 1), (3_959_999, 0)])
    def test_a_node_that_asks_more_an_hour_is_never_used(
        self, world: SmallWorld, cap: int, leases: int
    ) -> None:
        # 3600 s x 1100 = 3,960,000.
        world.submit(a_job(max_price=cap))
        assert world.schedule() == leases

    def test_of_two_kinds_of_gpu_only_the_cheaper_is_used(self) -> None:
        world = SmallWorld()
        node = a_gpu_node("both", (T4, 1), (A100, 1), rates=RateVector(gpu_second=(("T4", 10), ("A100", 90))))
        world.join(node)
        world.submit(a_job(resources=gpus(), max_price=36_000), 2)
        assert world.schedule() == 1
        assert world.node(node).leases[TASK].gpu == T4


def test_gpu_time_is_charged_by_the_kind_that_was_used() -> None:
    world = SmallWorld()
    rates = RateVector(gpu_second=(("T4", 1000), ("A100", 9000)))
    node = a_node("n1", capacity=Capacity(8000, 64 * GIB, 100 * GIB, ((T4, 2), (A100, 2))), rates=rates)
    world.join(node)
    job = world.submit(a_job(resources=gpus(2)), 2)
    assert world.schedule() == 2
    assert {lease.gpu: lease.reserve for lease in world.node(node).leases.values()} == {
        T4: 120_000,
        A100: 1_080_000,
    }
    kinds = {task: lease.gpu for task, lease in world.node(node).leases.items()}
    world.now += 1
    world.end(node.node, list(kinds), lease_ms=100)
    amounts = dict(zip((kinds[task] for task in kinds), last_end(world).amounts, strict=True))
    assert amounts == {T4: 200, A100: 1800}
    assert job.spent == 2000


def test_stopping_pays_for_the_time_that_passed(world: SmallWorld) -> None:
    job = world.submit(a_job(resources=Resources(2000, GIB, GIB)), 3)
    world.schedule()
    world.now += 0.5
    world.reactor.stop_job(world.now, job.id, "enough")
    ends = [c.record for c in world.take() if isinstance(c, Append) and isinstance(c.record, TasksEnded)]
    # 501 ms x 2100 a second = 1052.1 for each of the two that ran.
    assert [record.amounts for record in ends] == [[1053, 1053], [0]]
    assert [record.lease_ms for record in ends] == [[501, 501], [0]]
    assert (job.spent, job.reserved, world.node(N1).earned) == (2106, 0, 2106)
