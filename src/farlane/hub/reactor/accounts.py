"""Accounts: every organisation's and project's, found by job; months begin and alerts become due in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from farlane.domain.caps import OPEN_TASKS, Alert, Budget, Cap, CapState
from farlane.domain.jobs import JobSpec
from farlane.errors import QuotaReached
from farlane.hub.reactor.account import Account

Key = tuple[str, str]


@dataclass(slots=True)
class Accounts:
    """All accounts of a hub."""

    month: str = ""
    known: dict[Key, Account] = field(default_factory=dict)

    def of(self, spec: JobSpec) -> tuple[Account, ...]:
        """Return the accounts a job is charged to: its organisation's, and its project's if it names one."""
        return tuple(self._account(key) for key in _keys(spec))

    def known_of(self, spec: JobSpec) -> tuple[Account, ...]:
        """Return those of a job's accounts that there are already; for one that may never be submitted."""
        return tuple(self.known[key] for key in _keys(spec) if key in self.known)

    def set_cap(self, cap: Cap, told: dict[Budget, int] | None = None) -> dict[Budget, int]:
        """Put a cap in force, an empty one lifts it; returns at which percent each budget counts as told from now on.

        Args:
            cap: whose, and how much.
            told: at which percent each budget was told last; what is spent by now where it does not say.
        """
        account = self._account((cap.organisation, cap.project))
        account.put(cap)
        account.told |= {(cap.ceiling, budget): percent for budget, percent in (told or {}).items()}
        return {
            budget: percent for (ceiling, budget), percent in account.told.items() if ceiling == cap.ceiling
        }

    def seed(self, month: str, spent: Iterable[tuple[str, Key, int]]) -> None:
        """Start with what was spent by now: its month and (organisation, project)."""
        self.month = month
        for account in self.known.values():
            account.month, account.spent, account.total = month, 0, 0
        for when, (organisation, project), amount in spent:
            for key in {(organisation, ""), (organisation, project)}:
                account = self._account(key)
                account.total += amount
                if when == month:
                    account.spent += amount

    def roll(self, month: str) -> None:
        """Begin a new month: what was spent before counts no more; what is reserved still does.

        A clock that is set back begins none: its month would come, and be spent, twice.
        """
        if month > self.month:
            self.month = month
            for account in self.known.values():
                account.begin(month)

    def take_alerts(self) -> list[Alert]:
        """Return the alerts that have become due since the last call."""
        return [alert for account in self.known.values() if account.caps for alert in account.due()]

    def states(self, organisation: str | None) -> list[CapState]:
        """Return the caps of an organisation, or (None) of all, with what stands against them."""
        return [
            state
            for (owner, _), account in sorted(self.known.items())
            if organisation in (None, owner)
            for state in account.states()
        ]

    def _account(self, key: Key) -> Account:
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Account(*key, self.month)
        return found


def check_open_tasks(accounts: Iterable[Account], more: int, where: str = "") -> None:
    """Make sure that so many more tasks may be open.

    Args:
        accounts: that they are charged to.
        more: how many.
        where: what has become of the rest, for the message.

    Raises:
        QuotaReached: fewer may; nothing was changed.
    """
    for account in accounts:
        room = account.unused(OPEN_TASKS)
        if more > room:
            most, used = account.quotas[OPEN_TASKS], account.used.get(OPEN_TASKS, 0)
            raise QuotaReached(
                f"{account.whose()} may have {most} tasks open at once{account.set_by(OPEN_TASKS)} and has {used}: "
                f"{more} more were asked for, {room} are allowed now{where}. Wait for some to end, submit fewer, or "
                f"{account.raising(OPEN_TASKS)}",
                quota=most, open=used, asked=more, room=room,
            )  # fmt: skip


def _keys(spec: JobSpec) -> list[Key]:
    keys = [(spec.organisation, "")]
    if spec.project:
        keys.append((spec.organisation, spec.project))
    return keys
