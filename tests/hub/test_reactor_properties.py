"""Whatever happens in whatever order: nothing is lost, counted twice, overcommitted or overpaid."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId
from farlane.domain.jobs import Durability, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import JobEnded, LeasesMetered
from farlane.domain.resources import GIB, Capacity, Resources
from farlane.errors import Conflict, InvalidInput
from farlane.hub.reactor.commands import AcceptEnded, Append, Command, Deliver, FinishJob
from farlane.hub.reactor.state import Job
from farlane.testing.builders import A100, RATES, T4, a_gpu_node, a_job, a_node, gpus, payloads
from farlane.testing.small_world import Granted, SmallWorld
from farlane.testing.world_checks import (
    check_accounts,
    check_ended,
    check_jobs,
    check_journal,
    check_resources,
    fingerprint,
    leases_of,
)

LEASE_S = 10.0
INTERIM_S = 4.0
NODES = [a_node("n1", cpu=1000), a_gpu_node("n2", (T4, 2), (A100, 1)), a_node("n3", cpu=4000)]
SPARE = a_gpu_node("spare", (T4, 4), (A100, 4))
KINDS = [FailureKind.EXCEPTION, FailureKind.BLOB, FailureKind.REFUSED, FailureKind.BAD_PAYLOAD]
SHAPES = [Resources(500, GIB, GIB), Resources(3000, GIB, GIB), gpus(1), gpus(2, "T4"), gpus(1, vram_gib=40)]
EXAMPLES = int(os.environ.get("FARLANE_EXAMPLES", "200"))

nodes = st.sampled_from(NODES)
jobs_to_submit = st.builds(
    a_job,
    resources=st.sampled_from([SHAPES[0], *SHAPES]),
    retries=st.integers(0, 2),
    priority=st.sampled_from([0, 50, 100]),
    budget=st.sampled_from([None, None, 300_000, 700_000, 10**10]),
    durability=st.sampled_from(list(Durability)),
    profile=st.sampled_from(["", "f"]),
)


def delivered(commands: list[Command]) -> int:
    """Count the ended tasks that were handed to watchers."""
    return sum(len(command.record.indices) for command in commands if isinstance(command, Deliver))


class HubMachine(RuleBasedStateMachine):
    """A hub with its publishers, nodes, crashes and time.

    Hypothesis prefers the rule with fewest arguments, of those the one whose name sorts first: `a_blob_is_lost`.
    """

    @initialize(
        policy=st.sampled_from(["fifo", "shortest-first", "best-fit", "spread"]),
        ending=st.sampled_from(["replaced", "empty-handed", "back"]),
        eager=st.sampled_from([True, True, True, False]),
        first=jobs_to_submit, second=jobs_to_submit, crew=st.sampled_from([[1], [1], [1, 2], [0, 1, 2]]),
    )  # fmt: skip
    def begin(
        self, policy: str, ending: str, eager: bool, first: JobSpec, second: JobSpec, crew: list[int]
    ) -> None:
        self.world = SmallWorld(policy, LEASE_S, INTERIM_S)
        self.ending, self.eager = ending, eager
        self.keys = 0
        self.specs: dict[NodeId, NodeSpec] = {}
        self.heard: dict[NodeId, float] = {}
        self.silent, self.draining = set[NodeId](), set[NodeId]()
        self.answered: list[Granted] = []
        self.backups: list[int] = []
        for node in crew:
            self.join(NODES[node], False)
        self.submit(first, 3, True, None)
        self.submit(second, 2, False, None)

    # -- what the hub has

    @property
    def jobs(self) -> list[Job]:
        return list(self.world.state.jobs.values())

    @property
    def alive(self) -> list[NodeId]:
        return [node for node in self.world.connected if node not in self.silent]

    @property
    def working(self) -> list[NodeId]:
        return [node for node in self.alive if self.world.held.get(node)]

    def turn(self) -> None:
        """Carry out what the hub asks for; an eager one runs a round after every event."""
        self.world.take()
        if self.eager:
            self.schedule()

    # -- publishers

    @rule(
        spec=jobs_to_submit, count=st.integers(0, 5), seal=st.booleans(),
        deadline=st.sampled_from([None, None, 20.0]),
    )  # fmt: skip
    def submit(self, spec: JobSpec, count: int, seal: bool, deadline: float | None) -> None:
        self.keys += 1
        key, reactor, now = str(self.keys), self.world.reactor, self.world.now
        if deadline is not None:
            spec = replace(spec, deadline_at=now + deadline)
        job = self.world.submit(spec, count, key=key, seal=seal)
        assert reactor.open_job(now, key, spec) == (job, True)
        assert reactor.take_commands() == []
        self.turn()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), count=st.integers(1, 4), back=st.integers(-1, 3))
    def grow_job(self, data: st.DataObject, count: int, back: int) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        before, first = job.total, max(0, job.total - back)
        more = max(before, first + count)
        refusal = InvalidInput if first > before else Conflict if job.sealed and more > before else None
        with nullcontext() if refusal is None else pytest.raises(refusal):
            self.world.reactor.add_tasks(self.world.now, job.id, first, payloads(count))
        assert job.total == (before if refusal else more)
        self.turn()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), stop=st.sampled_from([False, False, False, True]))
    def seal_or_stop(self, data: st.DataObject, stop: bool) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        if stop:
            self.world.reactor.stop_job(self.world.now, job.id, "enough")
            assert job.state.final
        else:
            self.world.reactor.seal_job(self.world.now, job.id)
        assert job.sealed
        self.turn()

    @precondition(lambda self: any(isinstance(record, JobEnded) for record in self.world.journal))
    @rule(data=st.data(), forget=st.booleans())
    def retry(self, data: st.DataObject, forget: bool) -> None:
        ended = {record.job for record in self.world.journal if isinstance(record, JobEnded)}
        job_id = JobId(data.draw(st.sampled_from(sorted(ended))))
        if forget:
            self.world.reactor.forget_job(job_id)
        before = fingerprint(self.world.state)
        job = self.world.recall(job_id)
        assert fingerprint(self.world.state) == before
        wanted = job.failed + job.stopped
        if job.state.final and wanted:
            assert self.world.reactor.retry_job(self.world.now, job) == wanted
            assert job.ready == wanted
        else:
            with pytest.raises(Conflict):
                self.world.reactor.retry_job(self.world.now, job)
        self.turn()

    # -- nodes

    @rule(
        spec=nodes, forgetful=st.booleans(), core_second=st.sampled_from([1000, 1000, 1000, 3000]),
        gpu=st.sampled_from([True, True, False]),
    )  # fmt: skip
    def join_changed(self, spec: NodeSpec, forgetful: bool, core_second: int, gpu: bool) -> None:
        if not gpu:
            spec = replace(spec, capacity=Capacity(3000, 16 * GIB, 100 * GIB))
        rates = RateVector(core_second, RATES.gib_second, RATES.gpu_second, RATES.gib_moved)
        self.join(replace(spec, rates=rates), forgetful)

    @rule(spec=nodes, forgetful=st.booleans())
    def join(self, spec: NodeSpec, forgetful: bool) -> None:
        """What a node holds by leases in force it keeps; all else is free at once, on both sides."""
        known, held = self.specs.get(spec.node), dict(self.world.held.get(spec.node, {}))
        same = self.world.joined_in.get(spec.node, self.world.epoch) == self.world.epoch
        keeps = same and not forgetful and (known is None or known.rates == spec.rates)
        before = leases_of(self.world.state)
        self.world.join(spec, forgetful=forgetful)
        kept = {task: at for task, at in held.items() if keeps and before.get(task) == (spec.node, at)}
        assert {task: lease.attempt for task, lease in self.world.node(spec).leases.items()} == kept
        assert self.world.held[spec.node] == kept
        self.specs[spec.node] = spec
        self.heard[spec.node] = self.world.now
        self.silent.discard(spec.node)
        self.draining.discard(spec.node)
        self.turn()

    @precondition(lambda self: self.world.connected)
    @rule(data=st.data(), farewell=st.sampled_from(["", "", "drained"]))
    def leave(self, data: st.DataObject, farewell: str) -> None:
        node = self.world.state.nodes[data.draw(st.sampled_from(self.world.connected))]
        self.world.leave(node.spec.node, farewell)
        assert not node.connected
        assert not (farewell and node.leases)
        self.turn()

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), wakes=st.booleans())
    def fall_silent(self, data: st.DataObject, wakes: bool) -> None:
        """A node hangs with its stream open. When it wakes it may have lost its leases and got them again."""
        node = data.draw(st.sampled_from(self.alive))
        self.silent.add(node)
        if wakes:
            self.wait(LEASE_S + 1)
            self.wait(300.0)
            self.silent.discard(node)
            self.beat()
            self.turn()

    @precondition(lambda self: self.silent & set(self.world.connected))
    @rule(data=st.data())
    def wake_up(self, data: st.DataObject) -> None:
        self.silent.discard(data.draw(st.sampled_from(sorted(self.silent & set(self.world.connected)))))
        self.beat()
        self.turn()

    @precondition(lambda self: self.world.connected)
    @rule(data=st.data(), older=st.integers(1, 2))
    def old_stream_ends(self, data: st.DataObject, older: int) -> None:
        node = self.world.state.nodes[data.draw(st.sampled_from(self.world.connected))]
        before = fingerprint(self.world.state)
        self.world.reactor.leave_node(self.world.now, node.spec.node, node.session - older, "late farewell")
        assert node.connected
        assert fingerprint(self.world.state) == before

    @precondition(lambda self: self.world.connected)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.world.connected))
        self.world.reactor.drain_node(node, False)
        self.draining.add(node)
        self.turn()

    @rule()
    def schedule(self) -> None:
        before = len(self.world.granted)
        granted = self.world.schedule()
        assert len(self.world.granted) == before + granted
        for lease in self.world.granted[before:]:
            node = self.world.state.nodes[lease.node]
            assert node.connected
            assert lease.node not in self.draining
            assert node.suspended_until <= self.world.now

    @precondition(lambda self: self.working)
    @rule()
    def a_blob_is_lost(self) -> None:
        """The task runs again at once, on the same node where there is no other; the old answer comes twice."""
        node = self.working[0]
        task, attempt = min(self.world.held[node].items())
        self.finish(node, [task], FailureKind.BLOB, 7)
        self.repeat(Granted(node, task, attempt, self.world.epoch), self.world.epoch)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), how=st.sampled_from([None, None, *KINDS]), lease_ms=st.sampled_from([0, 7, 10**9]))
    def answer(self, data: st.DataObject, how: FailureKind | None, lease_ms: int) -> None:
        node = data.draw(st.sampled_from(self.working))
        held = self.world.held[node]
        tasks = data.draw(st.lists(st.sampled_from(sorted(held)), unique=True, min_size=1))
        self.finish(node, tasks, how, lease_ms)

    def finish(self, node: NodeId, tasks: list[TaskId], how: FailureKind | None, lease_ms: int) -> None:
        held = self.world.held[node]
        jobs = [self.world.state.jobs.get(JobId(task >> 24)) for task in tasks]
        self.answered += [Granted(node, task, held[task], self.world.epoch) for task in tasks]
        in_force = [leases_of(self.world.state).get(task) == (node, held[task]) for task in tasks]
        out = self.world.end(node, tasks, None if how is None else Failure(how, "no"), lease_ms=lease_ms)
        (accepted,) = [command for command in out if isinstance(command, AcceptEnded)]
        early = all(in_force) and all(job is not None and job.relaxed for job in jobs)
        assert accepted.relaxed == early
        assert not set(tasks) & {task for task, (at, _) in leases_of(self.world.state).items() if at == node}
        self.turn()
        assert how is not None or delivered(out) == sum(in_force)

    @precondition(lambda self: self.working)
    @rule(
        data=st.data(),
        run_ms=st.sampled_from([0, 1999, 2000, 10**4, 10**9]),
        other_epoch=st.sampled_from([0, 0, 1]),
    )
    def run_on(self, data: st.DataObject, run_ms: int, other_epoch: int) -> None:
        """A node says that tasks run on: what is in force and long enough is booked, all else changes nothing."""
        node = data.draw(st.sampled_from(self.working))
        tasks = data.draw(st.lists(st.sampled_from(sorted(self.world.held[node])), min_size=1))
        leases, held = self.world.state.nodes[node].leases, self.world.held[node]
        due = [
            task
            for task in dict.fromkeys(tasks)
            if task in leases
            and leases[task].attempt == held[task]
            and min(run_ms, (self.world.now - leases[task].at) * 1000 + 1) - leases[task].part_ms >= 2000
        ]
        out = self.world.meter(node, tasks, run_ms, self.world.epoch + other_epoch)
        records = [command.record for command in out if isinstance(command, Append)]
        booked = [
            index for record in records if isinstance(record, LeasesMetered) for index in record.indices
        ]
        assert len(booked) == (0 if other_epoch else len(due))
        self.turn()

    @precondition(lambda self: self.world.granted)
    @rule(data=st.data(), other_epoch=st.sampled_from([0, 0, 0, -1, 1]), twice=st.booleans())
    def answer_what_is_not_in_force(self, data: st.DataObject, other_epoch: int, twice: bool) -> None:
        """Twice, after the lease was given away (also to the same node), or of another epoch: nothing changes."""
        leases = leases_of(self.world.state)
        # Old leases of tasks that are out again on the same node come first: the fence alone tells them apart.
        again = [old for old in self.world.granted if old.task in leases and old.node == leases[old.task][0]]
        old = data.draw(st.sampled_from(again or self.answered or self.world.granted))
        self.repeat(old, old.epoch + other_epoch, rows=2 if twice else 1)

    def repeat(self, old: Granted, epoch: int, rows: int = 1) -> None:
        """Answer for a lease that is not in force, if it is not: nothing changes."""
        current = leases_of(self.world.state).get(old.task) == (old.node, old.attempt)
        # A backup from before a node came does not know it: it has no stream to answer on.
        if (current and epoch == self.world.epoch) or old.node not in self.world.state.nodes:
            return
        before, stale = fingerprint(self.world.state), self.world.state.stale_results
        out = self.world.report(old.node, [old.task] * rows, [old.attempt] * rows, epoch=epoch)
        assert out == [
            AcceptEnded(
                old.node, self.world.reactor.state.nodes[old.node].session, self.world.batch, relaxed=False
            )
        ]
        assert fingerprint(self.world.state) == before
        assert self.world.state.stale_results == stale + rows

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def answer_twice_in_one_batch(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.working))
        task, attempt = data.draw(st.sampled_from(sorted(self.world.held[node].items())))
        current = leases_of(self.world.state).get(task) == (node, attempt)
        stale = self.world.state.stale_results
        self.world.held[node].pop(task)
        out = self.world.report(node, [task, task], [attempt, attempt])
        assert delivered(out) == current
        assert self.world.state.stale_results == stale + 2 - current

    # -- time and crashes

    @rule(seconds=st.sampled_from([0.1, 3.0, 3.0, 30.0, 300.0]))
    def wait(self, seconds: float) -> None:
        """A node that is heard of keeps its leases; a silent one has none once its time is up."""
        before = leases_of(self.world.state)
        self.world.now += seconds
        self.beat()
        self.world.tick(0.0)
        after = leases_of(self.world.state)
        lost = {node for node, at in self.heard.items() if at + LEASE_S < self.world.now}
        assert not [node for node, _ in after.values() if node in lost]
        for task in before.keys() - after.keys():
            job = self.world.state.jobs[JobId(task >> 24)]
            late = job.spec.deadline_at is not None and job.spec.deadline_at <= self.world.now
            assert before[task][0] in lost or late
        self.turn()

    def beat(self) -> None:
        for node in self.alive:
            self.world.reactor.hear_node(self.world.now, node)
            self.heard[node] = self.world.now

    @rule(_=st.none())
    def restart(self, _: None) -> None:
        before = fingerprint(self.world.state)
        self.world.restart()
        assert fingerprint(self.world.state) == before
        self.heard = dict.fromkeys(self.world.state.nodes, self.world.now)
        self.silent.clear()

    @rule(back=st.integers(0, 5))
    def restore(self, back: int) -> None:
        """Go back to a backup made some events ago."""
        del self.backups[max(1, len(self.backups) - back) :]
        self.world.restore(self.backups[-1])
        self.heard = dict.fromkeys(self.world.state.nodes, self.world.now)
        self.specs = {key: node.spec for key, node in self.world.state.nodes.items()}
        self.silent.clear()
        assert self.world.state.epoch == self.world.epoch
        assert self.world.connected == []

    # -- what always holds

    @invariant()
    def everything_adds_up(self) -> None:
        if hasattr(self, "world"):
            check_journal(self.world)
            check_jobs(self.world.state)
            check_resources(self.world.state)
            check_accounts(self.world)
            told = {command.job for command in self.world.commands if isinstance(command, FinishJob)}
            assert {job.id for job in self.jobs if job.state.final} <= told
            assert self.world.reactor.take_commands() == []
            self.backups.append(len(self.world.journal))

    def teardown(self) -> None:
        """Whatever the nodes did: given one that works, and time, every job ends, and all of it is given back."""
        if not hasattr(self, "world"):
            return
        for job in self.jobs:
            self.world.reactor.seal_job(self.world.now, job.id)
        self.world.take()
        if self.ending == "replaced":
            # The others are never heard of again.
            self.silent = set(self.world.connected)
            self.join(SPARE, False)
        else:
            for spec in NODES:
                self.join(spec, self.ending == "empty-handed")
        for _ in range(200):
            if all(job.state.final for job in self.jobs):
                break
            self.wait(3.0)
            self.world.schedule()
            for node in self.working:
                self.world.end(node, list(self.world.held[node]))
        check_ended(self.world)


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)
if "FARLANE_MUTANT" in os.environ:
    # A planted bug is to be found, not to be explained.
    quick = {"phases": [Phase.generate], "database": None, "report_multiple_bugs": False}
    TestHub.settings = settings(TestHub.settings, **quick)
