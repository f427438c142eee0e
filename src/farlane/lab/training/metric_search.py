"""Searching weights for what policies are judged by in the end: CMA-ES on costs of whole episodes.

The evolution strategy is that of Hansen and Ostermeier 2001 in the package `cma`; with many weights its covariance is
diagonal (Ros and Hansen 2008, sep-CMA-ES). All vectors of a generation see the same episodes, half of them are mirror
images of the others (Brockhoff et al. 2010), and heavy tails are bounded (`losses.losses_each`).

What whole runs cost is rough as a function of the weights: a task that starts a second later changes all that follows.
So the centre goes only a part of each step (`Strategy.rate`; Hansen's c_m), and what a search comes to is the mean of
its centres over the later half of its generations (Polyak and Juditsky 1992), not the one that looked best by luck.
"""

from __future__ import annotations

from collections.abc import Callable

import cma
import numpy as np

from farlane.lab.training.config import Strategy
from farlane.lab.training.folder import Row, State
from farlane.lab.training.seeds import SEARCH, seeds_of
from farlane.scheduler.sim.world import Floats, Ints

Judge = Callable[[Floats], float]
Trial = Callable[[list[Floats], Floats, int], Floats]
DIAGONAL_FROM = 200
"""With more weights than this the covariance is diagonal."""


class MetricSearch:
    """The stage of a run; a step is a generation.

    What it holds is the losses it told the strategy: with these and the seed the strategy comes to the same state
    again, bit by bit, so that nothing of it has to be stored.

    Args:
        config: what to do.
        judge: a vector -> its loss in each setting of the search, on episodes that are kept for choosing.
        trial: vectors, their centre and a step -> their losses, (v,), on episodes for training.
        seed: of the strategy.
        start: all weights.
        free: which of them are searched.
    """

    def __init__(
        self, config: Strategy, judge: Judge, trial: Trial, seed: int, start: Floats, free: Ints
    ) -> None:
        self._config, self._judge, self._trial, self._seed = config, judge, trial, seed
        self._start, self._free = start.astype(np.float64), free
        self._strategy = self._fresh()
        self._told: list[Floats] = []
        self._centres: list[Floats] = []
        self._first_loss, self._last_loss, self._looked = np.inf, np.inf, -1

    @property
    def steps(self) -> int:
        """Generations so far."""
        return len(self._told)

    @property
    def result(self) -> Floats:
        """The mean of the later centres; the start where that did better on the sequences kept for looking."""
        return self._start if self._first_loss <= self._last_loss else self._averaged()

    def step(self) -> Row:
        """Do a generation; returns its mean and least loss, and what a look at the centre gave where one was due."""
        if not self._told:
            self._first_loss = self._judge(self._start)
        vectors = self._ask()
        losses = self._trial([self._whole(vector) for vector in vectors], self._centre(), self.steps)
        self._tell(vectors, losses)
        row: Row = {"loss": float(losses.mean()), "least": float(losses.min())}
        row["spread"] = float(self._strategy.sigma)
        if self.steps % self._config.check_every == 0:
            row["check"] = self._look()
            row["before"] = self._first_loss
        return row

    def end(self) -> None:
        """Look a last time."""
        if self._looked != self.steps:
            self._look()

    def state(self) -> State:
        """Return what to keep."""
        told = np.array(self._told).reshape(self.steps, self._config.population)
        return {
            "told": told,
            "centre": self._centre(),
            "start": self._start,
            "first_loss": np.array(self._first_loss),
            "last_loss": np.array(self._last_loss),
            "looked": np.array(self._looked),
        }

    def restore(self, state: State) -> None:
        """Come to the state of a kept search by telling a fresh strategy the same losses."""
        self._start, self._looked = state["start"], int(state["looked"])
        self._first_loss, self._last_loss = float(state["first_loss"]), float(state["last_loss"])
        self._strategy, self._told, self._centres = self._fresh(), [], []
        for losses in state["told"]:
            self._tell(self._ask(), losses)

    def _fresh(self) -> cma.CMAEvolutionStrategy:
        random = np.random.default_rng(seeds_of(self._seed, SEARCH, 0, 1)[0])
        options = {
            "popsize": self._config.population, "CMA_diagonal": len(self._free) > DIAGONAL_FROM, "CMA_mirrors": 0.5,
            "CMA_cmean": self._config.rate,
            "seed": np.nan, "randn": lambda *shape: random.standard_normal(shape), "verbose": -9,
        }  # fmt: skip
        return cma.CMAEvolutionStrategy(self._start[self._free], self._config.spread, options)

    def _whole(self, vector: Floats) -> Floats:
        """Return all weights, with those that are searched put in."""
        whole = self._start.copy()
        whole[self._free] = vector
        return whole

    def _ask(self) -> list[Floats]:
        """Return the vectors of a generation."""
        if self._config.halving:
            self._strategy.sigma = self._config.spread * 0.5 ** (self.steps / self._config.halving)
        vectors: list[Floats] = self._strategy.ask()
        return vectors

    def _tell(self, vectors: list[Floats], losses: Floats) -> None:
        self._strategy.tell(vectors, losses.tolist())
        self._told.append(np.asarray(losses, np.float64))
        self._centres.append(np.asarray(self._strategy.mean, np.float64))

    def _centre(self) -> Floats:
        return self._whole(self._strategy.mean)

    def _averaged(self) -> Floats:
        return self._whole(np.mean(self._centres[len(self._centres) // 2 :], axis=0))

    def _look(self) -> float:
        """Judge the mean of the later centres on the episodes kept for that; returns its loss."""
        self._last_loss, self._looked = self._judge(self._averaged()), self.steps
        return self._last_loss
