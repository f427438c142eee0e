"""What training saw of each feature: the range that production compares with, to know when it is somewhere new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.lab.training.imitation import Lessons
from farlane.lab.training.rollout import NODE, TASK
from farlane.scheduler.learned.features import NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.sim.world import Floats

LOW, HIGH = 0.1, 99.9
"""Percentiles that bound the range."""


def spans_of(parts: Sequence[Lessons]) -> dict[str, Floats]:
    """Return the low percentile, the mean and the high one of each feature, (f, 3), by what the features describe.

    Args:
        parts: recorded decisions; each counts alike, whatever they are of.
    """
    tasks, nodes, pairs, contexts = [], [], [], []
    for part in parts:
        rows, mask, context, about = part.seen
        chosen, placed = part.kind == TASK, part.kind == NODE
        tasks += [rows[chosen][mask[chosen][:, :-1]][:, : len(TASK_FEATURES)], about[placed]]
        both = rows[placed][mask[placed][:, :-1]]
        pairs.append(both[:, : len(PAIR_FEATURES)])
        nodes.append(both[:, len(PAIR_FEATURES) : len(PAIR_FEATURES) + len(NODE_FEATURES)])
        contexts.append(context)
    kinds = {"task": tasks, "global": contexts, "node": nodes, "pair": pairs}
    found = {kind: np.concatenate(columns) for kind, columns in kinds.items()}
    return {kind: _spans(columns) for kind, columns in found.items() if len(columns)}


def _spans(columns: Floats) -> Floats:
    low, high = np.percentile(columns, [LOW, HIGH], axis=0)
    return np.stack([low, columns.mean(axis=0), high], axis=1).astype(np.float64)
