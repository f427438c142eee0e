"""The controller: a pure state machine that keeps the right number of replicas of the right version answering.

No clock, socket, thread or disk: every event carries `now` (unix seconds), effects go out as commands, in order.
"""

from __future__ import annotations

from farlane.domain.deployments import ReplicaState
from farlane.domain.ids import JobId
from farlane.hub.deployments import events
from farlane.hub.deployments.events import Command, Event, Forget, KeepProgress
from farlane.hub.deployments.rollout import reconcile, stop
from farlane.hub.deployments.scaling import observe, settle
from farlane.hub.deployments.state import (
    FIRST_BACKOFF_S,
    LOADING_S,
    LONGEST_BACKOFF_S,
    MAX_CRASHES,
    MAX_TRIES,
    STEADY_S,
    Record,
    Replica,
)

PENDING, LOADING = ReplicaState.PENDING, ReplicaState.LOADING
READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING


class Controller:
    """Decides; see the module. Events about what it does not know change nothing."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._of_job: dict[JobId, Record] = {}

    def handle(self, event: Event) -> list[Command]:
        """Take an event; return what is to be done about it, in order."""
        out: list[Command] = []
        match event:
            case events.DeploymentSet():
                touched = [self._set(event)]
            case events.Ticked():
                touched = list(self.records.values())
            case (
                events.DeploymentRemoved()
                | events.VersionNamed()
                | events.ReplicaSubmitted()
                | events.SubmissionRefused()
                | events.LoadObserved()
            ):
                touched = self._about_deployment(event)
            case _:
                touched = self._about_replica(event, out)
        for record in touched:
            self._settle(record, out, event.now)
        return out

    def replica(self, job: JobId) -> Replica | None:
        """Return one replica."""
        record = self._of_job.get(job)
        return None if record is None else record.replicas.get(job)

    def _settle(self, record: Record, out: list[Command], now: float) -> None:
        for replica in record.replicas.values():
            if replica.state is LOADING and now - replica.since > LOADING_S and not replica.stopping:
                self._count_failure(record, replica, f"it did not answer within {LOADING_S:g} s", out, now)
                stop(replica, out, f"it did not answer within {LOADING_S:g} s")
            elif replica.state is READY and now - replica.since > STEADY_S:
                record.crashes.pop(replica.version, None)
                record.setbacks.pop(replica.version, None)
        settle(record, now)
        reconcile(record, out, now)
        if record.removed and not record.replicas and not any(record.submitting.values()):
            del self.records[record.deployment.id]
            out.append(Forget(record.deployment.id))

    def _set(self, event: events.DeploymentSet) -> Record:
        record = self.records.get(event.deployment.id)
        if record is None:
            record = Record(event.deployment, event.now, event.created or event.now)
            record.serving, record.previous = event.serving, event.previous
            record.refused = dict(event.refused)
            self.records[event.deployment.id] = record
            return record
        record.deployment, record.removed = event.deployment, False
        self._try_anew(record, event.now)
        record.refused.clear()
        return record

    @staticmethod
    def _try_anew(record: Record, now: float) -> None:
        record.failed = record.trouble = ""
        record.crashes.clear()
        record.setbacks.clear()
        record.not_before.clear()
        record.since = now

    def _about_deployment(
        self,
        event: (
            events.DeploymentRemoved
            | events.VersionNamed
            | events.ReplicaSubmitted
            | events.SubmissionRefused
            | events.LoadObserved
        ),
    ) -> list[Record]:
        record = self.records.get(event.id)
        if record is None:
            return []
        match event:
            case events.DeploymentRemoved():
                record.removed = True
            case events.VersionNamed():
                self._name(record, event)
            case events.ReplicaSubmitted():
                _one_less(record.submitting, event.version)
                replica = Replica(event.job, event.id, event.version, PENDING, event.now)
                record.replicas[event.job] = replica
                self._of_job[event.job] = record
            case events.SubmissionRefused():
                _one_less(record.submitting, event.version)
                record.trouble = event.reason
                self._back_off(record, event.version, event.now)
            case events.LoadObserved():
                observe(record, event)
        return [record]

    def _name(self, record: Record, event: events.VersionNamed) -> None:
        before = record.canary if event.canary else record.target
        if before == event.version:
            return
        # Whoever names a version again, or another, wants it tried.
        if before:
            record.refused.pop(event.version, None)
            record.crashes.pop(event.version, None)
            record.setbacks.pop(event.version, None)
            record.not_before.pop(event.version, None)
        if event.canary:
            record.canary = event.version
            return
        record.target = event.version
        if before:
            self._try_anew(record, event.now)

    def _about_replica(self, event: Event, out: list[Command]) -> list[Record]:
        assert not isinstance(event, events.Ticked | events.DeploymentSet)
        job: JobId | None = getattr(event, "job", None)
        record = None if job is None else self._of_job.get(job)
        replica = None if record is None or job is None else record.replicas.get(job)
        if record is None or replica is None:
            return []
        match event:
            case events.ReplicaPlaced():
                _place(replica, event)
            case events.ReplicaReady() if replica.state in (PENDING, LOADING):
                replica.state, replica.since = READY, event.now
                replica.leased_at = replica.leased_at or event.now
                record.trouble = ""
            case events.ReplicaUnready() if replica.state is READY:
                replica.state, replica.since = LOADING, event.now
            case events.ReplicaUnready() | events.ReplicaDrained() if replica.state is DRAINING:
                stop(replica, out, "it was replaced or is no longer needed")
            case events.ReplicaLeaving():
                replica.leaving_since = replica.leaving_since or event.now
                replica.nowhere = event.nowhere
            case events.ReplicaEnded():
                self._end(record, replica, event, out)
        return [record]

    def _end(self, record: Record, replica: Replica, event: events.ReplicaEnded, out: list[Command]) -> None:
        del record.replicas[replica.job], self._of_job[replica.job]
        if replica.stopping or replica.state is DRAINING or record.removed:
            return
        if event.own_fault:
            self._count_failure(record, replica, event.reason, out, event.now)
        else:
            record.trouble = f"a replica ended: {event.reason}"
            self._back_off(record, replica.version, event.now)

    def _count_failure(
        self, record: Record, replica: Replica, reason: str, out: list[Command], now: float
    ) -> None:
        """Count a failure against a version: a new one is halted, the one that serves gives up after a while."""
        version = replica.version
        self._back_off(record, version, now)
        count = record.crashes[version] = record.crashes.get(version, 0) + 1
        record.trouble = f"a replica failed: {reason}"
        proven = version == record.serving
        if count < (MAX_CRASHES if proven else MAX_TRIES):
            return
        if version == record.trial or (version == record.target and record.serving and not proven):
            record.refused[version] = reason
            out.append(KeepProgress(record.deployment.id))
        elif version == record.goal:
            record.failed = (
                f"{count} replicas in a row failed, the last one: {reason}. Nothing more is tried until the alias "
                "moves or the deployment is changed"
            )

    @staticmethod
    def _back_off(record: Record, version: str, now: float) -> None:
        count = record.setbacks[version] = record.setbacks.get(version, 0) + 1
        delay_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(count - 1, 10))
        record.not_before[version] = now + delay_s


def _one_less(counts: dict[str, int], version: str) -> None:
    left = counts.get(version, 0) - 1
    if left > 0:
        counts[version] = left
    else:
        counts.pop(version, None)


def _place(replica: Replica, event: events.ReplicaPlaced) -> None:
    if replica.node == event.node:
        return
    replica.node = event.node
    replica.leaving_since, replica.nowhere = 0.0, False
    if replica.state is DRAINING:
        return
    replica.leased_at = event.now if event.node else 0.0
    replica.state, replica.since = LOADING if event.node else PENDING, event.now
