"""Whatever happens in whatever order: nothing is lost, counted twice, overcommitted or overpaid."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import NodeId, TaskId, index_of, job_of
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import JobEnded, TasksEnded, TasksRequeued
from farlane.domain.resources import GIB, Resources
from farlane.hub.reactor.state import Job
from farlane.testing.builders import a_job, a_node, payloads
from farlane.testing.small_world import SmallWorld

NODES = [a_node("n1", cpu=2000), a_node("n2", cpu=4000), a_node("n3", cpu=1000)]
KINDS = [
    FailureKind.EXCEPTION,
    FailureKind.BLOB,
    FailureKind.REFUSED,
    FailureKind.BAD_PAYLOAD,
    FailureKind.TIMEOUT,
]


class HubMachine(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(["fifo", "shortest-first", "best-fit", "spread"]))
    def begin(self, policy: str) -> None:
        self.world = SmallWorld(policy)
        self.keys = 0
        self.left: list[tuple[NodeId, TaskId, int]] = []

    @property
    def jobs(self) -> list[Job]:
        return list(self.world.reactor.state.jobs.values())

    @rule(
        count=st.integers(0, 6),
        cpu=st.sampled_from([500, 1000, 3000]),
        retries=st.integers(0, 2),
        priority=st.integers(0, 100),
        budget=st.one_of(st.none(), st.integers(1, 2_000_000_000)),
        seal=st.booleans(),
        deadline=st.one_of(st.none(), st.floats(1, 100)),
    )
    def submit(
        self,
        count: int,
        cpu: int,
        retries: int,
        priority: int,
        budget: int | None,
        seal: bool,
        deadline: float | None,
    ) -> None:
        self.keys += 1
        spec = a_job(
            resources=Resources(cpu, GIB, GIB), retries=retries, priority=priority, budget=budget,
            deadline_at=None if deadline is None else self.world.now + deadline,
        )  # fmt: skip
        reactor, now = self.world.reactor, self.world.now
        job, existed = reactor.open_job(now, str(self.keys), spec)
        assert not existed
        reactor.add_tasks(now, job.id, 0, payloads(count))
        if seal:
            reactor.seal_job(now, job.id)
        again, existed = (
            reactor.open_job(now, str(self.keys), spec) if job.id in reactor.state.jobs else (job, True)
        )
        assert existed
        assert again is job
        self.world.take()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), count=st.integers(1, 4), overlap=st.integers(0, 3))
    def add_more(self, data: st.DataObject, count: int, overlap: int) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        if not job.sealed and not job.state.final:
            before = job.total
            first = max(0, before - overlap)
            self.world.reactor.add_tasks(self.world.now, job.id, first, payloads(count))
            assert job.total == max(before, first + count)
            self.world.take()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def seal(self, data: st.DataObject) -> None:
        self.world.reactor.seal_job(self.world.now, data.draw(st.sampled_from(self.jobs)).id)
        self.world.take()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        self.world.reactor.stop_job(self.world.now, job.id, "enough")
        self.world.take()

    @precondition(lambda self: any(job.state.final and job.failed + job.stopped for job in self.jobs))
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = data.draw(
            st.sampled_from([job for job in self.jobs if job.state.final and job.failed + job.stopped])
        )
        wanted = job.failed + job.stopped
        assert self.world.reactor.retry_job(self.world.now, job) == wanted
        self.world.take()

    @rule(node=st.sampled_from(NODES), forgetful=st.booleans())
    def join(self, node: NodeId, forgetful: bool) -> None:
        self.world.join(node, forgetful=forgetful)  # type: ignore[arg-type]

    @rule(data=st.data(), farewell=st.sampled_from(["", "drained"]))
    def leave(self, data: st.DataObject, farewell: str) -> None:
        nodes = self.world.reactor.state.nodes
        if nodes:
            node = nodes[data.draw(st.sampled_from(sorted(nodes)))]
            self.world.reactor.leave_node(self.world.now, node.spec.node, node.session, farewell)
            self.world.take()

    @rule()
    def schedule(self) -> None:
        self.world.schedule()

    @rule(data=st.data(), how=st.sampled_from([None, *KINDS]), lease_ms=st.integers(0, 10_000))
    def finish_some(self, data: st.DataObject, how: FailureKind | None, lease_ms: int) -> None:
        holding = [node for node, tasks in self.world.held.items() if tasks]
        if not holding:
            return
        node = data.draw(st.sampled_from(holding))
        tasks = data.draw(st.lists(st.sampled_from(sorted(self.world.held[node])), unique=True, min_size=1))
        self.left += [(node, task, self.world.held[node][task]) for task in tasks]
        self.world.end(node, tasks, None if how is None else Failure(how, "no"), lease_ms=lease_ms)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def answer_twice(self, data: st.DataObject) -> None:
        node, task, attempt = data.draw(st.sampled_from(self.left))
        job = self.world.reactor.state.jobs.get(job_of(task))
        lease = self.world.reactor.state.nodes[node].leases.get(task)
        if lease is not None and lease.attempt == attempt:
            return  # The very lease is in force (its first answer was lost with the node): not a second answer.
        before = None if job is None else bytes(job.states)
        self.world.report(node, [task], [attempt])
        assert before == (None if job is None else bytes(job.states))

    @rule(seconds=st.sampled_from([0.1, 5.0, 11.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        nodes = self.world.reactor.state.nodes
        if nodes:
            self.world.reactor.hear_node(self.world.now, data.draw(st.sampled_from(sorted(nodes))))

    @rule()
    def restart(self) -> None:
        before = {
            job.id: (
                bytes(job.states),
                job.spent,
                job.reserved,
                job.seq,
                job.sealed,
                job.failed,
                job.state.final,
            )
            for job in self.jobs
        }
        self.world.restart()
        after = {
            job.id: (
                bytes(job.states),
                job.spent,
                job.reserved,
                job.seq,
                job.sealed,
                job.failed,
                job.state.final,
            )
            for job in self.jobs
        }
        assert after == before

    @invariant()
    def tasks_add_up(self) -> None:
        for job in self.jobs:
            assert job.done == job.states.count(TaskState.DONE)
            assert job.failed == job.states.count(TaskState.FAILED)
            assert job.stopped == job.states.count(TaskState.STOPPED)
            assert job.ready == job.states.count(TaskState.QUEUED)
            assert job.leased == job.states.count(TaskState.LEASED)
            if job.sealed and job.ended == job.total:
                assert job.state.final

    @invariant()
    def leases_add_up(self) -> None:
        state = self.world.reactor.state
        reserved: dict[int, int] = {}
        for node in state.nodes.values():
            row = state.table.rows[node.spec.node]
            held = np.zeros(state.table.capacity.shape[1], np.int64)
            for task, lease in node.leases.items():
                job = state.jobs[job_of(task)]
                assert job.states[index_of(task)] == TaskState.LEASED
                held += state.table.demand(job.requirement, lease.gpu)
                reserved[job.id] = reserved.get(job.id, 0) + lease.reserve
            assert (state.table.capacity[row] - state.table.free[row] == held).all()
        for job in self.jobs:
            assert job.reserved == reserved.get(job.id, 0)

    @invariant()
    def budgets_hold(self) -> None:
        for job in self.jobs:
            if job.spec.budget is not None:
                assert job.spent + job.reserved <= job.spec.budget

    @invariant()
    def each_task_ends_once(self) -> None:
        ended: set[tuple[int, int]] = set()
        final: set[int] = set()
        for record in self.world.journal:
            if isinstance(record, TasksEnded):
                for index in record.indices:
                    assert (record.job, index) not in ended
                    ended.add((record.job, index))
            elif isinstance(record, TasksRequeued):
                ended -= {(record.job, index) for index in record.indices}
                final.discard(record.job)
            elif isinstance(record, JobEnded):
                assert record.job not in final
                assert record.state is not JobState.PENDING
                final.add(record.job)

    def teardown(self) -> None:
        """Given a good node and time, every job ends."""
        if not hasattr(self, "world"):
            return
        for job in self.jobs:
            if not job.state.final:
                self.world.reactor.seal_job(self.world.now, job.id)
        self.world.take()
        for _ in range(400):
            open_jobs = [job for job in self.jobs if not job.state.final]
            if not open_jobs:
                return
            self.world.tick(301.0)
            for node in NODES:
                self.world.join(node)
            self.world.schedule()
            for node_id, tasks in self.world.held.items():
                if tasks:
                    self.world.end(node_id, list(tasks))
        raise AssertionError(
            f"jobs never ended: {[(job.id, job.state, bytes(job.states)) for job in self.jobs]}"
        )


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
