"""An account: what one organisation or project has spent and holds now, against the caps on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from farlane.domain.caps import OPEN_TASKS, Alert, Budget, Cap, CapState, Needs, amount_text, option_of
from farlane.domain.units import credits_text

T = TypeVar("T")
UNLIMITED = 1 << 62


@dataclass(slots=True)
class Account:
    """One organisation (project empty) or project; amounts in nano-credits, months as `YYYY-MM` of UTC.

    spent: in this month; total: in all; reserved: by leases in force; used: what is held now of all that quotas can
    be on; caps: its organisation's own, and (True) the hub's owner's; told: the percent at which each budget of each
    cap was told last; budgets, quotas: the tightest of all caps.
    """

    organisation: str
    project: str
    month: str = ""
    spent: int = 0
    total: int = 0
    reserved: int = 0
    used: dict[str, int] = field(default_factory=dict)
    caps: dict[bool, Cap] = field(default_factory=dict)
    told: dict[tuple[bool, Budget], int] = field(default_factory=dict)
    budgets: dict[Budget, int] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Whose it is."""
        return self.organisation, self.project

    def take(self, reserve: int) -> None:
        """Reserve the bounds of new leases."""
        self.reserved += reserve

    def give(self, reserve: int) -> None:
        """Release what ended leases had reserved."""
        self.reserved -= reserve

    def occupy(self, each: Needs, count: int) -> None:
        """Count what `count` new leases hold; below 0, what so many ended ones held."""
        used = self.used
        for name, amount in each:
            used[name] = used.get(name, 0) + amount * count

    def open(self, tasks: int) -> None:
        """Count tasks that were added; below 0, tasks that have ended."""
        self.used[OPEN_TASKS] = self.used.get(OPEN_TASKS, 0) + tasks

    def pay(self, amount: int) -> None:
        """Book what was charged."""
        self.spent += amount
        self.total += amount

    def left(self) -> int:
        """Return what may still be reserved, by the tightest budget."""
        least = UNLIMITED
        for budget, most in self.budgets.items():
            least = min(least, max(0, most - self._spent(budget) - self.reserved))
        return least

    def room(self, each: Needs) -> int:
        """Return how many more leases the quotas allow, of which each takes these amounts."""
        least = UNLIMITED
        if self.quotas:
            for name, amount in each:
                if name in self.quotas:
                    least = min(least, self.unused(name) // amount)
        return least

    def unused(self, quota: str) -> int:
        """Return how much of a quota is left; without a quota nothing bounds it."""
        most = self.quotas.get(quota)
        return UNLIMITED if most is None else max(0, most - self.used.get(quota, 0))

    def put(self, cap: Cap) -> None:
        """Put a cap in force, an empty one lifts it. What is spent by then causes no alert any more."""
        self.caps.pop(cap.ceiling, None)
        if not cap.empty:
            self.caps[cap.ceiling] = cap
        self.told = {key: percent for key, percent in self.told.items() if key[0] != cap.ceiling}
        self.told |= {
            (cap.ceiling, budget): self._percent(budget, most)
            for one, budget, most in self._limits()
            if one is cap
        }
        self.budgets, self.quotas = {}, {}
        for one in self.caps.values():
            for budget in Budget:
                _tighten(self.budgets, budget, one.budget(budget))
            for name, most in one.quotas.items():
                _tighten(self.quotas, name, most)

    def begin(self, month: str) -> None:
        """Begin a month: nothing is spent in it, and nothing of it was told."""
        self.month, self.spent = month, 0
        self.told = {key: percent for key, percent in self.told.items() if key[1] is not Budget.MONTH}

    def due(self) -> list[Alert]:
        """Return the alerts that have become due since the last call."""
        found = []
        for cap, budget, most in self._limits():
            percent, key = self._percent(budget, most), (cap.ceiling, budget)
            for due in sorted(cap.alerts):
                if self.told.get(key, 0) < due <= percent:
                    self.told[key] = due
                    month = self.month if budget is Budget.MONTH else ""
                    found.append(Alert(cap, budget, month, due, self._spent(budget)))
        return found

    def passed(self) -> list[Alert]:
        """Return the highest alert that each budget stands at now, told or not."""
        found = []
        for cap, budget, most in self._limits():
            percent = self._percent(budget, most)
            if cap.alerts and percent >= min(cap.alerts):
                month = self.month if budget is Budget.MONTH else ""
                found.append(Alert(cap, budget, month, percent, self._spent(budget)))
        return found

    def states(self) -> list[CapState]:
        """Return its caps with what stands against them, its organisation's own first."""
        used = {name: amount for name, amount in self.used.items() if amount}
        return [
            CapState(cap, self.month, self.spent, self.total, self.reserved, used)
            for _, cap in sorted(self.caps.items())
        ]

    def why_full(self, each: Needs) -> tuple[str, str]:
        """Return which quota leaves no room for a lease that takes these amounts, and what would change that."""
        short = [(name, amount) for name, amount in each if self.unused(name) < amount]
        name, amount = next((one for one in short if one[1] > self.quotas[one[0]]), short[0])
        most, used = self.quotas[name], self.used.get(name, 0)
        whose, by, raising, needed = (
            self.whose(),
            self.set_by(name),
            self.raising(name),
            amount_text(name, amount),
        )
        if amount > most:
            return (
                f"one task takes {needed}, and {whose} may hold {amount_text(name, most)} at once{by}: it never starts",
                f"submit it again asking for less, or {raising}",
            )
        return (
            f"{whose} may hold {amount_text(name, most)} at once{by}: {amount_text(name, used)} are in use and one "
            f"task takes {needed}",
            f"wait for some to end, or {raising}",
        )

    def why_spent(self) -> tuple[str, str]:
        """Return which budget does not cover another task, and what would change that."""
        budget = min(self.budgets, key=lambda one: self.budgets[one] - self._spent(one))
        most, used = self.budgets[budget], credits_text(self._spent(budget) + self.reserved)
        cap = next(cap for cap in self.caps.values() if cap.budget(budget) == most)
        over = f"in {self.month}" if budget is Budget.MONTH else "in all"
        wait = "wait for the next month, or " if budget is Budget.MONTH else ""
        return (
            f"what is left of the {credits_text(most)} credits that {self.whose()} may spend {over}{self._setter(cap)} "
            f"does not cover another task ({used} are spent or reserved)",
            f"{wait}raise its budget: {self._command(cap, f'--{budget} CREDITS')}",
        )

    def whose(self) -> str:
        """Return whose it is, for people."""
        return Cap(self.organisation, self.project).whose

    def set_by(self, quota: str) -> str:
        """Return who has set the tightest cap on something where that is not its organisation, for people."""
        return self._setter(self._tightest(quota))

    def raising(self, quota: str) -> str:
        """Return how a quota is raised, for people."""
        return f"raise its quota: {self._command(self._tightest(quota), option_of(quota))}"

    def _limits(self) -> Iterator[tuple[Cap, Budget, int]]:
        for cap in self.caps.values():
            for budget in Budget:
                most = cap.budget(budget)
                if most:
                    yield cap, budget, most

    def _spent(self, budget: Budget) -> int:
        return self.spent if budget is Budget.MONTH else self.total

    def _percent(self, budget: Budget, most: int) -> int:
        """Return how much of a budget is spent, rounded down."""
        return 100 * self._spent(budget) // most

    def _tightest(self, name: str) -> Cap:
        return next(cap for cap in self.caps.values() if cap.quotas.get(name) == self.quotas[name])

    @staticmethod
    def _setter(cap: Cap) -> str:
        return " by the hub's owner" if cap.ceiling else ""

    @staticmethod
    def _command(cap: Cap, option: str) -> str:
        whose = f" --organisation {cap.organisation}" * cap.ceiling + f" --project {cap.project}" * bool(
            cap.project
        )
        return f"`farlane budget set{whose} {option}`" + " by the hub's owner" * cap.ceiling


def _tighten(limits: dict[T, int], name: T, most: int | None) -> None:
    if most is not None:
        limits[name] = min(most, limits.get(name, most))
