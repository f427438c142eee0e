"""Influence: what each feature does to the scores of a checkpoint's networks over the range that training saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES, Ensemble
from farlane.scheduler.learned.manifest import Span
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.learned.view_features import Matrix
from farlane.scheduler.learned.wording import meaning

UNKNOWN = Span(0.0, 0.5, 1.0)
"""Range of a feature of which the manifest says nothing."""


@dataclass(frozen=True, slots=True)
class Influence:
    """What one feature does.

    kind, name: of the feature; weight: of the linear part, all of the whole at its mean; effect: change of the score
    as the feature goes from low to high with all others at their mean (of the task, of the node for it, or, for
    features of the whole, of waiting); low, mean, high: what training saw; text: what more of it means.
    """

    kind: str
    name: str
    weight: float
    effect: float
    low: float
    mean: float
    high: float
    text: str


def influences(ensemble: Ensemble) -> list[Influence]:
    """Return what each feature does, mean of the members: by kind, the strongest effect first."""
    spans = {
        kind: tuple(ensemble.checkpoint.manifest.spans.get(kind, ())) or (UNKNOWN,) * len(names)
        for kind, names in FEATURES.items()
    }
    means = {kind: np.array([span.mean for span in each], np.float32) for kind, each in spans.items()}
    found = []
    for kind, names in FEATURES.items():
        low, high = _varied(spans[kind], 0), _varied(spans[kind], 2)
        effects = np.mean([_scores(each, kind, high, means) - _scores(each, kind, low, means)
                           for each in ensemble.members], axis=0)  # fmt: skip
        weights = np.mean([_linear(each, kind, means["global"]) for each in ensemble.members], axis=0)
        rows = [
            Influence(kind, name, float(weight), float(effect), *span, meaning(kind, name))
            for name, weight, effect, span in zip(names, weights, effects, spans[kind], strict=True)
        ]
        found += sorted(rows, key=lambda row: -abs(row.effect))
    return found


def _varied(spans: tuple[Span, ...], bound: int) -> Matrix:
    """Return a row for each feature: all at their means but that one, which is at a bound; (f, f)."""
    rows = np.tile(np.array([span.mean for span in spans], np.float32), (len(spans), 1))
    np.fill_diagonal(rows, [span[bound] for span in spans])
    return rows


def _scores(weights: Weights, kind: str, rows: Matrix, means: dict[str, Matrix]) -> Matrix:
    """Return the score that features of a kind lead to, the other kinds at their means: (rows,)."""
    task = network.embeddings(weights, means["task"])
    scores: Matrix
    if kind == "task":
        scores = network.task_scores(weights, rows, means["global"], network.embeddings(weights, rows), task)
    elif kind == "global":
        scores = np.stack([network.wait_score(weights, row, task) for row in rows])
    else:
        count = len(rows)
        p = rows if kind == "pair" else np.tile(means["pair"], (count, 1))
        y = rows if kind == "node" else np.tile(means["node"], (count, 1))
        scores = network.node_scores(weights, p, y, task, means["global"])
    return scores


def _linear(weights: Weights, kind: str, g: Matrix) -> Matrix:
    if kind == "task":
        linear: Matrix = network.task_weights(weights, g)
    elif kind == "pair":
        linear = weights.pair_skip + weights.pair_mix @ g
    else:
        linear = weights.node_skip if kind == "node" else weights.wait_skip
    return linear
