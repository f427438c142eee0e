"""Habits: means of past runs that are exact while few are known, and fade afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.scheduler.habits import FADING, SEEN, SHORTEST_S, fold, quick, usual

RUNS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40)


def after(runs: list[float]) -> np.ndarray:
    habits = np.zeros((2, 3))
    for run_s in runs:
        fold(habits, 1, run_s)
    assert not habits[0].any()
    return habits


def test_the_first_runs_count_alike() -> None:
    habits = after([10.0, 1000.0, 100.0])
    assert habits[1, SEEN] == 3
    assert usual(habits, 1) == pytest.approx(2.0)
    assert quick(habits, 1) == pytest.approx(np.log10(3 / (0.1 + 0.001 + 0.01)))


def test_many_runs_fade() -> None:
    habits = after([1000.0] * 30)
    fold(habits, 1, 10.0)
    assert usual(habits, 1) == pytest.approx(3.0 - 2.0 * FADING)


@given(RUNS)
def test_means_lie_within_what_was_seen_and_the_quick_one_below(runs: list[float]) -> None:
    habits = after(runs)
    low, high = (np.log10(max(SHORTEST_S, edge(runs))) for edge in (min, max))
    assert low - 1e-9 <= quick(habits, 1) <= usual(habits, 1) + 1e-9
    assert usual(habits, 1) <= high + 1e-9
