"""The reactor: every event the hub can meet, as a method that changes the state and returns commands.

No clock, socket, thread or disk: time comes in with each event, effects go out as commands, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId
from farlane.domain.jobs import JobSpec, TaskState
from farlane.domain.model_facts import ModelFacts
from farlane.domain.nodes import NodeSpec
from farlane.domain.records import Column, WorkRecord
from farlane.domain.usage import month_of
from farlane.hub.reactor import (
    completion,
    interim,
    leasing,
    locality,
    membership,
    preempting,
    replaying,
    submission,
    viewing,
)
from farlane.hub.reactor.commands import Command
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.interim import RunningBatch
from farlane.hub.reactor.state import HubState, Job, Node
from farlane.scheduler.policy import Policy, validate
from farlane.scheduler.view import Decision, View


class Reactor:
    """The hub's state machine; see the module for its rules.

    Args:
        epoch: the store epoch; results of leases from another epoch are stale.
        lease_s: how long a node may be silent before its leases are given to others.
        interim_s: lease seconds of a part that is booked while its attempt runs, 0 for none.
        preempt: whether leases of low priority make room for tasks of high priority that wait; see `preempting`.
    """

    def __init__(self, epoch: int, lease_s: float, interim_s: float = 0.0, *, preempt: bool = False) -> None:
        self.state = HubState(epoch, lease_s, interim_s)
        self._preempts = preempt
        self._out: list[Command] = []

    def take_commands(self) -> list[Command]:
        """Return the commands since the last call, oldest first."""
        out, self._out = self._out, []
        return out

    def replay(self, records: Iterable[WorkRecord], last_job: JobId, now: float) -> None:
        """Rebuild the state after a restart."""
        self.state.next_job = last_job + 1
        replaying.replay(self.state, records, now)
        for job in list(self.state.jobs.values()):
            submission.finish_if_ended(self._out, now, job)

    def open_job(self, now: float, key: str, spec: JobSpec, tasks: int = 0) -> tuple[Job, bool]:
        """Admit a job or find the one its key has opened; see `submission.open_job`."""
        return submission.open_job(self.state, self._out, now, key, spec, tasks)

    def add_tasks(self, now: float, job: JobId, first: int, payloads: Column) -> Job:
        """Append tasks to an open job; see `submission.add_tasks`."""
        return submission.add_tasks(self.state, self._out, now, job, first, payloads)

    def seal_job(self, now: float, job: JobId) -> Job:
        """Declare a job complete; see `submission.seal_job`."""
        return submission.seal_job(self.state, self._out, now, job)

    def stop_job(self, now: float, job: JobId, reason: str) -> Job:
        """Stop a job; see `submission.stop_job`."""
        return submission.stop_job(self.state, self._out, now, job, reason)

    def restore_job(self, records: Iterable[WorkRecord]) -> Job | None:
        """Return an ended job rebuilt from its records, None when there are none."""
        return replaying.restore_job(self.state, records)

    def retry_job(self, now: float, job: Job) -> int:
        """Queue an ended job's failed tasks again; see `submission.retry_job`."""
        return submission.retry_job(self.state, self._out, now, job)

    def forget_job(self, job: JobId) -> None:
        """Drop an ended job from memory; the store keeps it."""
        found = self.state.jobs.get(job)
        if found is not None and found.state.final:
            del self.state.jobs[job]
            self.state.keys.pop((found.spec.publisher, found.key), None)

    def join_node(
        self, now: float, spec: NodeSpec, secret_sha256: bytes, epoch: int, held: Mapping[TaskId, int]
    ) -> Node:
        """Admit a node's stream; see `membership.join`.

        Whom it gives no credit, and which versions of models it has, it says anew.
        """
        for organisation in list(self.state.credit_stops):
            self.set_credit(spec.node, organisation, None)
        node = membership.join(self.state, self._out, now, spec, secret_sha256, epoch, held)
        node.held_versions = ()
        return node

    def hear_node(self, now: float, node: NodeId, rtt_s: float | None = None) -> None:
        """Renew a node's leases at its heartbeat."""
        found = self.state.nodes[node]
        membership.heard(self.state, now, found)
        if rtt_s is not None:
            found.rtt_s = rtt_s

    def set_held_versions(self, node: NodeId, versions: tuple[str, ...]) -> None:
        """Hear which versions of models a node has whole."""
        self.state.nodes[node].held_versions = versions

    def know_model(self, version: str, facts: ModelFacts) -> None:
        """Hear how large a version that jobs serve is; see `locality`."""
        locality.know_model(self.state, version, facts)

    def set_credit(self, node: NodeId, organisation: str, stopped: str | None) -> None:
        """Hear that a node takes no more work of an organisation and why, or (None) that it does again."""
        stops = self.state.credit_stops.setdefault(organisation, {})
        stops.pop(node, None)
        if stopped is not None:
            stops[node] = stopped
        if not stops:
            del self.state.credit_stops[organisation]

    def leave_node(self, now: float, node: NodeId, session: int, farewell: str = "") -> None:
        """End a node's stream; see `membership.leave`."""
        membership.leave(self.state, self._out, now, self.state.nodes[node], session, farewell)

    def drain_node(self, named: str, hand_back: bool) -> Node:
        """Ask a node to leave; see `membership.drain`."""
        return membership.drain(self.state, self._out, NodeId(named), hand_back)

    def mark_draining(self, node: NodeId) -> None:
        """Give a node no new work: it said that it drains."""
        self.state.nodes[node].draining = True

    def end_attempts(self, now: float, node: NodeId, batch: EndedBatch) -> None:
        """Take a node's ended attempts; see `completion.accept_batch`."""
        completion.accept_batch(self.state, self._out, now, node, batch)

    def meter_attempts(self, now: float, node: NodeId, running: RunningBatch) -> None:
        """Book parts of attempts that run long; see `interim.meter`."""
        interim.meter(self.state, self._out, now, node, running)

    def tick(self, now: float) -> None:
        """Do what only time brings: leases that run out, deadlines, budgets that cannot go on, room for who waits."""
        self.state.accounts.roll(month_of(now))
        leasing.expire(self.state, self._out, now)
        for job in list(self.state.jobs.values()):
            if job.ended == job.total:
                continue
            if job.spec.deadline_at is not None and job.spec.deadline_at <= now:
                self._end(
                    now, job, FailureKind.DEADLINE, "the job's deadline passed before this task had ended"
                )
            elif job.spec.budget is not None and job.ready and not job.running:
                self._check_budget(now, job)
        if self._preempts:
            preempting.preempt(self.state, self._out, now)

    def schedule(self, now: float, policy: Policy) -> int:
        """Let a policy decide on the state of this moment and grant the leases; returns how many."""
        if not self.state.waiting:
            return 0
        view, sources = viewing.build_view(self.state, now)
        decision = validate(view, policy.decide(view))
        return leasing.apply_decision(self.state, self._out, now, sources, decision)

    def view(self, now: float) -> tuple[View, dict[int, viewing.GroupSource]]:
        """Return the view a policy would see now, for explanations."""
        return viewing.build_view(self.state, now)

    def apply(self, now: float, sources: dict[int, viewing.GroupSource], decision: Decision) -> int:
        """Grant the leases of a decision made elsewhere on a view of this very state."""
        return leasing.apply_decision(self.state, self._out, now, sources, decision)

    def _check_budget(self, now: float, job: Job) -> None:
        eligible = viewing.willing(self.state, job)
        # Only its own budget ends a job: those of its accounts are raised, or begin anew with the month.
        if (
            eligible.any()
            and viewing.covered_leases(self.state, job, eligible, viewing.own_left(job))[1] == 0
        ):
            self._end(now, job, FailureKind.BUDGET, "the job's budget does not cover another task")

    def _end(self, now: float, job: Job, kind: FailureKind, why: str) -> None:
        submission.end_early(self.state, self._out, now, job, Failure(kind, why), TaskState.FAILED)
        job.reason = why
        submission.finish_if_ended(self._out, now, job)
