"""What paired measurements say: bootstrap intervals of ratios and differences, signs, and a verdict.

Sources: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 (percentile) and 14 (BCa); Künsch
1989 and Politis and Romano 1992 (circular blocks, where neighbours share jobs); Conover, Practical Nonparametric
Statistics, 1999, section 3.4 (the sign test).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import ceil, comb, inf, isfinite
from statistics import NormalDist

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.world import Floats, Ints

LEVEL = 0.95
RESAMPLES = 10_000
_NORMAL = NormalDist()


class Measure(StrEnum):
    """What is said of pairs (a, b): sum a / sum b; exp(mean log(a / b)), the typical ratio; mean (a - b)."""

    RATIO_OF_MEANS = "ratio of means"
    TYPICAL_RATIO = "typical ratio"
    DIFFERENCE = "difference"


class Method(StrEnum):
    """How bounds are taken from resamples: their quantiles, or bias-corrected and accelerated ones."""

    PERCENTILE = "percentile"
    BCA = "BCa"


class Verdict(StrEnum):
    """What an interval lets one say of a cost."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with the bounds that `level` of such intervals have the truth within."""

    value: float
    low: float
    high: float
    level: float = LEVEL

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Signs:
    """How often a was below b, above, equal, and the chance of anything as lopsided were both as likely."""

    below: int
    above: int
    equal: int
    chance: float


def paired_interval(
    ours: Floats,
    theirs: Floats,
    measure: Measure = Measure.RATIO_OF_MEANS,
    *,
    method: Method = Method.BCA,
    block: int = 1,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a measure of pairs and its bootstrap interval; pairs are resampled, never one side alone.

    Args:
        ours: (n,) positive costs; a lower one is better.
        theirs: (n,) of the same sequences.
        measure: of what.
        method: of the bounds.
        block: so many neighbours are resampled at once.
        level: of confidence.
        resamples: how many.
        seed: of the choice.

    Raises:
        InvalidInput: fewer than two pairs, columns of different length, or numbers that are not finite or, for ratios,
            not positive.
    """
    columns = _columns(ours, theirs, measure)
    n = len(ours)
    value = float(_measured(columns.mean(axis=1), measure))
    drawn = _measured(columns @ _counts(n, block, resamples, seed).T / n, measure)
    low, high = (1.0 - level) / 2.0, (1.0 + level) / 2.0
    if method is Method.BCA:
        kept = _measured(_without(columns, min(block, n // 2)), measure)
        low, high = _corrected(drawn, value, kept, low, high)
    bounds = np.quantile(drawn, [low, high])
    return Interval(value, float(bounds[0]), float(bounds[1]), level)


def sign_counts(ours: Floats, theirs: Floats, tolerance: float = 1e-9) -> Signs:
    """Return wins (below), losses and ties, and the exact two-sided chance of the sign test.

    With k of n untied pairs on the rarer side: min(1, 2 sum_{i <= k} C(n, i) / 2^n).
    """
    gap = np.asarray(ours, float) - np.asarray(theirs, float)
    bound = tolerance * np.maximum(np.abs(ours), np.abs(theirs))
    below, above = int((gap < -bound).sum()), int((gap > bound).sum())
    n, rarer = below + above, min(below, above)
    chance = min(1.0, 2.0 * sum(comb(n, i) for i in range(rarer + 1)) / 2**n)
    return Signs(below, above, len(gap) - n, chance)


def verdict(interval: Interval, measure: Measure) -> Verdict:
    """Tell what an interval of costs says: better only where all of it is below no difference."""
    even = 0.0 if measure is Measure.DIFFERENCE else 1.0
    if interval.high < even:
        return Verdict.BETTER
    return Verdict.WORSE if interval.low > even else Verdict.OPEN


def _columns(ours: Floats, theirs: Floats, measure: Measure) -> Floats:
    """Return (2, n) of which every measure is a function of the means."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise InvalidInput(f"pairs of shapes {a.shape} and {b.shape}; expected two columns of at least 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidInput("pairs with numbers that are not finite have no mean; did all tasks run?")
    if measure is not Measure.DIFFERENCE and not (a.min() > 0.0 and b.min() > 0.0):
        raise InvalidInput("a ratio needs positive numbers; ask for the difference")
    if measure is Measure.TYPICAL_RATIO:
        a, b = np.log(a), np.log(b)
    return np.stack([a, b])


def _measured(means: Floats, measure: Measure) -> Floats:
    """Return the measure of means (2, ...): (...)."""
    if measure is Measure.RATIO_OF_MEANS:
        return np.asarray(means[0] / means[1])
    gap = means[0] - means[1]
    return np.asarray(np.exp(gap) if measure is Measure.TYPICAL_RATIO else gap)


@lru_cache(maxsize=8)
def _counts(n: int, block: int, resamples: int, seed: int) -> Floats:
    """Return how often each pair is in each resample: (resamples, n), rows sum to n."""
    random = np.random.default_rng(seed)
    if block <= 1:
        return random.multinomial(n, np.full(n, 1.0 / n), resamples).astype(np.float64)
    block = min(block, n)
    pieces = ceil(n / block)
    starts = random.integers(0, n, (resamples, pieces))
    rows = ((starts[:, :, None] + np.arange(block)) % n).reshape(resamples, -1)[:, :n]
    counts: Floats = np.zeros((resamples, n))
    np.add.at(counts, (np.arange(resamples)[:, None], rows), 1.0)
    return counts


def _without(columns: Floats, block: int) -> Floats:
    """Return the means without each block of neighbours, round the end: (2, n)."""
    n = columns.shape[1]
    block = max(1, block)
    rows: Ints = (np.arange(n)[:, None] + np.arange(block)) % n
    left = columns.sum(axis=1)[:, None] - columns[:, rows].sum(axis=2)
    return np.asarray(left / (n - block))


def _corrected(drawn: Floats, value: float, kept: Floats, low: float, high: float) -> tuple[float, float]:
    """Return the quantiles to take: bias z0 from the share below the value, acceleration from the jackknife."""
    b = len(drawn)
    share = ((drawn < value).sum() + 0.5 * (drawn == value).sum()) / b
    bias = _NORMAL.inv_cdf(min(max(float(share), 0.5 / b), 1.0 - 0.5 / b))
    gaps = kept.mean() - kept
    spread = float((gaps**2).sum()) ** 1.5
    speed = float((gaps**3).sum()) / (6.0 * spread) if spread > 0.0 else 0.0
    ends = []
    for at in (low, high):
        moved = bias + _NORMAL.inv_cdf(at)
        divisor = 1.0 - speed * moved
        shifted = bias + moved / divisor if divisor > 0.0 else inf
        ends.append(_NORMAL.cdf(shifted) if isfinite(shifted) else 1.0)
    return ends[0], ends[1]
