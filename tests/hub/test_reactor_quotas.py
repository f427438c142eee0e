"""Quotas: who is full waits and says why, and holds up nobody else; ceilings are the hub's owner's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.billing import meter
from farlane.domain.caps import (
    CPU_MILLI,
    GPUS,
    LEASES,
    MEMORY_BYTES,
    OPEN_TASKS,
    Budget,
    Cap,
    amount_text,
    gpus_of,
    option_of,
)
from farlane.domain.resources import GIB, Resources
from farlane.errors import IdempotencyMismatch, Internal, QuotaReached
from farlane.hub.explaining import explain_job
from farlane.hub.quoting import quote_job
from farlane.hub.reactor.accounts import Accounts
from farlane.hub.reactor.capped import notices, why_capped
from farlane.hub.reactor.queues import WINDOW
from farlane.hub.reactor.state import Job
from farlane.scheduler.explain import explain
from farlane.scheduler.policy import validate
from farlane.scheduler.situation import Reason
from farlane.scheduler.view import Decision, Placement
from farlane.testing.builders import A100, RATES, T4, a_failure, a_gpu_node, a_job, a_node, gpus, payloads
from farlane.testing.small_world import SmallWorld

SMALL = Resources(1000, GIB // 8, 0)
PRICE = meter(RATES, a_job(resources=SMALL)).reserve_ceiling(4)
"""Of one small task at its time-out of a minute."""


@pytest.fixture
def world() -> SmallWorld:
    """A hub with one node of sixteen cores, which works for lab and guest."""
    made = SmallWorld()
    made.join(a_node("n1", cpu=16_000, serves=("guest",)))
    return made


def submit(world: SmallWorld, tasks: int = 1, project: str = "", **changes: object) -> Job:
    spec = a_job(**({"resources": SMALL, "project": project, "profile": ""} | changes))
    return world.submit(spec, tasks, key=str(world.state.next_job))


def why(world: SmallWorld, job: Job) -> tuple[str, str]:
    found = explain_job(world.reactor, job, world.policy, world.now)
    return found.dominant, found.fix


def test_a_quota_on_cores_counts_what_tasks_ask_for(world: SmallWorld) -> None:
    world.cap(Cap("lab", "vision", quotas={CPU_MILLI: 5000}))
    job = submit(world, 9, "vision", resources=Resources(2000, GIB, 0))
    assert world.schedule() == 2
    assert why(world, job) == (
        "project vision of lab may hold 5 cores at once: 4 cores are in use and one task takes 2 cores",
        "wait for some to end, or raise its quota: `farlane budget set --project vision --cores N`",
    )
    world.end_all()
    assert world.schedule() == 2


def test_a_quota_on_memory_of_all_projects_together(world: SmallWorld) -> None:
    world.cap(Cap("lab", "", quotas={MEMORY_BYTES: 3 * GIB}))
    submit(world, 2, "p", resources=Resources(1000, GIB, 0))
    late = submit(world, 2, "q", resources=Resources(1000, GIB, 0))
    assert world.schedule() == 3
    assert (late.leased, late.ready) == (1, 1)
    assert "3 GiB of memory at once" in why(world, late)[0]
    assert "--memory SIZE" in why(world, late)[1]


def test_a_task_larger_than_its_quota_says_that_it_never_starts(world: SmallWorld) -> None:
    world.cap(Cap("lab", "", quotas={LEASES: 1, CPU_MILLI: 1000}))
    submit(world)
    world.schedule()
    job = submit(world, resources=Resources(2000, GIB, 0))
    dominant, fix = why(world, job)
    assert dominant == "one task takes 2 cores, and lab may hold 1 core at once: it never starts"
    assert fix.startswith("submit it again asking for less, or raise its quota")
    quoted = quote_job(world.state, job.spec, 1, 0)
    assert (quoted.problem, quoted.fix) == (dominant, fix)
    assert quote_job(world.state, submit(world).spec, 1, 0).problem == ""


def test_a_quota_on_one_model_leaves_the_others() -> None:
    world = SmallWorld()
    world.join(a_gpu_node("g", (A100, 4), (T4, 2)))
    world.cap(Cap("lab", "", quotas={gpus_of("a100"): 1}))
    job = submit(world, 6, resources=gpus())
    assert [world.schedule() for _ in range(4)] == [1, 1, 1, 0]
    used = world.state.accounts.known["lab", ""].used
    assert (used["gpus"], used["gpus:A100"], used["gpus:T4"]) == (3, 1, 2)
    assert job.ready == 3
    only = submit(world, resources=gpus(1, "A100"))
    assert "may hold 1 x A100 at once: 1 x A100 are in use" in why(world, only)[0]
    assert "--gpus A100=N" in why(world, only)[1]
    never = a_job(resources=gpus(2, "A100"), profile="")
    assert "one task takes 2 x A100" in quote_job(world.state, never, 1, 0).problem


def test_kinds_that_two_accounts_exclude_between_them_are_named() -> None:
    world = SmallWorld()
    world.join(a_gpu_node("g", (A100, 4), (T4, 2)))
    world.cap(Cap("lab", "", quotas={gpus_of("A100"): 0}))
    world.cap(Cap("lab", "p", quotas={gpus_of("T4"): 0}))
    job = submit(world, 2, "p", resources=gpus())
    assert world.schedule() == 0
    assert "it never starts" in why(world, job)[0]


def test_a_job_of_a_kind_that_no_node_has_is_told_of_that() -> None:
    world = SmallWorld()
    world.join(a_node("n1"))
    world.cap(Cap("lab", "", quotas={GPUS: 2}))
    job = submit(world, resources=gpus())
    assert world.schedule() == 0
    assert why(world, job)[0].startswith("no node could run this")


class TestOthers:
    """Who is at a cap takes neither room nor rounds from anybody."""

    def test_other_projects_and_organisations_run_in_the_same_round(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "full", quotas={LEASES: 1}))
        for _ in range(WINDOW + 20):
            submit(world, 1, "full")
        other = submit(world, 7, "other")
        guest = submit(world, 8, organisation="guest", publisher="guest/eve")
        assert world.schedule() == 16
        assert (other.leased, guest.leased) == (7, 8)

    def test_a_budget_that_jobs_share_is_shared_in_one_round_too(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "full", 2 * PRICE))
        jobs = [submit(world, 4, "full") for _ in range(8)]
        other = submit(world, 14)
        assert world.schedule() == 16
        assert (sum(job.leased for job in jobs), other.leased) == (2, 14)

    def test_a_higher_priority_goes_first_within_a_quota(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={LEASES: 3}))
        low, high = submit(world, 5, priority=10), submit(world, 2, priority=90)
        assert world.schedule() == 3
        assert (low.leased, high.leased) == (1, 2)

    def test_short_tasks_do_not_queue_ahead_beyond_a_quota(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={CPU_MILLI: 20_000}))
        submit(world, 500, estimate_ms=1)
        assert world.schedule() == 20
        world.cap(Cap("lab", ""))
        assert world.schedule() > 100

    def test_what_the_limits_leave_to_nobody_is_said_of_who_comes_last(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={LEASES: 1}))
        submit(world)
        job = submit(world)
        view, sources = world.reactor.view(world.now)
        (key,) = [key for key, source in sources.items() if source.job == job.id]
        found = explain(view, key, [None], world.policy.decide(view))
        assert (found.reason, found.dominant) == (
            Reason.BUDGET,
            "what is left of a budget or quota goes to tasks ahead of it",
        )
        assert why(world, job)[0] == found.dominant

    def test_a_policy_that_passes_a_shared_limit_is_refused(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={LEASES: 1}))
        submit(world)
        submit(world)
        view, _ = world.reactor.view(world.now)
        with pytest.raises(Internal, match="groups share"):
            validate(view, Decision((Placement(0, 0, 1), Placement(1, 0, 1))))


class TestOpenTasks:
    """How many tasks may wait or run at once."""

    def test_a_submit_beyond_it_leaves_nothing_behind(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "p", quotas={OPEN_TASKS: 5}))
        submit(world, 3, "p")
        before = world.state.next_job
        spec = a_job(project="p")
        with pytest.raises(QuotaReached) as refused:
            world.reactor.open_job(world.now, "new", spec, 3)
        assert refused.value.message == (
            "project p of lab may have 5 tasks open at once and has 3: 3 more were asked for, 2 are allowed now. Wait "
            "for some to end, submit fewer, or raise its quota: `farlane budget set --project p --open-tasks N`"
        )
        assert refused.value.facts == {"quota": 5, "open": 3, "asked": 3, "room": 2}
        assert (world.state.next_job, world.reactor.take_commands()) == (before, [])
        assert world.reactor.open_job(world.now, "new", spec, 2)[1] is False

    def test_what_was_added_stays_and_the_rest_follows_under_its_key(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={OPEN_TASKS: 5}))
        job = world.submit(a_job(resources=SMALL), 4, seal=False)
        with pytest.raises(
            QuotaReached, match=r"1 are allowed now \(j1 keeps its 4: .* `farlane stop j1` ends it\)"
        ):
            world.reactor.add_tasks(world.now, job.id, 4, payloads(2))
        with pytest.raises(QuotaReached):
            world.reactor.add_tasks(world.now, job.id, 2, payloads(4))
        assert world.reactor.open_job(world.now, "key", job.spec, 99) == (job, True)
        with pytest.raises(IdempotencyMismatch):
            world.reactor.open_job(world.now, "key", replace(job.spec, priority=1), 99)
        world.schedule()
        world.end_all()
        world.reactor.add_tasks(world.now, job.id, 2, payloads(4))
        assert job.total == 6

    def test_the_first_batch_of_unknown_many_is_refused_alone(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={OPEN_TASKS: 1}))
        job, _ = world.reactor.open_job(world.now, "key", a_job())
        with pytest.raises(QuotaReached, match=r"1 are allowed now\. Wait"):
            world.reactor.add_tasks(world.now, job.id, 0, payloads(2))

    def test_a_retry_counts_and_tasks_that_run_again_by_themselves_do_not(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", quotas={OPEN_TASKS: 2}))
        job = submit(world, 2, retries=1)
        world.schedule()
        world.end_all(a_failure())
        assert job.ready == 2
        world.schedule()
        world.end_all(a_failure())
        assert job.failed == 2
        submit(world, 1)
        with pytest.raises(QuotaReached):
            world.reactor.retry_job(world.now, job)
        assert (job.failed, world.reactor.take_commands()) == (2, [])
        world.cap(Cap("lab", ""))
        assert world.reactor.retry_job(world.now, job) == 2


class TestCeilings:
    """What the hub's owner allows an organisation bounds what its administrators may set."""

    def test_the_tighter_of_both_counts_and_is_named(self, world: SmallWorld) -> None:
        world.cap(Cap("guest", "", quotas={LEASES: 2}, ceiling=True))
        world.cap(Cap("guest", "", quotas={LEASES: 9}))
        job = submit(world, 6, organisation="guest", publisher="guest/eve")
        assert world.schedule() == 2
        dominant, fix = why(world, job)
        assert dominant.startswith("guest may hold 2 leases at once by the hub's owner: 2 leases are in use")
        assert fix.endswith(
            "raise its quota: `farlane budget set --organisation guest --leases N` by the hub's owner"
        )
        world.cap(Cap("guest", "", quotas={LEASES: 1}))
        world.end_all()
        assert world.schedule() == 1
        assert "at once: 1 lease are in use" in why(world, job)[0]
        states = world.state.accounts.states("guest")
        assert [(one.cap.ceiling, one.cap.quotas[LEASES], one.used.get(LEASES)) for one in states] == [
            (False, 1, 1), (True, 2, 1),
        ]  # fmt: skip

    def test_a_ceiling_on_money(self, world: SmallWorld) -> None:
        world.cap(Cap("guest", "", total_nano=2 * PRICE, ceiling=True))
        world.cap(Cap("guest", "", 9 * PRICE))
        job = submit(world, 6, organisation="guest", publisher="guest/eve")
        assert world.schedule() == 2
        dominant, fix = why(world, job)
        assert (
            "credits that guest may spend in all by the hub's owner does not cover another task" in dominant
        )
        assert fix == (
            "raise its budget: `farlane budget set --organisation guest --total CREDITS` by the hub's owner"
        )


