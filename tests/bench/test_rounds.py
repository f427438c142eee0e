"""The benchmarks' own arithmetic: medians, spreads and ratios of paired rounds."""

from __future__ import annotations

import pytest
from bench.models.rounds import Rounds, run_rounds


def test_the_ratio_is_of_paired_rounds_not_of_medians() -> None:
    rounds = Rounds({"ours": [10.0, 40.0, 30.0], "theirs": [5.0, 4.0, 10.0]})
    assert rounds.ratio("ours", "theirs") == (3.0, 2.0, 10.0)
    assert rounds.spread("ours") == (30.0, 10.0, 40.0)


def test_every_contestant_runs_once_a_round_and_each_figure_is_a_table() -> None:
    calls: list[str] = []

    def contestant(name: str, figure: float) -> tuple[float, float]:
        calls.append(name)
        return figure, 2 * figure

    one, other = run_rounds({"a": lambda: contestant("a", 1.0), "b": lambda: contestant("b", 3.0)}, 4, seed=2)
    assert [sorted(calls[at : at + 2]) for at in range(0, 8, 2)] == [["a", "b"]] * 4
    assert (one.figures["b"], other.figures["a"]) == ([3.0] * 4, [2.0] * 4)


def test_the_order_changes_from_round_to_round() -> None:
    calls: list[str] = []
    names = "abcd"
    run_rounds({name: lambda name=name: calls.append(name) or (1.0,) for name in names}, 6)  # type: ignore[misc]
    assert len({"".join(calls[at : at + 4]) for at in range(0, 24, 4)}) > 1


def test_rounds_of_unequal_numbers_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="zip"):
        Rounds({"ours": [1.0], "theirs": [1.0, 2.0]}).ratio("ours", "theirs")
