"""The tally: who decided how often, why not the policy, how quickly and how alike the shadow rules would have; pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from farlane.hub.deciding.guard import Why

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the histogram's buckets."""


@dataclass(slots=True)
class Histogram:
    """Durations by bucket: one more bucket than there are bounds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """Return the upper bound of the bucket in which that share of them ends, in seconds; infinite in the last."""
        wanted, so_far = share * self.count, 0
        for bound, count in zip(SECONDS, self.buckets, strict=False):
            so_far += count
            if so_far >= wanted:
                return bound
        return math.inf

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (upper bound, how many took at most so long), as Prometheus wants it."""
        found, so_far = [], 0
        for bound, count in zip([*map(str, SECONDS), "+Inf"], self.buckets, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found


@dataclass(slots=True)
class ShadowTally:
    """How one shadow rule compares: rounds, and the sum of agreements in [0, 1]."""

    rounds: int = 0
    agreed: float = 0.0

    @property
    def share(self) -> float:
        """The mean agreement."""
        return self.agreed / self.rounds if self.rounds else 0.0


@dataclass(slots=True)
class Tally:
    """Decisions since the start.

    decided: by reason; seconds: by who answered (`process`, `inline`, `rule`); assessed, drift, disagreement: answers
    that told of it, and the sums of what they told; stale: tasks of answers that did not hold any more; shadows: by
    name; logged, log_dropped: decisions that the log has, and that it lacks; why, text, at: of the last decision.
    """

    decided: Counter[Why] = field(default_factory=Counter)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    assessed: int = 0
    drift: float = 0.0
    disagreement: float = 0.0
    stale: int = 0
    shadows: dict[str, ShadowTally] = field(default_factory=dict)
    logged: int = 0
    log_dropped: int = 0
    why: Why = Why.STARTING
    text: str = ""
    at: float = 0.0

    def count(self, why: Why, text: str, at: float) -> None:
        """Count a decision that was applied."""
        self.decided[why] += 1
        self.why, self.text, self.at = why, text, at

    def took(self, who: str, seconds: float) -> None:
        """Count how long an answer took."""
        self.seconds.setdefault(who, Histogram()).add(seconds)

    def told(self, drift: float, disagreement: float) -> None:
        """Count what an answer said of itself."""
        self.assessed += 1
        self.drift += drift
        self.disagreement += disagreement

    def shadowed(self, name: str, agreement: float) -> None:
        """Count a shadow rule's decision."""
        found = self.shadows.setdefault(name, ShadowTally())
        found.rounds += 1
        found.agreed += agreement

    @property
    def mean_drift(self) -> float:
        """Drift over the answers that told of it."""
        return self.drift / self.assessed if self.assessed else 0.0

    @property
    def mean_disagreement(self) -> float:
        """Disagreement over the answers that told of it."""
        return self.disagreement / self.assessed if self.assessed else 0.0

    @property
    def rounds(self) -> int:
        """Decisions in all."""
        return self.decided.total()

    @property
    def fallbacks(self) -> int:
        """Decisions that were the rule's in place of the policy's."""
        return self.rounds - self.decided[Why.POLICY] - self.decided[Why.RULE]
