"""Attribution: which features make one alternative score higher than another, by gradients along the way between them.

Integrated gradients (Sundararajan et al. 2017): the gradient's mean on the straight line from the other alternative to
the chosen one, times their difference. The parts sum to the difference of the scores, are exact for the linear part,
and need no baseline but the alternative itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.learned.ensemble import Ensemble
from farlane.scheduler.learned.network import Weights, embeddings, pool, task_weights
from farlane.scheduler.learned.view_features import Matrix, TaskView

STEPS = 64
"""Points on the way; the network is piecewise linear, so that few bends are missed."""

Vector = NDArray[np.float64]


def task_parts(ensemble: Ensemble, seen: TaskView, chosen: int, other: int) -> Vector:
    """Return by how much each task feature raises the chosen group's score above the other's: (T,), mean of members."""
    parts = []
    for weights in ensemble.members:
        pooled = pool(embeddings(weights, seen.x), seen.share)
        around = pooled @ weights.pooled + seen.g @ weights.context + weights.bias
        path = _path(seen.x[chosen], seen.x[other])
        inner = path @ weights.encode + weights.encode_bias
        hidden = np.maximum(inner, 0.0) @ weights.own + around
        back = ((hidden > 0) * weights.value) @ weights.own.T
        gradient = ((inner > 0) * back) @ weights.encode.T + task_weights(weights, seen.g)
        parts.append(gradient.mean(axis=0) * (seen.x[chosen] - seen.x[other]))
    mean: Vector = np.mean(parts, axis=0, dtype=np.float64)
    return mean


def node_parts(
    ensemble: Ensemble, embedded: list[Matrix], p: Matrix, y: Matrix, g: Matrix, chosen: int, other: int
) -> tuple[Vector, Vector]:
    """Return the same of one task's places, for features of the pair, (P,), and of the node, (N,).

    Args:
        ensemble: whose scores.
        embedded: the task's embedding by each member.
        p: (q, P) features of the task on each place.
        y: (q, N) features of their nodes.
        g: (F,) features of the whole.
        chosen: place.
        other: place.
    """
    pairs, nodes = [], []
    for weights, task in zip(ensemble.members, embedded, strict=True):
        by_pair, by_node = _node_gradients(
            weights, task, _path(p[chosen], p[other]), _path(y[chosen], y[other]), g
        )
        pairs.append(by_pair * (p[chosen] - p[other]))
        nodes.append(by_node * (y[chosen] - y[other]))
    return np.mean(pairs, axis=0, dtype=np.float64), np.mean(nodes, axis=0, dtype=np.float64)


def _node_gradients(weights: Weights, task: Matrix, p: Vector, y: Vector, g: Matrix) -> tuple[Vector, Vector]:
    inner = y @ weights.node + weights.node_bias
    around = task @ weights.of + g @ weights.around + weights.pair_bias
    hidden = p @ weights.pair + np.maximum(inner, 0.0) @ weights.at + around
    back = (hidden > 0) * weights.pair_value
    by_pair = back @ weights.pair.T + weights.pair_skip + g @ weights.pair_mix.T
    by_node = ((inner > 0) * (back @ weights.at.T)) @ weights.node.T + weights.node_skip
    return by_pair.mean(axis=0), by_node.mean(axis=0)


def _path(chosen: Matrix, other: Matrix) -> Vector:
    """Return points from the other to the chosen, in the middles of equal steps: (STEPS, f)."""
    share = (np.arange(STEPS) + 0.5)[:, None] / STEPS
    return other + share * (chosen.astype(np.float64) - other)
