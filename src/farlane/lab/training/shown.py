"""Which candidates a decision shows to training, and how they are padded to one width."""

from __future__ import annotations

import numpy as np

from farlane.lab.training.rollout import Singles
from farlane.scheduler.learned.features import NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.sim.world import Floats, Ints

COLUMNS = max(len(TASK_FEATURES), len(PAIR_FEATURES) + len(NODE_FEATURES))
"""Features of a row: those of a task, or of a pair and its node side by side."""


def shown(count: int, width: int, kept: int, random: np.random.Generator) -> Ints:
    """Return which of `count` candidates are shown: all, or a random choice of `width` with `kept` in it, rising.

    The pooled embedding of a random choice is an unbiased estimate of that of all.
    """
    if count <= width:
        return np.arange(count)
    others = random.choice(count - 1, width - 1, replace=False)
    return np.sort(np.append(others + (others >= kept), kept))


def padded(rows: Floats, width: int) -> Singles:
    """Return rows as (width, COLUMNS) float32, 0 where there is nothing."""
    found = np.zeros((width, COLUMNS), np.float32)
    found[: rows.shape[0], : rows.shape[1]] = rows
    return found
