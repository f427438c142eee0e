"""The circuit: when a policy that fails is left alone, when it is tried again, and when its process may start; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from farlane.kit.backoff import Backoff

FAILURES = 3
"""Failures in a row after which the policy is not asked for a while."""
RESTS = Backoff(1.0, 60.0)
"""How long it is not asked: 1, 2, 4 ... 60 s; each time one more try decides."""
STARTS = Backoff(0.25, 60.0)
"""How long a process that died stays dead: 0.25, 0.5, 1 ... 60 s, from the beginning after it lived for 60 s."""
_ENOUGH = 32


def _ceiling(backoff: Backoff, number: int) -> float:
    return next(islice(backoff.ceilings(), min(number, _ENOUGH), None))


@dataclass(slots=True)
class Circuit:
    """Whether a policy is asked. Times are seconds of a clock that never goes back.

    failures: in a row; rests: since the last success; until: not asked before then.
    """

    failures: int = 0
    rests: int = 0
    until: float = 0.0
    limit: int = FAILURES
    backoff: Backoff = field(default=RESTS)

    def may_ask(self, now: float) -> bool:
        """Tell whether the policy may be asked."""
        return now >= self.until

    def succeeded(self) -> None:
        """Hear that it answered in time and soundly."""
        self.failures = self.rests = 0

    def failed(self, now: float) -> None:
        """Hear that it did not; enough of them in a row, or one after a rest, and it rests."""
        self.failures += 1
        if self.failures >= self.limit:
            self.until = now + _ceiling(self.backoff, self.rests)
            self.rests += 1


@dataclass(slots=True)
class Starts:
    """When a process may be started. deaths: in a row, each soon after its start."""

    deaths: int = 0
    began: float = 0.0
    until: float = 0.0
    backoff: Backoff = field(default=STARTS)

    def may_start(self, now: float) -> bool:
        """Tell whether it may be started."""
        return now >= self.until

    def started(self, now: float) -> None:
        """Hear that it was started."""
        self.began = now

    def died(self, now: float) -> None:
        """Hear that it ended; the next start waits the longer, the more often it did."""
        if now - self.began > self.backoff.cap_s:
            self.deaths = 0
        self.until = now + _ceiling(self.backoff, self.deaths)
        self.deaths += 1
