"""Whatever happens in whatever order: no budget and no quota is passed, and nothing of one leaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from farlane.domain.caps import CPU_MILLI, GPUS, LEASES, MEMORY_BYTES, OPEN_TASKS, QUOTAS, Cap, gpus_of
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec
from farlane.domain.resources import GIB, Resources
from farlane.errors import Conflict, QuotaReached
from farlane.hub.reactor.account import Account
from farlane.hub.reactor.state import Job
from farlane.testing.builders import A100, T4, a_gpu_node, a_job, a_node, gpus, payloads
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import (
    check_accounts,
    check_ended,
    check_jobs,
    check_resources,
    fingerprint,
)

LEASE_S = 10.0
NODES = [a_node("n1", cpu=6000), a_gpu_node("n2", (T4, 2), (A100, 2)), a_gpu_node("n3", (A100, 1))]
SHAPES = [Resources(500, GIB, GIB), Resources(2000, 3 * GIB, GIB), gpus(1), gpus(2, "A100"), gpus(1, "T4")]
A100S = gpus_of("A100")
KINDS = [FailureKind.EXCEPTION, FailureKind.REFUSED, FailureKind.BAD_PAYLOAD, FailureKind.LOST]

jobs_to_submit = st.builds(
    a_job,
    resources=st.sampled_from(SHAPES),
    retries=st.integers(0, 1),
    project=st.sampled_from(["", "p", "q"]),
    priority=st.sampled_from([0, 50]),
    budget=st.sampled_from([None, None, 700_000]),
    estimate_ms=st.sampled_from([None, 5]),  # short ones queue ahead
)
amounts = {
    LEASES: st.integers(0, 6), CPU_MILLI: st.integers(0, 6000), MEMORY_BYTES: st.integers(0, 8 * GIB),
    GPUS: st.integers(0, 3), A100S: st.integers(0, 2), OPEN_TASKS: st.integers(0, 12),
}  # fmt: skip
caps = st.builds(
    Cap,
    organisation=st.just("lab"),
    project=st.sampled_from(["", "p"]),
    monthly_nano=st.sampled_from([None, None, 0, 200_000, 2_000_000]),
    total_nano=st.sampled_from([None, None, 300_000, 5_000_000]),
    quotas=st.fixed_dictionaries({}, optional=amounts),
    ceiling=st.booleans(),
)


class CapsMachine(RuleBasedStateMachine):
    """A hub whose organisation and projects are capped this way and that."""

    @initialize(
        policy=st.sampled_from(["fifo", "shortest-first", "best-fit", "spread"]),
        first=caps, second=caps, job=jobs_to_submit,
    )  # fmt: skip
    def begin(self, policy: str, first: Cap, second: Cap, job: JobSpec) -> None:
        self.world = SmallWorld(policy, LEASE_S)
        self.keys, self.backups = 0, list[int]()
        for spec in NODES:
            self.world.join(spec)
        self.world.cap(first)
        self.world.cap(second)
        self.submit(job, 4)

    @property
    def accounts(self) -> list[Account]:
        return list(self.world.state.accounts.known.values())

    @property
    def jobs(self) -> list[Job]:
        return list(self.world.state.jobs.values())

    @rule(cap=caps)
    def cap(self, cap: Cap) -> None:
        self.world.cap(cap)

    @rule(spec=jobs_to_submit, count=st.integers(1, 6))
    def submit(self, spec: JobSpec, count: int) -> None:
        self.keys += 1
        key, reactor, now = str(self.keys), self.world.reactor, self.world.now
        before = fingerprint(self.world.state)
        if not self.admitted(spec, count):
            with pytest.raises(QuotaReached):
                reactor.open_job(now, key, spec, count)
            assert fingerprint(self.world.state) == before
            return
        job, _ = reactor.open_job(now, key, spec, count)
        reactor.add_tasks(now, job.id, 0, payloads(count))
        self.world.take()

    def admitted(self, spec: JobSpec, more: int) -> bool:
        accounts = [
            account
            for account in self.accounts
            if account.organisation == spec.organisation and account.project in ("", spec.project)
        ]
        return all(
            account.used.get(OPEN_TASKS, 0) + more <= cap.quotas.get(OPEN_TASKS, 1 << 40)
            for account in accounts
            for cap in account.caps.values()
        )

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), count=st.integers(1, 5))
    def grow_job(self, data: st.DataObject, count: int) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        before, admitted = job.total, self.admitted(job.spec, count)
        if job.sealed:
            return
        if admitted:
            self.world.reactor.add_tasks(self.world.now, job.id, before, payloads(count))
        else:
            with pytest.raises(QuotaReached, match="allowed now"):
                self.world.reactor.add_tasks(self.world.now, job.id, before, payloads(count))
        assert job.total == before + count * admitted
        self.world.take()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), stop=st.booleans())
    def seal_or_stop(self, data: st.DataObject, stop: bool) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        if stop:
            self.world.reactor.stop_job(self.world.now, job.id, "enough")
        else:
            self.world.reactor.seal_job(self.world.now, job.id)
        self.world.take()

    @precondition(lambda self: self.world.state.next_job > 1)
    @rule(data=st.data(), forget=st.booleans())
    def retry(self, data: st.DataObject, forget: bool) -> None:
        job_id = JobId(data.draw(st.integers(1, self.world.state.next_job - 1)))
        if forget:
            self.world.reactor.forget_job(job_id)
        job = self.world.recall(job_id)
        wanted = job.failed + job.stopped
        if not (job.state.final and wanted):
            with pytest.raises(Conflict):
                self.world.reactor.retry_job(self.world.now, job)
        elif self.admitted(job.spec, wanted):
            assert self.world.reactor.retry_job(self.world.now, job) == wanted
        else:
            with pytest.raises(QuotaReached):
                self.world.reactor.retry_job(self.world.now, job)
        self.world.take()

    @rule()
    def schedule(self) -> None:
        before = {account.key: (dict(account.used), account.reserved) for account in self.accounts}
        self.world.schedule()
        for account in self.accounts:
            used, reserved = before[account.key]
            for cap in account.caps.values():
                for name, most in cap.quotas.items():
                    assert account.used.get(name, 0) <= max(most, used.get(name, 0)), name
                for budget, spent in ((cap.monthly_nano, account.spent), (cap.total_nano, account.total)):
                    if budget is not None:
                        assert account.reserved <= max(reserved, budget - spent)

    @precondition(lambda self: any(self.world.held.values()))
    @rule(data=st.data(), how=st.sampled_from([None, None, *KINDS]), lease_ms=st.sampled_from([0, 7, 10**9]))
    def answer(self, data: st.DataObject, how: FailureKind | None, lease_ms: int) -> None:
        working = [node for node in self.world.connected if self.world.held.get(node)]
        if working:
            node = data.draw(st.sampled_from(working))
            tasks = data.draw(
                st.lists(st.sampled_from(sorted(self.world.held[node])), unique=True, min_size=1)
            )
            self.world.end(node, tasks, None if how is None else Failure(how, "no"), lease_ms=lease_ms)

    @rule(seconds=st.sampled_from([1.0, 11.0, 300.0, 40 * 86400.0]), heard=st.booleans())
    def wait(self, seconds: float, heard: bool) -> None:
        if heard:
            self.world.now += seconds
            self.world.beat()
            seconds = 0.0
        self.world.tick(seconds)

    @rule(spec=st.sampled_from(NODES), forgetful=st.booleans(), leaves=st.booleans())
    def come_or_go(self, spec: object, forgetful: bool, leaves: bool) -> None:
        if leaves and spec.node in self.world.connected:  # type: ignore[attr-defined]
            self.world.leave(spec.node, "drained" if forgetful else "")  # type: ignore[attr-defined]
        else:
            self.world.join(spec, forgetful=forgetful)  # type: ignore[arg-type]

    @rule(_=st.none())
    def restart(self, _: None) -> None:
        before = fingerprint(self.world.state)
        spent = {account.key: account.spent for account in self.accounts if account.spent}
        self.world.restart()
        assert fingerprint(self.world.state) == before
        assert {account.key: account.spent for account in self.accounts if account.spent} == spent
        self.come_or_go(NODES[1], False, False)

    @rule(back=st.integers(0, 5))
    def restore(self, back: int) -> None:
        del self.backups[max(1, len(self.backups) - back) :]
        self.world.restore(self.backups[-1])

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "world"):
            check_jobs(self.world.state)
            check_resources(self.world.state)
            check_accounts(self.world)
            self.backups.append(len(self.world.journal))

    def teardown(self) -> None:
        """Without caps everything ends, and nothing is in use or reserved any more."""
        if not hasattr(self, "world"):
            return
        for cap in list(self.world.caps.values()):
            self.world.cap(replace(cap, monthly_nano=None, total_nano=None, quotas={}))
        for job in self.jobs:
            self.world.reactor.seal_job(self.world.now, job.id)
        self.world.take()
        for spec in NODES:
            self.world.join(spec)
        for _ in range(200):
            if all(job.state.final for job in self.jobs):
                break
            self.world.now += 3.0
            self.world.beat()
            self.world.tick(0.0)
            self.world.schedule()
            self.world.end_all()
        check_ended(self.world)


TestCaps = CapsMachine.TestCase
TestCaps.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_the_machine_can_set_every_quota() -> None:
    assert set(QUOTAS) | {A100S} == set(amounts)
