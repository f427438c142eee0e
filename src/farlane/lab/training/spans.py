"""What training saw of each feature: the range that production compares with, to know when it is somewhere new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from farlane.lab.training.imitation import Lessons
from farlane.lab.training.rollout import NODE, TASK
from farlane.scheduler.learned.features import NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.sim.world import Floats

LOW, HIGH = 0.1, 99.9
"""Percentiles that bound the range."""


def spans_of(lessons: Lessons) -> dict[str, Floats]:
    """Return the low percentile, the mean and the high one of each feature, (f, 3), by what the features describe."""
    rows, mask, context, about = lessons.seen
    chosen, placed = lessons.kind == TASK, lessons.kind == NODE
    tasks = rows[chosen][mask[chosen][:, :-1]][:, : len(TASK_FEATURES)]
    both = rows[placed][mask[placed][:, :-1]]
    kinds = {
        "task": np.concatenate([tasks, about[placed]]),
        "global": context,
        "pair": both[:, : len(PAIR_FEATURES)],
        "node": both[:, len(PAIR_FEATURES) : len(PAIR_FEATURES) + len(NODE_FEATURES)],
    }
    return {kind: _spans(columns) for kind, columns in kinds.items() if len(columns)}


def merged(parts: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Return the widest ranges of several settings, and the means of their means."""
    found: dict[str, Floats] = {}
    for kind in dict.fromkeys(kind for part in parts for kind in part):
        low, mean, high = np.stack([part[kind] for part in parts if kind in part]).transpose(2, 0, 1)
        found[kind] = np.stack([low.min(axis=0), mean.mean(axis=0), high.max(axis=0)], axis=1)
    return found


def _spans(columns: Floats) -> Floats:
    low, high = np.percentile(columns, [LOW, HIGH], axis=0)
    return np.stack([low, columns.mean(axis=0), high], axis=1).astype(np.float64)
