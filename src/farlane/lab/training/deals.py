"""Dealing episodes: which setting each is of, drawn by weight, with that setting's best rule and scale of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farlane.lab.evaluation.splits import TRAINING_SEEDS
from farlane.lab.training.panel import Setting
from farlane.lab.training.rollout import Game
from farlane.scheduler.sim.world import Floats


@dataclass(frozen=True)
class Deals:
    """Settings with what was found out about them.

    settings: s of them; rules: (s,) the best of each; scales: (s,) by what rewards are divided; width: candidates that
    a decision shows at most.
    """

    settings: Sequence[Setting]
    rules: Sequence[int]
    scales: Sequence[float]
    width: int

    def deal(self, seed: int, count: int) -> tuple[list[Game], list[float]]:
        """Return so many games before their first decision, and by what the rewards of each are divided.

        Settings come by their weights, in turn as far as whole numbers allow, so that a rare one is not left to
        chance.
        """
        random = np.random.default_rng(seed)
        rows = fair_rows([setting.weight for setting in self.settings], count, random)
        games = [
            self.game(row, int(random.integers(TRAINING_SEEDS.start, TRAINING_SEEDS.stop))) for row in rows
        ]
        return games, [self.scales[row] for row in rows]

    def game(self, row: int, seed: int) -> Game:
        """Return one game of a setting."""
        setting = self.settings[row]
        return setting.game(setting.draw(seed), seed, self.rules[row], self.width)


def fair_rows(weights: Sequence[float], count: int, random: np.random.Generator) -> list[int]:
    """Return `count` rows in random order, each as often as its weight asks, rounded by chance.

    Systematic sampling: one random offset on a line of all weights, so that no row is off by one or more.
    """
    edges: Floats = np.cumsum(weights) / np.sum(weights)
    points = (np.arange(count) + random.random()) / count
    rows = np.minimum(np.searchsorted(edges, points, side="right"), len(weights) - 1)
    return [int(row) for row in random.permutation(rows)]
