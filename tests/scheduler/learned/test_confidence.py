"""When scores are to be trusted: features as in training, members of one mind."""

from __future__ import annotations

import math

import numpy as np
import pytest

from farlane.scheduler.learned.confidence import (
    LEAST_PROPENSITY,
    bounds,
    disagreement,
    drift,
    margin,
    outside,
    propensities,
)
from farlane.scheduler.learned.manifest import Span

SPANS = (Span(0.0, 0.5, 1.0), Span(-2.0, 0.0, 2.0))


def rows(*values):
    return np.array(values, np.float32)


def test_spans_are_widened_a_little():
    within = bounds(SPANS, 2)
    assert within.low.tolist() == pytest.approx([-0.1, -2.4])
    assert within.high.tolist() == pytest.approx([1.1, 2.4])
    exact = bounds((Span(1.0, 1.0, 1.0),), 1)
    assert exact.low[0] < 1.0 < exact.high[0]


def test_drift_is_the_share_outside():
    within = bounds(SPANS, 2)
    inside = outside(rows((0.5, 0.0), (1.05, -2.3)), within)
    half = outside(rows((0.5, 0.0), (7.0, 0.0)), within)
    assert inside.tolist() == [0.0, 0.0]
    assert half.tolist() == [0.5, 0.0]
    assert drift([inside, half]) == pytest.approx(0.125)
    assert drift([]) == 0.0
    assert outside(np.zeros((0, 2), np.float32), within).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_outside_of_everything(value):
    anything = bounds((), 2)
    assert outside(rows((value, 1e30), (0.0, 0.0)), anything).tolist() == [1.0, 0.0]


def test_members_disagree_only_about_what_is_clearly_better():
    assert disagreement(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), 0) == 0.5
    assert disagreement(np.array([[1.0, 0.99, 0.0], [0.99, 1.0, 0.0]]), 0) == 0.0
    assert disagreement(np.array([[2.0, 2.0]]), 1) == 0.0


def test_the_margin_is_told_in_spreads():
    assert margin(np.array([[3.0, 0.0], [1.0, 0.0]])) == pytest.approx(2.0)
    assert margin(np.array([[1.0, 0.0]])) == math.inf
    assert margin(np.array([[1.0, 1.0]])) == 0.0
    assert margin(np.array([[1.0]])) == math.inf


def test_propensities_are_a_softmax_with_a_floor():
    assert propensities(np.array([0.0, 0.0])).tolist() == [0.5, 0.5]
    assert propensities(np.array([1000.0, -1000.0])).tolist() == [1.0, LEAST_PROPENSITY]
    cold, hot = (propensities(np.array([1.0, 0.0]), temperature)[0] for temperature in (0.1, 10.0))
    assert cold > 0.99
    assert hot < 0.53
    assert propensities(np.zeros(0)).tolist() == []
