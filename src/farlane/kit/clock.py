"""The time source that everything is handed instead of calling `time` itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two readings of time: one to record, one to measure with."""

    def now(self) -> float:
        """Return wall time in Unix seconds; it may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; it never goes backwards."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return wall time in Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move.

    Args:
        now_s: wall time to start at, in Unix seconds.
    """

    def __init__(self, now_s: float = 1_750_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now(self) -> float:
        """Return wall time in Unix seconds."""
        return self._now_s

    def monotonic(self) -> float:
        """Return seconds advanced so far."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass on both readings.

        Args:
            seconds: how much; not negative.

        Raises:
            ValueError: if `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(
                f"cannot advance by {seconds} s: time passes forwards; use step_wall to set the clock"
            )
        self._now_s += seconds
        self._monotonic_s += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forwards or back, as an operator or NTP does; monotonic time stays."""
        self._now_s += seconds
