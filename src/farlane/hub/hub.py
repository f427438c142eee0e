"""The hub's core: store, reactor, engine, payloads, sessions and logs of one network, wired together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from farlane.domain.caps import Cap
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, job_text, task_id
from farlane.domain.jobs import JobSpec, TaskState
from farlane.domain.model_facts import ModelFacts
from farlane.domain.records import Column
from farlane.domain.usage import FIRST_MONTH, LAST_MONTH, month_of
from farlane.errors import FarlaneError, NotFound, PermissionRefused, Unavailable
from farlane.hub.alert_outbox import AlertOutbox
from farlane.hub.books.bookkeeper import Bookkeeper
from farlane.hub.books.books import Accounts, HubBooks, NoAccounts
from farlane.hub.books.inputs import InputDigests
from farlane.hub.books.payers import PayerState, custody_text, lack_notice
from farlane.hub.books.served import ServedCounts, last_stated_in
from farlane.hub.cap_file import CapFile
from farlane.hub.deciding.desk import Desk
from farlane.hub.engine import Engine
from farlane.hub.intake import check
from farlane.hub.log_store import LogStore
from farlane.hub.payloads import PayloadCache
from farlane.hub.presence import EVERYBODY, FILE, PresenceLog
from farlane.hub.reactor.commands import GrantLeases
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.reactor.state import Job
from farlane.hub.reactor.submission import check_same
from farlane.hub.sessions import Sessions
from farlane.hub.settings import HubSettings
from farlane.hub.store.port import JobSummary, Store
from farlane.kit.clock import Clock
from farlane.models.store import ContentStore
from farlane.scheduler.policy import Policy

ALERTS = "alerts.json"
"""Beside the store: which alerts were told, and which wait."""

log = logging.getLogger(__name__)


class Hub:
    """One network's hub on a running event loop. Construct it, serve it, and rebuild it after a store failure.

    Args:
        settings: how it waits and schedules.
        store: its durable truth; the state is rebuilt from it here.
        blobs: payloads, functions and results kept out of band.
        policy: where ready tasks go, or the desk that finds out; a desk outlives a hub that is rebuilt.
        clock: wall time of events.
        on_failure: called once when the store cannot write any more.
        accounts: who pays, for the books.
        alerts: which alerts were told; it outlives a hub that is rebuilt.
    """

    def __init__(
        self,
        settings: HubSettings,
        store: Store,
        blobs: ContentStore,
        policy: Policy | Desk,
        clock: Clock,
        on_failure: Callable[[Exception], None],
        accounts: Accounts | None = None,
        alerts: AlertOutbox | None = None,
    ) -> None:
        self.settings, self.store, self.blobs = settings, store, blobs
        self.reactor = Reactor(store.epoch, settings.lease_s, settings.interim_s, preempt=settings.preempt)
        self.payloads = PayloadCache(store, settings.payload_cache_bytes)
        self.logs = LogStore(settings.directory / "logs", settings.log_bytes_per_job)
        inputs = InputDigests(self.payloads.pick)
        self.sessions = Sessions(
            self.reactor.state, self.payloads, self._job_finished, self._payloads_lost, inputs
        )
        served = ServedCounts(last_stated_in(store))
        self.books = HubBooks(store.network, store.books(), accounts or NoAccounts(), inputs, served)
        self.payers: Mapping[str, PayerState] = {}
        """How organisations stand, as settlement last saw them."""
        self.chain_trouble = ""
        """Why what stands behind vouchers that wait cannot be looked at."""
        self.bookkeeper = Bookkeeper(self.books, self.reactor.state, self.sessions)
        self.engine = Engine(
            self.reactor, store, policy, clock, self.sessions.perform, on_failure, self.bookkeeper.keep
        )
        self.books.on_seen = lambda: self.bookkeeper.answer_waiting(self.engine)
        self.reactor.replay(store.replay(), store.last_job(), clock.now())
        self.model_facts: Callable[[str], ModelFacts | None] = lambda version: None
        """Tells of versions of models; see `know_models`."""
        self.outbox = alerts or AlertOutbox(settings.directory / ALERTS)
        self.presence = PresenceLog(settings.directory / FILE)
        self.presence.note(clock.now(), EVERYBODY, online=False)
        self._seed_accounts(clock.now())
        self.sessions.visible.update({job.id: job.seq for job in self.reactor.state.jobs.values()})
        self.engine.run(lambda reactor, now: reactor.tick(now))

    def _seed_accounts(self, now: float) -> None:
        """Begin with what was spent in this month and in all, and with the caps in force."""
        self.alerts = 0
        month, accounts = month_of(now), self.reactor.state.accounts
        rows = self.store.usage(FIRST_MONTH, LAST_MONTH)
        accounts.seed(month, [(row.month, (row.organisation, row.project), row.spent) for row in rows])
        self.caps = CapFile(self.settings.directory / "caps.json")
        for cap in self.caps.caps:
            self.outbox.note(cap, month, accounts.set_cap(cap, self.outbox.told(cap, month)))

    def set_cap(self, cap: Cap) -> None:
        """Put a cap in force, durably; an empty one lifts it.

        Raises:
            DiskFull: it cannot be kept; nothing changes.
        """
        self.caps.put(cap)
        accounts = self.reactor.state.accounts
        self.outbox.note(cap, accounts.month, accounts.set_cap(cap))

    def custody(self, organisation: str) -> str:
        """Return which key of an organisation's this hub holds, and what its loss can cost; empty while none."""
        if self.books.signing is None:
            return ""
        if self.books.holds_payer(organisation):
            return custody_text(None, self.books.held_nano(organisation))
        return custody_text(self.payers.get(organisation, PayerState()))

    def notices(self, organisation: str) -> tuple[str, ...]:
        """Return what an organisation must do, or wait for, so that its channels pay."""
        found, missing = (
            self.payers.get(organisation, PayerState()).notices,
            self.books.lacking_nano(organisation),
        )
        if missing and self.books.signing is not None:
            account, embedded = self.books.account(organisation), self.books.signing.embedded
            found = (*found, lack_notice(organisation, account, missing, embedded=embedded))
        waiting = [self.books.all[one].opened.organisation for one in self.books.waiting].count(organisation)
        if self.chain_trouble and waiting:
            found = (*found, f"vouchers of {waiting} books wait for the chain: {self.chain_trouble}")
        return found

    def node_name(self, node: NodeId) -> str:
        """Return what people call a node: its name, or its id where it has not come since the hub began."""
        known = self.reactor.state.nodes.get(node)
        return node if known is None else known.spec.name

    def tell_alerts(self) -> None:
        """Log the budgets that have been used to one of their alert percents, and have it delivered."""
        for alert in self.reactor.state.accounts.take_alerts():
            self.alerts += 1
            log.warning("%s", alert.text())
            self.outbox.add(alert, self.store.network, self.engine.now())

    def close(self) -> None:
        """End every stream; peers connect again, to this hub or the one that takes over."""
        self.sessions.close_all()
        self.logs.interrupt(Unavailable("the hub starts over; ask again in a moment"))

    def know_models(self, facts: Callable[[str], ModelFacts | None]) -> None:
        """Hear who knows versions of models: asked for each that a job serves, those open already first."""
        self.model_facts = facts
        for job in list(self.reactor.state.jobs.values()):
            self._look_up_model(job.spec)

    def _look_up_model(self, spec: JobSpec) -> None:
        serve = spec.serve
        facts = None if serve is None else self.model_facts(serve.version)
        if serve is not None and facts is not None:
            self.engine.run(lambda reactor, _: reactor.know_model(serve.version, facts))

    def open_job(self, key: str, spec: JobSpec, tasks: int = 0) -> tuple[JobId, int, bool]:
        """Admit a job or find the one its key has opened: (job, tasks so far, existed).

        Args:
            key: idempotency key.
            spec: what to run.
            tasks: how many are to follow, 0 where that is not known.

        Raises:
            InvalidJob: it can never run.
            IdempotencyMismatch: the key belongs to another submission.
            QuotaReached: so many more tasks may not be open.
        """
        check(spec, self.engine.now())
        if (spec.publisher, key) not in self.reactor.state.keys:
            ended = self.store.job_by_key(spec.publisher, key)
            if ended is not None and ended not in self.reactor.state.jobs:
                return self._existing(ended, spec)
        self._look_up_model(spec)
        job, existed = self.engine.run(lambda reactor, now: reactor.open_job(now, key, spec, tasks))
        self.sessions.visible.setdefault(job.id, job.seq)
        return job.id, job.total, existed

    def add_tasks(self, job: JobId, first: int, payloads: Column, publisher: str, *, seal: bool) -> int:
        """Append tasks to a publisher's job, and seal it if asked; returns its total."""
        if self._is_ended(job, publisher):
            return self._ended_summary(job).total
        found = self.open_job_of(job, publisher)
        before = found.total
        self.engine.run(lambda reactor, now: reactor.add_tasks(now, job, first, payloads))
        if found.total > before:
            rows = len(payloads.inline)
            fresh = payloads.cut(rows - (found.total - before), rows)
            self.payloads.put(job, before, fresh, keep=found.relaxed)
        if seal:
            self.engine.run(lambda reactor, now: reactor.seal_job(now, job))
        return found.total

    def seal_job(self, job: JobId, publisher: str) -> int:
        """Seal a publisher's job; returns its total."""
        if self._is_ended(job, publisher):
            return self._ended_summary(job).total
        return self.engine.run(
            lambda reactor, now: reactor.seal_job(now, self.open_job_of(job, publisher).id)
        ).total

    def stop_job(self, job: JobId, publisher: str, reason: str) -> None:
        """Stop a publisher's job; an ended one stays as it is."""
        if not self._is_ended(job, publisher):
            self.open_job_of(job, publisher)
            self.engine.run(lambda reactor, now: reactor.stop_job(now, job, reason))

    def retry_job(self, job: JobId, publisher: str) -> int:
        """Run the failed tasks of an ended job again; returns how many."""
        found = self.reactor.state.jobs.get(job)
        if found is None:
            self._ended_summary(job, publisher)
            found = self.reactor.restore_job(self.store.replay_job(job))
        if found is None:
            raise self._unknown(job)
        self._owned(found.spec, job, publisher)
        restored = found
        count = self.engine.run(lambda reactor, now: reactor.retry_job(now, restored))
        self.sessions.visible[job] = restored.seq
        return count

    def open_job_of(self, job: JobId, publisher: str) -> Job:
        """Return a publisher's open job.

        Raises:
            NotFound: no such open job.
            PermissionRefused: it is somebody else's.
        """
        found = self.reactor.state.jobs.get(job)
        if found is None:
            raise self._unknown(job)
        self._owned(found.spec, job, publisher)
        return found

    def find_job(self, job: JobId, publisher: str) -> Job | JobSummary:
        """Return a publisher's job, open or ended.

        Raises:
            NotFound: no such job.
            PermissionRefused: it is somebody else's.
        """
        if job in self.reactor.state.jobs:
            return self.open_job_of(job, publisher)
        return self._ended_summary(job, publisher)

    def _existing(self, job: JobId, spec: JobSpec) -> tuple[JobId, int, bool]:
        summary = self._ended_summary(job)
        check_same(job, summary.spec, spec)
        return job, summary.total, True

    def _is_ended(self, job: JobId, publisher: str) -> bool:
        if job in self.reactor.state.jobs:
            return False
        self._ended_summary(job, publisher)
        return True

    def _ended_summary(self, job: JobId, publisher: str | None = None) -> JobSummary:
        summary = self.store.ended_job(job)
        if summary is None:
            raise self._unknown(job)
        if publisher is not None:
            self._owned(summary.spec, job, publisher)
        return summary

    @staticmethod
    def _owned(spec: JobSpec, job: JobId, publisher: str) -> None:
        if spec.publisher != publisher:
            raise PermissionRefused(f"{job_text(job)} belongs to another publisher", job=job)

    @staticmethod
    def _unknown(job: JobId) -> NotFound:
        return NotFound(f"no job {job_text(job)} here; `farlane ps --all` lists every job", job=job)

    def _payloads_lost(self, grant: GrantLeases, error: FarlaneError) -> None:
        """Fail leases that never left because the store cannot read their payloads."""
        log.error("payloads of %s cannot be read: %s", job_text(grant.job), error)
        count = len(grant.indices)
        failure = Failure(FailureKind.BLOB, f"the hub cannot read the task's payload: {error.message}")
        batch = EndedBatch(
            0, self.store.epoch, [task_id(grant.job, index) for index in grant.indices], grant.attempts,
            bytes([TaskState.FAILED]) * count, Column([b""] * count), dict.fromkeys(range(count), failure), {},
            [1] * count, [0] * count, [0] * count,
        )  # fmt: skip
        self.engine.run(lambda reactor, now: reactor.end_attempts(now, grant.node, batch))

    def _job_finished(self, job: JobId) -> None:
        """Tell watchers and forget; the store has it all by now."""
        for watch in list(self.sessions.watches.get(job, ())):
            watch.finish(lambda: None)
        self.logs.end(job)
        self.books.forget_job(job)
        self.reactor.forget_job(job)
        if job not in self.reactor.state.jobs:  # else somebody has retried it meanwhile
            self.sessions.visible.pop(job, None)
