"""Accounts: what every organisation and project has spent this month and holds now, against its caps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from farlane.domain.caps import Alert, Cap, CapState
from farlane.domain.jobs import JobSpec
from farlane.domain.units import credits_text

UNLIMITED = 1 << 62
Key = tuple[str, str]


@dataclass(slots=True)
class Account:
    """One organisation (project empty) or project; amounts in nano-credits, months as `YYYY-MM` of UTC."""

    organisation: str
    project: str
    month: str = ""
    spent: int = 0
    reserved: int = 0
    leases: int = 0
    cap: Cap | None = None
    alerted: int = 0

    def take(self, count: int, reserve: int) -> None:
        """Reserve the bounds of new leases."""
        self.leases += count
        self.reserved += reserve

    def give(self, count: int, reserve: int) -> None:
        """Release what ended leases had reserved."""
        self.leases -= count
        self.reserved -= reserve

    def pay(self, amount: int) -> None:
        """Book what was charged."""
        self.spent += amount

    def left(self) -> int:
        """Return what may still be reserved this month."""
        if self.cap is None or self.cap.monthly_nano is None:
            return UNLIMITED
        return max(0, self.cap.monthly_nano - self.spent - self.reserved)

    def percent(self) -> int:
        """Return how much of the month's cap is spent, rounded down; 0 where there is none."""
        return 100 * self.spent // self.cap.monthly_nano if self.cap and self.cap.monthly_nano else 0

    def room(self) -> int:
        """Return how many more leases the quota allows."""
        if self.cap is None or self.cap.max_leases is None:
            return UNLIMITED
        return max(0, self.cap.max_leases - self.leases)

    def why(self) -> tuple[str, str]:
        """Return why it lets nothing more run, and what would change that."""
        whose = f"project {self.project} of {self.organisation}" if self.project else self.organisation
        option = f" --project {self.project}" if self.project else ""
        if not self.room():
            return (
                f"{whose} may hold {self.leases} leases at once and does",
                f"wait for some to end, or raise its quota: `farlane budget set{option} --leases N`",
            )
        used = credits_text(self.spent + self.reserved)
        assert self.cap is not None
        assert self.cap.monthly_nano is not None
        return (
            f"what is left of the {credits_text(self.cap.monthly_nano)} credits that {whose} may spend in {self.month} "
            f"does not cover another task ({used} are spent or reserved)",
            f"wait for the next month, or raise its budget: `farlane budget set{option} --month CREDITS`",
        )


@dataclass(slots=True)
class Accounts:
    """All accounts of a hub."""

    month: str = ""
    known: dict[Key, Account] = field(default_factory=dict)

    def of(self, spec: JobSpec) -> tuple[Account, ...]:
        """Return the accounts a job is charged to: its organisation's, and its project's if it names one."""
        keys = [(spec.organisation, "")]
        if spec.project:
            keys.append((spec.organisation, spec.project))
        return tuple(self._account(key) for key in keys)

    def set_cap(self, cap: Cap) -> None:
        """Put a cap in force; an empty one lifts it. What is spent by then causes no alert any more."""
        account = self._account((cap.organisation, cap.project))
        account.cap = None if cap.empty else cap
        account.alerted = account.percent()

    def seed(self, month: str, spent: Iterable[tuple[Key, int]]) -> None:
        """Start with what was spent this month, by (organisation, project)."""
        self.month = month
        for account in self.known.values():
            account.month, account.spent = month, 0
        for (organisation, project), amount in spent:
            self._account((organisation, "")).spent += amount
            if project:
                self._account((organisation, project)).spent += amount

    def roll(self, month: str) -> None:
        """Begin a new month: what was spent before counts no more; what is reserved still does.

        A clock that is set back begins none: its month would come, and be spent, twice.
        """
        if month > self.month:
            self.month = month
            for account in self.known.values():
                account.month, account.spent, account.alerted = month, 0, 0

    def take_alerts(self) -> list[Alert]:
        """Return the alerts that have become due since the last call."""
        found = []
        for account in self.known.values():
            cap = account.cap
            if cap is None:
                continue
            percent = account.percent()
            for due in sorted(cap.alerts):
                if account.alerted < due <= percent:
                    account.alerted = due
                    found.append(Alert(cap, self.month, due, account.spent))
        return found

    def states(self, organisation: str) -> list[CapState]:
        """Return the caps of an organisation with what stands against them."""
        return [
            CapState(account.cap, account.month, account.spent, account.reserved, account.leases)
            for (owner, _), account in sorted(self.known.items())
            if owner == organisation and account.cap is not None
        ]

    def _account(self, key: Key) -> Account:
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = Account(*key, self.month)
        return found
