"""Exponential backoff with full jitter, for everything that tries again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from farlane.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before each new try.

    The n-th delay is drawn evenly from 0 to min(cap, first x factor^n): peers that failed
    together do not come back together.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").

    Raises:
        InvalidSetting: if the delays would be negative, shrink or start above the cap.
    """

    first_s: float = 0.1
    """Upper bound of the first delay, in seconds."""
    cap_s: float = 30.0
    """Upper bound of every delay, in seconds."""
    factor: float = 2.0
    """Growth of the upper bound from one delay to the next."""

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.cap_s or self.factor < 1:
            raise InvalidSetting(
                f"backoff first_s={self.first_s}, cap_s={self.cap_s}, factor={self.factor} cannot be "
                "followed: choose 0 < first_s <= cap_s and factor >= 1"
            )

    def ceilings(self) -> Iterator[float]:
        """Yield the upper bounds in seconds, without end."""
        # Multiplied step by step: first_s * factor ** n overflows after about a thousand tries.
        ceiling_s = self.first_s
        while True:
            yield ceiling_s
            ceiling_s = min(self.cap_s, ceiling_s * self.factor)

    def delays(self, random: Random) -> Iterator[float]:
        """Yield the delays in seconds, without end.

        Args:
            random: seeded by the caller, so that a run can be repeated.
        """
        for ceiling_s in self.ceilings():  # pragma: no branch - it never ends
            yield random.uniform(0.0, ceiling_s)
