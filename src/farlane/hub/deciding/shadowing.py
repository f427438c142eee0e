"""Shadowing: what rules in shadow would have done, counted beside what was done, and kept in the decision log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from farlane.hub.deciding.client import DecidingClient
from farlane.hub.deciding.guard import Verdict, agreement
from farlane.hub.deciding.tally import Tally
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.view import Decision, Placement, View

MOST_WAITING = 8
"""Rounds whose shadows have not been heard of; older ones are closed without."""


@dataclass(slots=True)
class Round:
    """One decision that was applied.

    view: the one it was applied to; decision: what was done; answer: what the policy said, if it was asked; asked: the
    view it was asked about, a little older, None where that is `view`; shadows: what rules would have done on what was
    asked, by name.
    """

    view: View
    decision: Decision
    verdict: Verdict
    answer: Assessment | None = None
    asked: View | None = None
    shadows: dict[str, tuple[Placement, ...]] = field(default_factory=dict)


class Shadowing:
    """Joins each decision with what the shadow rules say of it.

    Args:
        tally: counts how alike they are.
        keep: gets every round once it is whole.
    """

    def __init__(self, tally: Tally, keep: Callable[[Round], None]) -> None:
        self._tally, self._keep = tally, keep
        self._waiting: dict[int, Round] = {}
        self._early: dict[int, dict[str, tuple[Placement, ...]]] = {}

    def decided(self, client: DecidingClient | None, round_: Round, number: int | None) -> None:
        """Hear of a decision. number: of the view as the worker was asked about it, None if it was not."""
        if client is None or not client.plan.shadows or not round_.view.groups:
            self._keep(round_)
            return
        if number is None:
            if not client.quiet:
                self._keep(round_)
                return
            number = client.send(round_.view, None)
        self._waiting[number] = round_
        if number in self._early:
            self.hear(number, self._early.pop(number))
        while len(self._waiting) > MOST_WAITING:
            self._keep(self._waiting.pop(next(iter(self._waiting))))

    def hear(self, number: int, shadows: dict[str, tuple[Placement, ...]]) -> None:
        """Hear what the shadow rules would have done on a view."""
        found = self._waiting.pop(number, None)
        if found is None:
            self._early = {number: shadows}  # the hub has not taken the answer yet
            return
        found.shadows = shadows
        done = _by_job(found.view, found.decision.placements)
        for name, placements in shadows.items():
            self._tally.shadowed(name, agreement(done, _by_job(found.asked or found.view, placements)))
        self._keep(found)

    def close(self) -> None:
        """Keep what no shadow rule will be heard of any more."""
        for each in self._waiting.values():
            self._keep(each)
        self._waiting.clear()


def _by_job(view: View, placements: tuple[Placement, ...]) -> list[Placement]:
    """Return placements with the number of their job in place of the group's key."""
    jobs = {group.key: group.job for group in view.groups}
    return [each._replace(group=jobs[each.group]) for each in placements if each.group in jobs]
