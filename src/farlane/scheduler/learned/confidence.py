"""How far to trust scores: drift of the features, disagreement of the ensemble, and how likely a choice was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.learned.manifest import Span

Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]

WIDENED = 0.1
"""A span of training is widened by this share of its width, on both sides, before a value counts as outside."""
MAX_DRIFT = 0.25
"""A view in which a greater share of the features lies outside of what training saw is not for the network."""
MAX_DISAGREEMENT = 0.5
"""A choice that a greater share of the members would have made otherwise is not made by the network."""
AS_GOOD = 0.05
"""A member agrees with a choice that it scores lower than its own by at most this share of the range of its scores."""
TEMPERATURE = 1.0
"""Of the softmax that turns scores into propensities."""
LEAST_PROPENSITY = 1e-6
"""Propensities are at least this, so that weights by their inverse stay finite."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which values features are as in training: low and high, (f,) float32; infinite where nothing is known."""

    low: NDArray[np.float32]
    high: NDArray[np.float32]


def bounds(spans: Sequence[Span], features: int) -> Bounds:
    """Return the widened bounds of some features; infinite ones where no spans are known."""
    if not spans:
        return Bounds(np.full(features, -np.inf, np.float32), np.full(features, np.inf, np.float32))
    low = np.array([span.low for span in spans])
    high = np.array([span.high for span in spans])
    slack = np.maximum(WIDENED * (high - low), 1e-3)
    return Bounds((low - slack).astype(np.float32), (high + slack).astype(np.float32))


def outside(values: Matrix, within: Bounds) -> Vector:
    """Return which share of the rows lies outside of the bounds, by feature: (f,), 1 where a value is not finite.

    Args:
        values: (n, f).
        within: of f features.
    """
    if not len(values):
        return np.zeros(values.shape[1])
    inside = (values >= within.low) & (values <= within.high)
    share: Vector = 1.0 - inside.mean(axis=0)
    share[~np.isfinite(values).all(axis=0)] = 1.0
    return share


def drift(parts: Sequence[Vector]) -> float:
    """Return the share of features outside of training, in [0, 1], of the shares of several matrices."""
    every = np.concatenate([*parts, np.zeros(0)])
    return float(every.mean()) if len(every) else 0.0


def disagreement(scores: NDArray[np.floating], chosen: int) -> float:
    """Return which share of the members would have chosen something else, in [0, 1].

    A member agrees where it finds nothing clearly better (`AS_GOOD`): equals are no dissent.

    Args:
        scores: (members, choices), not empty.
        chosen: what was chosen.
    """
    best = scores.max(axis=1)
    lost = best - scores[:, chosen]
    against = lost > AS_GOOD * (best - scores.min(axis=1))
    return float(against.mean())


def margin(scores: NDArray[np.floating]) -> float:
    """Return by how much the best choice leads the next one, in units of the members' spread about that lead.

    Infinite for one choice, or where all members see the same lead; 0 where the best two are equal.

    Args:
        scores: (members, choices), at least one choice.
    """
    mean = scores.mean(axis=0)
    if len(mean) < 2:
        return float("inf")
    second, first = np.argpartition(mean, -2)[-2:]
    leads = scores[:, first] - scores[:, second]
    lead, spread = float(leads.mean()), float(leads.std())
    if not spread:
        return float("inf") if lead else 0.0
    return lead / spread


def propensities(scores: NDArray[np.floating], temperature: float = TEMPERATURE) -> Vector:
    """Return how likely each choice is under a softmax of the scores: (choices,) in (0, 1].

    The policy itself takes the highest; these are what off-policy evaluation divides by where choices were sampled or
    are compared with those of another policy.

    Source: Boltzmann exploration (Sutton and Barto 2018, section 2.8).
    """
    if not len(scores):
        return np.zeros(0)
    raised = np.exp((np.asarray(scores, np.float64) - float(np.max(scores))) / temperature)
    likely: Vector = np.maximum(raised / raised.sum(), LEAST_PROPENSITY)
    return likely
