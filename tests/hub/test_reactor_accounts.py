"""Accounts: what an organisation and its projects may spend in a month and hold at once is never passed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.caps import LEASES, Alert, Budget, Cap
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import TaskState
from farlane.domain.prices import RateVector
from farlane.domain.records import (
    AttemptsFailed,
    Column,
    JobEnded,
    JobOpened,
    JobSealed,
    TasksAdded,
    TasksEnded,
    TasksLeased,
)
from farlane.domain.resources import GIB, Capacity, Resources
from farlane.errors import Corrupted, InvalidInput
from farlane.hub.cap_file import CapFile
from farlane.hub.explaining import explain_job
from farlane.hub.reactor.accounts import Accounts
from farlane.hub.reactor.commands import Append
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import Job
from farlane.hub.store.history import History
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import a_job, a_node

NODE = NodeId("n-1")
NOVEMBER = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
FIFO = policy_named("fifo")
ORGANISATION = a_job().organisation
OF_A_JOB = (JobOpened, TasksAdded, JobSealed, TasksLeased, TasksEnded, AttemptsFailed, JobEnded)
PRICE = 1000
"""Of one attempt at its time-out: 1 s at 1000 nano-credits a core second."""


class World:
    """A reactor with one node of a hundred cores, driven by hand; its records are kept."""

    def __init__(self) -> None:
        self.reactor, self.now, self.journal = Reactor(1, 1e9), NOVEMBER, []
        spec = replace(
            a_node(),
            node=NODE,
            name="n",
            capacity=Capacity(100_000, 100 * GIB, GIB, ()),
            rates=RateVector(PRICE),
        )
        self.reactor.join_node(self.now, spec, bytes(32), 1, {})
        self.reactor.tick(self.now)

    def job(self, tasks: int, project: str = "", budget: int | None = None) -> Job:
        spec = replace(
            a_job(),
            project=project,
            timeout_ms=1000,
            resources=Resources(1000, GIB // 100, 0),
            budget=budget,
            retries=0,
        )
        job, _ = self.reactor.open_job(self.now, str(len(self.reactor.state.jobs)), spec)
        self.reactor.add_tasks(self.now, job.id, 0, Column([b""] * tasks))
        return job

    def schedule(self) -> int:
        self.reactor.tick(self.now)
        granted = self.reactor.schedule(self.now, FIFO)
        self.keep()
        return granted

    def end(self, count: int, lease_ms: int = 1000, failure: Failure | None = None) -> int:
        node = self.reactor.state.nodes[NODE]
        held = list(node.leases.items())[:count]
        self.now += 2.0
        state = TaskState.DONE if failure is None else TaskState.FAILED
        rows = len(held)
        failures = {} if failure is None else dict.fromkeys(range(rows), failure)
        batch = EndedBatch(
            1, 1, [task for task, _ in held], [lease.attempt for _, lease in held], bytes([state]) * rows,
            Column([b""] * rows), failures, {}, [lease_ms] * rows, [0] * rows, [0] * rows,
        )  # fmt: skip
        self.reactor.end_attempts(self.now, NODE, batch)
        self.keep()
        return rows

    def keep(self) -> None:
        self.journal += [one.record for one in self.reactor.take_commands() if isinstance(one, Append)]

    def cap(self, monthly: int | None = None, leases: int | None = None, project: str = "") -> None:
        quotas = {} if leases is None else {LEASES: leases}
        self.reactor.state.accounts.set_cap(Cap(ORGANISATION, project, monthly, quotas=quotas))


def test_at_the_cap_work_waits_and_what_runs_goes_on() -> None:
    world = World()
    world.cap(monthly=3 * PRICE)
    job = world.job(5)
    assert world.schedule() == 3
    assert world.end(3) == 3
    assert world.schedule() == 0
    assert job.spent == 3 * PRICE
    assert not job.state.final


def test_what_was_reserved_and_not_used_is_released() -> None:
    world = World()
    world.cap(monthly=3 * PRICE)
    world.job(5)
    assert world.schedule() == 3
    world.end(3, lease_ms=500)
    assert world.schedule() == 1  # half of it is left: one and a half attempts


def test_a_failure_that_nobody_pays_gives_everything_back() -> None:
    world = World()
    world.cap(monthly=2 * PRICE)
    world.job(4)
    assert world.schedule() == 2
    world.end(2, failure=Failure(FailureKind.REFUSED, ""))
    world.reactor.state.nodes[NODE].suspended_until = 0.0
    assert world.schedule() == 2


def test_a_project_has_a_cap_of_its_own() -> None:
    world = World()
    world.cap(monthly=PRICE, project="apples")
    world.job(3, project="apples")
    pears = world.job(3, project="pears")
    assert world.schedule() == 4
    assert pears.leased == 3


def test_a_quota_bounds_what_runs_at_once() -> None:
    world = World()
    world.cap(leases=2)
    job = world.job(5)
    assert world.schedule() == 2
    world.end(1)
    assert world.schedule() == 1
    found = explain_job(world.reactor, job, FIFO, world.now)
    assert "leases at once" in found.dominant
    assert "farlane budget set --leases" in found.fix


def test_why_names_the_cap_and_the_month() -> None:
    world = World()
    world.cap(monthly=PRICE, project="apples")
    job = world.job(3, project="apples")
    world.schedule()
    found = explain_job(world.reactor, job, FIFO, world.now)
    assert "project apples" in found.dominant
    assert "2026-11" in found.dominant
    assert "--project apples --month" in found.fix


def test_a_jobs_own_budget_is_still_named_and_ends_it() -> None:
    world = World()
    job = world.job(3, budget=PRICE)
    assert world.schedule() == 1
    world.end(1)
    world.reactor.tick(world.now)
    assert job.failed == 2


def test_a_jobs_own_budget_ends_it_below_a_wide_cap_too() -> None:
    world = World()
    world.cap(monthly=100 * PRICE)
    job = world.job(3, budget=PRICE)
    assert world.schedule() == 1
    world.end(1)
    world.reactor.tick(world.now)
    assert job.failed == 2


def test_a_cap_ends_no_job_whose_own_budget_goes_further() -> None:
    world = World()
    world.cap(monthly=PRICE)
    job = world.job(3, budget=3 * PRICE)
    assert world.schedule() == 1
    world.end(1)
    world.reactor.tick(world.now)
    assert (job.failed, job.ready) == (0, 2)


def test_a_job_that_is_retried_after_its_end_is_capped_like_any_other() -> None:
    world = World()
    job = world.job(3)
    world.schedule()
    world.end(3, failure=Failure(FailureKind.EXCEPTION, ""))
    world.reactor.seal_job(world.now, job.id)
    world.keep()
    world.reactor.forget_job(job.id)
    again = world.reactor.restore_job(record for record in world.journal if isinstance(record, OF_A_JOB))
    assert again is not None
    world.cap(monthly=5 * PRICE)
    world.reactor.retry_job(world.now, again)
    assert world.schedule() == 2
    (state,) = world.reactor.state.accounts.states(ORGANISATION)
    assert (state.spent, state.reserved, state.used[LEASES]) == (3 * PRICE, 2 * PRICE, 2)


def test_a_clock_set_back_begins_no_month_again() -> None:
    world = World()
    world.cap(monthly=PRICE)
    world.job(3)
    world.schedule()
    world.end(1)
    world.now -= 40 * 86400
    assert world.schedule() == 0


def test_what_was_told_before_a_restart_or_a_new_cap_is_not_told_again() -> None:
    accounts = Accounts()
    accounts.seed("2026-11", [("2026-11", (ORGANISATION, ""), 90)])
    accounts.set_cap(Cap(ORGANISATION, "", 100))
    assert accounts.take_alerts() == []
    accounts.known[ORGANISATION, ""].pay(10)
    assert [alert.percent for alert in accounts.take_alerts()] == [100]


def test_a_new_month_begins_with_nothing_spent() -> None:
    world = World()
    world.cap(monthly=2 * PRICE)
    world.job(6)
    world.schedule()
    world.end(2)
    assert world.schedule() == 0
    world.now = DECEMBER
    assert world.schedule() == 2


def test_alerts_are_told_once_a_month() -> None:
    world = World()
    world.cap(monthly=4 * PRICE)
    world.job(8)
    world.schedule()
    world.end(2)
    accounts = world.reactor.state.accounts
    cap = Cap(ORGANISATION, "", 4 * PRICE)
    assert accounts.take_alerts() == [Alert(cap, Budget.MONTH, "2026-11", 50, 2 * PRICE)]
    assert accounts.take_alerts() == []
    world.end(2)
    assert [alert.percent for alert in accounts.take_alerts()] == [80, 100]
    world.now = DECEMBER
    world.schedule()
    world.end(4)
    assert [alert.percent for alert in accounts.take_alerts()] == [50, 80, 100]


def test_lifting_a_cap_lets_everything_run() -> None:
    world = World()
    world.cap(monthly=PRICE)
    world.job(5)
    assert world.schedule() == 1
    world.cap()
    assert world.schedule() == 4
    assert world.reactor.state.accounts.states(ORGANISATION) == []


def test_a_restart_begins_with_what_was_spent_and_what_runs() -> None:
    world = World()
    world.job(6, project="apples")
    world.cap(monthly=4 * PRICE)
    world.schedule()
    world.end(1)
    history = History()
    for record in world.journal:
        history.add(record)
    # The node is known from before the journal begins.
    again = Reactor(1, 1e9)
    spec = world.reactor.state.nodes[NODE].spec
    again.join_node(world.now, spec, bytes(32), 1, {})
    again.replay(history.records(), JobId(1), world.now)
    again.state.accounts.seed("2026-11", [("2026-11", (ORGANISATION, "apples"), PRICE)])
    again.state.accounts.set_cap(Cap(ORGANISATION, "", 4 * PRICE))
    (before,) = world.reactor.state.accounts.states(ORGANISATION)
    (after,) = again.state.accounts.states(ORGANISATION)
    assert after == before


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 1500)), max_size=25),
    st.integers(0, 12 * PRICE),
    st.integers(0, 8),
)
@settings(max_examples=60, deadline=None)
def test_no_cap_is_ever_passed(steps: list[tuple[int, int, int]], monthly: int, leases: int) -> None:
    world = World()
    world.cap(monthly=monthly, project="apples")
    world.cap(leases=leases)
    for action, count, lease_ms in steps:
        if action == 0:
            world.job(count, project="apples" if count % 2 else "pears")
        elif action == 1:
            world.end(count, lease_ms)
        elif action == 2:
            world.end(count, lease_ms, Failure(FailureKind.LOST, ""))
        else:
            world.schedule()
        for state in world.reactor.state.accounts.states(ORGANISATION):
            assert state.spent >= 0
            assert state.reserved >= 0
            if state.cap.monthly_nano is not None:
                assert state.spent + state.reserved <= state.cap.monthly_nano
            if LEASES in state.cap.quotas:
                assert state.used.get(LEASES, 0) <= state.cap.quotas[LEASES]


def test_caps_survive_in_their_file(tmp_path: Path) -> None:
    file = CapFile(tmp_path / "caps.json")
    one, other = Cap("lab", "apples", 5, alerts=(80,)), Cap("lab", "", quotas={LEASES: 3})
    file.put(one)
    file.put(other)
    assert CapFile(tmp_path / "caps.json").caps == [other, one]
    file.put(Cap("lab", "apples"))
    assert CapFile(tmp_path / "caps.json").caps == [other]
    (tmp_path / "caps.json").write_text("[]")
    with pytest.raises(Corrupted, match="farlane budget set"):
        CapFile(tmp_path / "caps.json")


@pytest.mark.parametrize(
    "figures",
    [
        {"monthly_nano": -1},
        {"quotas": {LEASES: -1}},
        {"quotas": {"bread": 1}},
        {"total_nano": -1},
        {"alerts": (0,)},
        {"alerts": (101,)},
    ],
)
def test_caps_that_cannot_be_are_refused(figures: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Cap("lab", "", **figures)  # type: ignore[arg-type]
