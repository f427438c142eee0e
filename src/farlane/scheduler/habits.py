"""How long work of a kind usually runs: means that fade, of which the learned scheduler makes its expectations.

A habit is a row of three numbers: how many runs it has seen, the mean of their lengths' logarithms, and the mean of
their reciprocals. The first mean says what is usual; the second how quick a run may be, which is what counts for
slowdown: a task that ends after seconds with some probability is worth trying early.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEEN, LOGARITHM, RECIPROCAL = range(3)
"""Columns of a habit."""
FADING = 0.15
"""Share of the newest run in both means, once so many are known that it is more than its plain share."""
SHORTEST_S = 10.0
"""Shorter runs count as so long (the bound of bounded slowdown: Feitelson et al. 1997)."""


def fold(habits: Floats, row: int, run_s: float) -> None:
    """Take one more run of some seconds into one of some habits, (h, 3)."""
    bounded = max(run_s, SHORTEST_S)
    share = max(FADING, 1.0 / (1.0 + habits[row, SEEN]))
    habits[row, SEEN] += 1.0
    habits[row, LOGARITHM] += share * (np.log10(bounded) - habits[row, LOGARITHM])
    habits[row, RECIPROCAL] += share * (1.0 / bounded - habits[row, RECIPROCAL])


def usual(habits: Floats, row: int) -> float:
    """Return how long a run usually takes: log10 of the geometric mean in seconds; of a habit that has seen some."""
    return float(habits[row, LOGARITHM])


def quick(habits: Floats, row: int) -> float:
    """Return log10 of the harmonic mean of runs in seconds, which a few short ones among long ones bring down."""
    return float(-np.log10(habits[row, RECIPROCAL]))
