"""Seeds of a run: a function of its own seed, the purpose and the step, so that resuming needs no generator's state."""

from __future__ import annotations

import numpy as np

RULES, IMITATION, PPO, SEARCH, CHECK, WEIGHTS = range(6)
"""Purposes; none shares a seed with another."""


def seeds_of(seed: int, purpose: int, step: int, count: int) -> list[int]:
    """Return `count` seeds, below 2^63, of a purpose's step.

    Source: NumPy's SeedSequence, which hashes what it is given into independent streams.
    """
    words = np.random.SeedSequence([seed, purpose, step]).generate_state(count, np.uint64)
    return [int(word >> np.uint64(1)) for word in words]
