"""Searching weights for what policies are judged by in the end: CMA-ES on costs of whole episodes.

The evolution strategy is that of Hansen and Ostermeier 2001 in the package `cma`; with many weights its covariance is
diagonal (Ros and Hansen 2008, sep-CMA-ES). All vectors of a generation see the same episodes, half of them are mirror
images of the others (Brockhoff et al. 2010), and heavy tails are bounded (`losses_each`).
"""

from __future__ import annotations

from collections.abc import Sequence

import cma
import numpy as np

from farlane.lab.training.config import Search
from farlane.lab.training.folder import Row, State
from farlane.lab.training.panel import LEAST_COST, Episode, Panel
from farlane.lab.training.seeds import CHECK, SEARCH, seeds_of
from farlane.scheduler.sim.world import Floats, Ints

DIAGONAL_FROM = 200
"""With more weights than this the covariance is diagonal."""


class MetricSearch:
    """The stage of a run; a step is a generation.

    What it holds is the losses it told the strategy: with these and the seed the strategy comes to the same state
    again, bit by bit, so that nothing of it has to be stored.
    """

    name = "search"

    def __init__(
        self, config: Search, panel: Panel, rules: Sequence[int], seed: int, start: Floats, free: Ints
    ) -> None:
        self._config, self._panel, self._rules, self._seed = config, panel, tuple(rules), seed
        self._start, self._free = start.astype(np.float64), free
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
        episodes = _episodes(self._panel, self._seed, SEARCH, self.steps, self._config.sequences)
        costs = self._panel.costs([self._whole(vector) for vector in vectors], episodes)
        reference = self._panel.reference(self._rules, episodes)
        losses = losses_each(self._config, costs, reference, episodes) @ self._panel.shares
        self._tell(vectors, losses)
        row: Row = {"loss": float(losses.mean()), "least": float(losses.min())}
        row["spread"] = float(self._strategy.sigma)
        if self.steps % self._config.check_every == 0 or self.finished:
            row["check"] = self._look(self._whole(self._strategy.result.xfavorite))
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
            "popsize": self._config.population, "CMA_diagonal": len(self._free) > DIAGONAL_FROM, "CMA_mirrors": 0.5,
            "seed": np.nan, "randn": lambda *shape: random.standard_normal(shape), "verbose": -9,
        }  # fmt: skip
        return cma.CMAEvolutionStrategy(self._start[self._free], self._config.spread, options)

    def _whole(self, vector: Floats) -> Floats:
        """Return all weights, with those that are searched put in."""
        whole = self._start.copy()
        whole[self._free] = vector
        return whole

    def _tell(self, vectors: list[Floats], losses: Floats) -> None:
        self._strategy.tell(vectors, losses.tolist())
        self._told.append(np.asarray(losses, np.float64))

    def _look(self, vector: Floats) -> float:
        """Judge a vector on the episodes kept for that; returns its loss, and remembers the best."""
        losses = check(self._config, self._panel, self._rules, self._seed, vector)
        loss = float(losses @ self._panel.shares)
        if loss < self._best_loss:
            self._best, self._best_loss = vector, loss
        return loss


def check(config: Search, panel: Panel, rules: Sequence[int], seed: int, vector: Floats) -> Floats:
    """Return the loss of weights in each setting, on the episodes that are kept for choosing: (s,)."""
    episodes = _episodes(panel, seed, CHECK, 0, config.check_sequences)
    reference = panel.reference(rules, episodes)
    found: Floats = losses_each(config, panel.costs([vector], episodes), reference, episodes)[0]
    return found


def losses_each(config: Search, costs: Floats, reference: Floats, episodes: Sequence[Episode]) -> Floats:
    """Return how much more than the best rule weights cost in each setting, as a logarithm: (v, s).

    0 is as good as the rule, -0.1 a tenth less. `mean_share` of it is the logarithm of mean cost over mean cost,
    what is judged by in the end; the rest is the mean of each sequence's logarithm, in which a single heavy sequence
    cannot decide. Both are bounded by +-clip.

    Args:
        config: clip and mean_share.
        costs: (v, e) of v vectors on e episodes.
        reference: (e,) of the rules.
        episodes: (e,).
    """
    costs = np.where(np.isfinite(costs), np.maximum(costs, LEAST_COST), np.inf)
    reference = np.maximum(reference, LEAST_COST)
    rows = np.array([episode.setting for episode in episodes])
    found = []
    for row in np.unique(rows):
        here = rows == row
        each = np.clip(np.log(costs[:, here] / reference[here]), -config.clip, config.clip).mean(axis=1)
        whole = np.log(costs[:, here].sum(axis=1) / reference[here].sum())
        share = config.mean_share
        found.append(share * np.clip(whole, -config.clip, config.clip) + (1.0 - share) * each)
    return np.stack(found, axis=1)


def _episodes(panel: Panel, seed: int, purpose: int, step: int, count: int) -> list[Episode]:
    seeds = seeds_of(seed, purpose, step, count)
    return [Episode(row, seed) for row in range(len(panel.settings)) for seed in seeds]
