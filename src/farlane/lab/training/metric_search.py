"""Searching weights for what policies are judged by in the end: CMA-ES on costs of whole episodes.

The evolution strategy is that of Hansen and Ostermeier 2001 in the package `cma`; with many weights its covariance is
diagonal (Ros and Hansen 2008, sep-CMA-ES). All vectors of a generation see the same episodes, half of them are mirror
images of the others (Brockhoff et al. 2010), and heavy tails are bounded (`Panel.losses`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cma
import numpy as np

from farlane.lab.training.config import Search
from farlane.lab.training.folder import Row, State
from farlane.lab.training.panel import Episode, Panel
from farlane.lab.training.seeds import CHECK, SEARCH, seeds_of
from farlane.scheduler.sim.world import Floats

DIAGONAL_FROM = 200
"""With more weights than this the covariance is diagonal."""


class MetricSearch:
    """The stage of a run; a step is a generation.

    What it holds is the losses it told the strategy: with these and the seed the strategy comes to the same state
    again, bit by bit, so that nothing of it has to be stored.
    """

    name = "search"

    def __init__(self, config: Search, panel: Panel, rules: Sequence[int], seed: int, start: Floats) -> None:
        self._config, self._panel, self._rules, self._seed = config, panel, tuple(rules), seed
        self._start = start.astype(np.float64)
        self._strategy = self._fresh()
        self._told: list[Floats] = []
        self._best, self._best_loss = self._start, np.inf

    @property
    def steps(self) -> int:
        """Generations so far."""
        return len(self._told)

    @property
    def finished(self) -> bool:
        """Whether all generations are done."""
        return self.steps >= self._config.generations

    @property
    def result(self) -> Floats:
        """The centre that did best at a look, before any the start."""
        return self._best

    def step(self) -> Row:
        """Do a generation; returns its mean and least loss, and what a look at the centre gave where one was due."""
        if not self._told:
            self._look(self._start)
        vectors = self._strategy.ask()
        episodes = self._episodes(SEARCH, self.steps, self._config.sequences)
        costs = self._panel.costs(vectors, episodes)
        losses = self._panel.losses(
            costs, self._panel.reference(self._rules, episodes), episodes, self._config.clip
        )
        self._tell(vectors, losses)
        row: Row = {"loss": float(losses.mean()), "least": float(losses.min())}
        row["spread"] = float(self._strategy.sigma)
        if self.steps % self._config.check_every == 0 or self.finished:
            row["check"] = self._look(np.asarray(self._strategy.result.xfavorite))
            row["best"] = float(self._best_loss)
        return row

    def state(self) -> State:
        """Return what to keep."""
        told = np.array(self._told).reshape(self.steps, self._config.population)
        return {
            "told": told,
            "start": self._start,
            "best": self._best,
            "best_loss": np.array(self._best_loss),
        }

    def restore(self, state: State) -> None:
        """Come to the state of a kept search by telling a fresh strategy the same losses."""
        self._start, self._best = state["start"], state["best"]
        self._best_loss = float(state["best_loss"])
        self._strategy, self._told = self._fresh(), []
        for losses in state["told"]:
            self._tell(self._strategy.ask(), losses)

    def _fresh(self) -> cma.CMAEvolutionStrategy:
        random = np.random.default_rng(seeds_of(self._seed, SEARCH, 0, 1)[0])
        options = {
            "popsize": self._config.population, "CMA_diagonal": len(self._start) > DIAGONAL_FROM, "CMA_mirrors": 0.5,
            "seed": np.nan, "randn": lambda *shape: random.standard_normal(shape), "verbose": -9,
        }  # fmt: skip
        return cma.CMAEvolutionStrategy(self._start, self._config.spread, options)

    def _tell(self, vectors: list[Floats], losses: Floats) -> None:
        self._strategy.tell(vectors, losses.tolist())
        self._told.append(np.asarray(losses, np.float64))

    def _look(self, vector: Floats) -> float:
        """Judge a vector on the episodes kept for that; returns its loss, and remembers the best."""
        episodes = self._episodes(CHECK, 0, self._config.check_sequences)
        reference = self._panel.reference(self._rules, episodes)
        costs = self._panel.costs([vector], episodes)
        loss = float(self._panel.losses(costs, reference, episodes, self._config.clip)[0])
        if loss < self._best_loss:
            self._best, self._best_loss = vector, loss
        return loss

    def _episodes(self, purpose: int, step: int, count: int) -> list[Episode]:
        seeds = seeds_of(self._seed, purpose, step, count)
        return [Episode(row, seed) for row in range(len(self._panel.settings)) for seed in seeds]
