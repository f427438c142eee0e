"""A mistyped name finds its neighbour."""

from __future__ import annotations

import pytest

from farlane.kit.suggestions import hint, nearest

KEYS = ["memory", "max_price", "max_duration", "cpu", "gpu", "priority"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("memroy", "memory"),
        ("max-price", "max_price"),
        ("MAX_DURATION", "max_duration"),
        ("priorty", "priority"),
    ],
)
def test_the_nearest_name_comes_first(typed: str, meant: str) -> None:
    assert nearest(typed, KEYS)[0] == meant
    assert hint(typed, KEYS) == f"did you mean {meant!r}?"


def test_nothing_near_lists_what_there_is() -> None:
    assert nearest("zzzz", KEYS) == []
    assert hint("zzzz", KEYS) == "known: cpu, gpu, max_duration, max_price, memory, priority"


def test_a_long_list_is_cut() -> None:
    assert hint("zzzz", [f"key{n:02}" for n in range(15)]).endswith("key11 and 3 more")


def test_no_known_names() -> None:
    assert hint("x", []) == "none is known here"


def test_at_most_count_names() -> None:
    assert len(nearest("max", ["maxa", "maxb", "maxc", "maxd"], count=2)) == 2