class TestTotals:
    """Budgets over all time."""

    def test_a_new_month_gives_nothing_back(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", 9 * PRICE, 3 * PRICE))
        job = submit(world, 9)
        assert world.schedule() == 3
        world.now += 40 * 86400
        world.beat()
        world.tick(0)
        world.end_all()
        assert world.state.accounts.known["lab", ""].total < 3 * PRICE
        world.cap(Cap("lab", "", total_nano=PRICE))
        assert world.schedule() == 0
        assert why_capped(world.state, job) == why(world, job)

    def test_alerts_of_both_budgets_and_how_far_they_are_used(self) -> None:
        accounts = Accounts()
        accounts.seed("2026-11", [("2026-10", ("lab", "p"), 60), ("2026-11", ("lab", "p"), 20)])
        accounts.set_cap(Cap("lab", "p", 100, 100))
        account = accounts.known["lab", "p"]
        account.pay(10)
        assert accounts.take_alerts() == []  # 30 % of the month; 90 % in all, of which 80 were spent by then
        account.pay(20)
        found = accounts.take_alerts()
        assert [(one.budget, one.month, one.percent, one.spent) for one in found] == [
            (Budget.MONTH, "2026-11", 50, 50), (Budget.TOTAL, "", 100, 110),
        ]  # fmt: skip
        accounts.roll("2026-12")
        account.pay(50)
        assert [one.month for one in accounts.take_alerts()] == ["2026-12"]
        assert [one.text() for one in account.passed()] == [
            "project p of lab has spent 50 % of its 0.0000001 credits of 2026-12",
            "project p of lab has spent 160 % of its 0.0000001 credits in all",
        ]

    def test_what_was_told_is_taken_from_outside_where_it_is_known(self) -> None:
        accounts = Accounts()
        accounts.seed("2026-11", [("2026-11", ("lab", ""), 90)])
        accounts.set_cap(Cap("lab", "", 100, 100, ceiling=True), {Budget.MONTH: 50})
        assert [(one.budget, one.percent) for one in accounts.take_alerts()] == [(Budget.MONTH, 80)]

    def test_a_submit_is_told_of_budgets_that_came_to_an_alert(self, world: SmallWorld) -> None:
        world.cap(Cap("lab", "", 100))
        world.cap(Cap("lab", "p", 100, alerts=()))
        for account in world.state.accounts.known.values():
            account.pay(85)
        assert notices(world.state, a_job(project="p")) == [
            "lab has spent 85 % of its 0.0000001 credits of 1970-01"
        ]
        assert notices(world.state, a_job(project="unheard of", organisation="nobody")) == []
        assert ("nobody", "unheard of") not in world.state.accounts.known


def test_nothing_is_capped_where_there_is_room_or_nothing_waits(world: SmallWorld) -> None:
    world.cap(Cap("lab", "", 10**12, quotas={LEASES: 1}))
    job = submit(world, 1)
    assert why_capped(world.state, job) is None
    world.schedule()
    assert why_capped(world.state, job) is None
    world.cap(Cap("lab", "", 10**12))
    own = submit(world, 2, budget=1)
    assert why_capped(world.state, own) is None


def test_amounts_are_said_as_people_say_them() -> None:
    said = [(LEASES, 1), (OPEN_TASKS, 2), (CPU_MILLI, 500), (MEMORY_BYTES, GIB), (GPUS, 1), ("gpus:T4", 3)]
    assert [amount_text(*one) for one in said] == [
        "1 lease", "2 open tasks", "0.5 cores", "1 GiB of memory", "1 GPU", "3 x T4",
    ]  # fmt: skip
    assert option_of(OPEN_TASKS) == "--open-tasks N"
