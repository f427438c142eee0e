"""Rounds: all contestants once in shuffled order, again and again; medians with their spread, paired ratios."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Contestants = Mapping[str, Callable[[], tuple[float, ...]]]
"""Name -> one measurement of the same figures for all."""


class Spread(NamedTuple):
    """Median, least and most of the rounds."""

    median: float
    least: float
    most: float


class Rounds:
    """What was measured.

    Args:
        figures: of each contestant, one figure a round; rounds are paired by their place.
    """

    def __init__(self, figures: Mapping[str, Sequence[float]]) -> None:
        self.figures = figures

    def spread(self, name: str) -> Spread:
        """Return what one contestant did."""
        return _spread(self.figures[name])

    def ratio(self, name: str, other: str) -> Spread:
        """Return how often `other` goes into `name`, round by round."""
        pairs = zip(self.figures[name], self.figures[other], strict=True)
        return _spread([mine / theirs for mine, theirs in pairs])


def run_rounds(contestants: Contestants, rounds: int, seed: int = 1) -> list[Rounds]:
    """Measure each contestant once a round, in another order each time; returns one table for each figure.

    Args:
        contestants: what is measured.
        rounds: how often.
        seed: of the orders.
    """
    order = random.Random(seed)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in contestants}
    for number in range(rounds):
        names = list(contestants)
        order.shuffle(names)
        for name in names:
            found[name].append(contestants[name]())
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    figures = len(next(iter(found.values()))[0])
    return [
        Rounds({name: [row[at] for row in rows] for name, rows in found.items()}) for at in range(figures)
    ]


def _spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))
