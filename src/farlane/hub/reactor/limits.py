"""Limits: what quotas and budgets leave to a job, and what jobs of one account share in a view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from farlane.domain.caps import Needs, needs
from farlane.hub.reactor.account import Account
from farlane.hub.reactor.state import HubState, Job
from farlane.scheduler.view import Bools

Uses = tuple[tuple[int, int], ...]
NO_USES: Uses = ()
_MONEY = ""
"""Names an account's money among its quotas."""


def quota_fit(state: HubState, job: Job, allowed: Bools | None) -> tuple[int, Bools | None, list[Needs]]:
    """Return how a job fits into the quotas of its accounts.

    Args:
        state: the hub's.
        job: of a view.
        allowed: (k, n) bool, where its price cap allows which alternative of its demand; None: all everywhere.

    Returns:
        How many more leases fit whichever alternative is taken, of those that fit at all; `allowed` without the
        others; and what one lease takes by each alternative that fits.
    """
    demands = state.table.demands(job.requirement)
    options = [needs(job.spec.resources, state.table.gpu_kind(demand)) for demand in demands]
    rooms = [min(account.room(each) for account in job.accounts) for each in options]
    fitting = [room > 0 for room in rooms]
    if not all(fitting):
        nodes = len(state.table.ids)
        everywhere = np.ones((len(rooms), nodes), np.bool_) if allowed is None else allowed
        allowed = everywhere & np.array(fitting, np.bool_)[:, None]
    room = min((room for room in rooms if room > 0), default=0)
    return room, allowed, [each for each, fits in zip(options, fitting, strict=True) if fits]


class SharedLimits:
    """What is left of the budgets and quotas of all accounts in a view, each once however many jobs draw on it."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self._at: dict[tuple[str, str, str], int] = {}

    def uses(self, accounts: Iterable[Account], options: Sequence[Needs], cost: int) -> Uses:
        """Return what one lease takes at most of each limit it shares with others.

        Args:
            accounts: it is charged to.
            options: what it takes of quotas, by each alternative.
            cost: what it reserves at most, in nano-credits.
        """
        found = []
        for account in accounts:
            if account.budgets and cost:
                found.append((self._limit(account, _MONEY, account.left()), cost))
            for quota in account.quotas:
                most = max((dict(each).get(quota, 0) for each in options), default=0)
                if most:
                    found.append((self._limit(account, quota, account.unused(quota)), most))
        return tuple(found)

    def _limit(self, account: Account, name: str, left: int) -> int:
        key = (account.organisation, account.project, name)
        at = self._at.setdefault(key, len(self.left))
        if at == len(self.left):
            self.left.append(left)
        return at
