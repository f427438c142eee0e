"""Capped: which budget or quota of its accounts keeps a job's tasks from starting, and how far budgets are used."""

from __future__ import annotations

from farlane.domain.caps import Needs, needs
from farlane.domain.jobs import JobSpec
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.account import UNLIMITED
from farlane.hub.reactor.state import HubState, Job
from farlane.hub.reactor.viewing import own_left, willing, within_budget


def why_capped(state: HubState, job: Job) -> tuple[str, str] | None:
    """Return why the accounts of a job let none of its waiting tasks start, and what would change that.

    None where they would let one start, or where nothing of it waits.
    """
    if not job.ready or not any(account.caps for account in job.accounts):
        return None
    options = _options(state, job)
    full = _full(job, options)
    if full is not None:
        return full
    tightest = min(job.accounts, key=lambda account: account.left())
    if tightest.left() >= min(UNLIMITED, own_left(job)):
        return None
    return None if within_budget(state, job)[1] or not willing(state, job).any() else tightest.why_spent()


def never_fits(state: HubState, spec: JobSpec) -> tuple[str, str] | None:
    """Return which quota one task of a job that is only asked about could never pass, and what would change that."""
    gpu = spec.resources.gpu
    each = needs(spec.resources, None if gpu is None else GpuKind(gpu.model or "", 0))
    for account in state.accounts.known_of(spec):
        if any(amount > account.quotas.get(name, amount) for name, amount in each):
            return account.why_full(each)
    return None


def notices(state: HubState, spec: JobSpec) -> list[str]:
    """Return how far the budgets that a job would draw on are used, of those that have come to an alert."""
    return [alert.text() for account in state.accounts.known_of(spec) for alert in account.passed()]


def _options(state: HubState, job: Job) -> list[Needs]:
    demands = state.table.demands(job.requirement)
    return [needs(job.spec.resources, state.table.gpu_kind(demand)) for demand in demands]


def _full(job: Job, options: list[Needs]) -> tuple[str, str] | None:
    """Return which account's quota is full whatever kind of GPU is taken, None when there is room."""
    if any(all(account.room(each) for account in job.accounts) for each in options):
        return None
    # By the first alternative: of several kinds of GPU the quota of one is named.
    return next(
        (
            account.why_full(each)
            for each in options[:1]
            for account in job.accounts
            if not account.room(each)
        ),
        None,
    )
