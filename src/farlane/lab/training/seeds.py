"""Seeds of a run: a function of its own seed, the purpose and the step, so that resuming needs no generator's state."""

from __future__ import annotations

import numpy as np

from farlane.lab.evaluation.splits import TRAINING_SEEDS, VALIDATION_SEEDS

RULES, IMITATION, PPO, SEARCH, CHECK, WEIGHTS, GATE = range(7)
"""Purposes; none shares a seed with another."""


def seeds_of(seed: int, purpose: int, step: int, count: int) -> list[int]:
    """Return `count` seeds of a purpose's step: those for choosing from `VALIDATION_SEEDS`, all others for training.

    Source: NumPy's SeedSequence, which hashes what it is given into independent streams.
    """
    uses = VALIDATION_SEEDS if purpose == CHECK else TRAINING_SEEDS
    words = np.random.SeedSequence([seed, purpose, step]).generate_state(count, np.uint64)
    return [uses[int(word) % len(uses)] for word in words]
