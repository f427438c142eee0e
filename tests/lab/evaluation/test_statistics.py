"""Intervals hold the truth as often as they say, and exact numbers are exact."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.evaluation.statistics import (
    Interval,
    Measure,
    Method,
    Verdict,
    paired_interval,
    sign_counts,
    verdict,
)

A, B = np.array([1.0, 4.0, 2.0, 8.0]), np.array([2.0, 2.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        (Measure.RATIO_OF_MEANS, 1.5),
        (Measure.TYPICAL_RATIO, 2.0 ** (2.0 / 4.0 - 1.0 / 4.0)),
        (Measure.DIFFERENCE, 1.25),
    ],
)
def test_measures_of_known_pairs(measure: Measure, value: float) -> None:
    assert paired_interval(A, B, measure).value == pytest.approx(value)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("measure", list(Measure))
def test_nineteen_of_twenty_intervals_hold_the_truth(measure: Measure, method: Method) -> None:
    """Lognormal costs, ours 0.8 of theirs but for independent noise of mean 1."""
    random, held, rounds = np.random.default_rng(2), 0, 200
    truth = {
        Measure.RATIO_OF_MEANS: 0.8, Measure.TYPICAL_RATIO: 0.8 * np.exp(-0.045),
        Measure.DIFFERENCE: -0.2 * np.exp(0.5),
    }[measure]  # fmt: skip
    for at in range(rounds):
        theirs = random.lognormal(0.0, 1.0, 40)
        ours = 0.8 * theirs * random.lognormal(-0.045, 0.3, 40)
        interval = paired_interval(ours, theirs, measure, method=method, resamples=500, seed=at)
        held += interval.low <= truth <= interval.high
    assert 0.85 <= held / rounds <= 0.99


def test_bias_and_skewness_move_the_bounds_outwards_on_the_long_side() -> None:
    theirs = np.random.default_rng(4).lognormal(0.0, 1.2, 40)
    ours = np.ones(40)
    plain = paired_interval(theirs, ours, Measure.DIFFERENCE, method=Method.PERCENTILE)
    corrected = paired_interval(theirs, ours, Measure.DIFFERENCE, method=Method.BCA)
    assert corrected.high > plain.high
    assert corrected.low > plain.low


def test_symmetric_pairs_give_the_bounds_of_the_normal_law() -> None:
    """Mean of n numbers of variance 1: 1.96 / sqrt(n) on either side."""
    ours = np.repeat([-1.0, 1.0], 200)
    interval = paired_interval(ours, np.zeros(400), Measure.DIFFERENCE)
    assert interval.high == pytest.approx(1.96 / 20.0, rel=0.06)
    assert interval.low == pytest.approx(-1.96 / 20.0, rel=0.06)


def test_neighbours_that_share_jobs_widen_the_interval() -> None:
    """Each number four times over: forty of them know no more than ten."""
    ten = np.random.default_rng(6).lognormal(0.0, 0.5, 10)
    forty, ones = np.repeat(ten, 4), np.ones(40)
    widths = {}
    for block in (1, 4):
        interval = paired_interval(forty, ones, block=block)
        widths[block] = interval.high - interval.low
    alone = paired_interval(ten, np.ones(10))
    assert widths[4] > 1.4 * widths[1]
    assert widths[4] == pytest.approx(alone.high - alone.low, rel=0.25)


def test_the_same_pairs_give_the_same_interval() -> None:
    assert paired_interval(A, B) == paired_interval(A, B)
    same = paired_interval(B, B)
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)


def test_signs_and_their_exact_chance() -> None:
    signs = sign_counts(np.array([1.0, 1.0, 1.0, 1.0, 3.0, 2.0]), np.full(6, 2.0))
    assert (signs.below, signs.above, signs.equal) == (4, 1, 1)
    assert signs.chance == pytest.approx(2 * (1 + 5) / 32)
    assert sign_counts(A, A).chance == 1.0
    assert sign_counts(np.zeros(10), np.ones(10)).chance == pytest.approx(2 / 1024)


def test_a_verdict_needs_the_whole_interval() -> None:
    assert verdict(Interval(0.9, 0.8, 0.99), Measure.RATIO_OF_MEANS) is Verdict.BETTER
    assert verdict(Interval(0.9, 0.8, 1.01), Measure.TYPICAL_RATIO) is Verdict.OPEN
    assert verdict(Interval(1.0, 0.1, 2.0), Measure.DIFFERENCE) is Verdict.WORSE


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (A, B[:3], "two columns"),
        (A[:1], B[:1], "at least 2"),
        (A, np.array([1.0, 2.0, np.nan, 1.0]), "not finite"),
        (A, np.array([0.0, 1.0, 1.0, 1.0]), "positive"),
    ],
)
def test_pairs_that_have_no_ratio_are_refused(ours: np.ndarray, theirs: np.ndarray, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        paired_interval(ours, theirs)
