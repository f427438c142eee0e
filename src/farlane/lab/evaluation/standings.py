"""Standings: one policy beside every rival of a setting, paired, with intervals, wins, losses and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.evaluation.rivals import Kind
from farlane.lab.evaluation.running import Results
from farlane.lab.evaluation.settings import Setting
from farlane.lab.evaluation.statistics import (
    Interval,
    Measure,
    Signs,
    Verdict,
    paired_interval,
    sign_counts,
    verdict,
)

MEASURES = {Kind.QUEUE: Measure.RATIO_OF_MEANS, Kind.PACKING: Measure.DIFFERENCE}
"""What is said of pairs in a setting: ours over the rival's slowdown; ours minus the rival's percent left over."""


@dataclass(frozen=True, slots=True)
class Line:
    """One rival: its mean cost; gap: ours against it, see `MEASURES`; typical: the typical ratio, queues only."""

    rival: str
    mean: float
    gap: Interval
    typical: Interval | None
    signs: Signs
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """One policy in one setting.

    setting: its title; kind; counts: the number that counts; cases; ours: the policy; mean: of its costs; lines: of
    all rivals, the best first; chosen: the rule that was best where rules may be chosen, "" where there is no such
    place; worst: the largest ratio to the best rival in one case.
    """

    setting: str
    kind: Kind
    counts: str
    cases: int
    ours: str
    mean: float
    lines: tuple[Line, ...]
    chosen: str
    worst: float

    @property
    def best(self) -> Line:
        """Return the rival that is best on the very cases that are judged: the hardest one, known in hindsight only."""
        return self.lines[0]

    def line(self, rival: str) -> Line | None:
        """Return the line of a rival, None where it did not compete."""
        return next((line for line in self.lines if line.rival == rival), None)


def standing(
    results: Results, setting: Setting, ours: str, rivals: Sequence[str], chosen: str = ""
) -> Standing:
    """Compare a policy with rivals in a setting.

    Raises:
        NotFound: one of them did not run there.
        InvalidInput: there are no rivals, or fewer than two cases.
    """
    if not rivals:
        raise InvalidInput(f"nobody to compare {ours} with in {setting.title}")
    costs = results.column(setting, ours)
    measure = MEASURES[setting.kind]
    lines = []
    for rival in rivals:
        theirs = results.column(setting, rival)
        gap = paired_interval(costs, theirs, measure, block=setting.block)
        typical = None
        if setting.kind is Kind.QUEUE:
            typical = paired_interval(costs, theirs, Measure.TYPICAL_RATIO, block=setting.block)
        signs = sign_counts(costs, theirs)
        lines.append(Line(rival, float(theirs.mean()), gap, typical, signs, verdict(gap, measure)))
    lines.sort(key=lambda line: line.mean)
    against = np.maximum(results.column(setting, lines[0].rival), 1e-9)
    return Standing(
        setting.title, setting.kind, setting.counts, len(setting), ours, float(costs.mean()), tuple(lines), chosen,
        float((costs / against).max()),
    )  # fmt: skip


def best_of(results: Results, setting: Setting, rivals: Sequence[str]) -> str:
    """Return which of some policies has the lowest mean cost in a setting."""
    return min(rivals, key=lambda name: float(results.column(setting, name).mean()))


def summary(standings: Sequence[Standing]) -> dict[Verdict, int]:
    """Count the verdicts against the best rival in hindsight."""
    return {each: sum(one.best.verdict is each for one in standings) for each in Verdict}
