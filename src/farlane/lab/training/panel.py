"""What policies are judged by in the end: their cost on drawn episodes beside the best rule's, robustly averaged."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from farlane.lab.training.rollout import Game
from farlane.scheduler.sim.world import Floats, World

LEAST_COST = 1e-4
"""Costs count as so much at least, since their logarithms are taken."""


class Setting(Protocol):
    """A kind of episodes, and how one is run; values that can be sent to another process."""

    @property
    def name(self) -> str:
        """Of the setting, for people."""

    @property
    def kind(self) -> str:
        """What a search calls it: queues or packing."""

    @property
    def weight(self) -> float:
        """Of the setting among all."""

    @property
    def rules(self) -> tuple[int, ...]:
        """The rivals: rules of this setting."""

    def rule_name(self, rule: int) -> str:
        """Return what a rule is called."""

    def draw(self, seed: int) -> World:
        """Return an episode; equal seeds give equal ones."""

    def rule_cost(self, world: World, seed: int, rule: int) -> float:
        """Return what a rule comes to, the lower the better; the seed breaks ties."""

    def game(self, world: World, seed: int, rule: int, width: int) -> Game:
        """Return an episode that stops where somebody has to choose among `width` candidates at most.

        Args:
            world: a draw.
            seed: of ties, and of which candidates are shown where there are more.
            rule: whose choice `Game.taught` tells.
            width: candidates.
        """

    def policy_cost(self, seed: int, vector: Floats, lead: Floats | None) -> float:
        """Return what weights, as one vector, come to on a draw; others may have run its first part."""

    def contexts(self, seed: int, vector: Floats) -> Floats:
        """Return the contexts of the decisions between tasks that weights make on a draw: (d, G)."""


class Episode(NamedTuple):
    """A setting's row, and the seed of its draw."""

    setting: int
    seed: int


Job = tuple[Episode, int | Floats, Floats | None]
"""An episode, what runs it (a rule, or weights), and the weights that may run its first part once for all."""


class Panel:
    """Settings with their best rules, and processes that run episodes of them.

    Args:
        settings: what to judge by.
        workers: processes beside this one; 0: all is run here.
    """

    def __init__(self, settings: Sequence[Setting], workers: int = 0) -> None:
        self.settings = tuple(settings)
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            fresh = multiprocessing.get_context("spawn")  # a fork of what JAX runs in may hang
            self._pool = ProcessPoolExecutor(workers, fresh, _adopt, (self.settings,))
        self._reference: dict[tuple[Episode, int], float] = {}

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def best_rules(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Return the rule of each setting that costs least on its episodes by those seeds, in geometric mean."""
        return tuple(self._best_rule(row, seeds) for row in range(len(self.settings)))

    def _best_rule(self, row: int, seeds: Sequence[int]) -> int:
        rules = self.settings[row].rules
        jobs: list[Job] = [(Episode(row, seed), rule, None) for rule in rules for seed in seeds]
        costs = np.maximum(self._run(jobs), LEAST_COST).reshape(len(rules), len(seeds))
        return rules[int(np.log(costs).mean(axis=1).argmin())]

    def reference(self, rules: Sequence[int], episodes: Sequence[Episode]) -> Floats:
        """Return what each setting's rule comes to on episodes: (e,)."""
        wanted = [(episode, rules[episode.setting]) for episode in episodes]
        new = [job for job in wanted if job not in self._reference]
        found = self._run([(episode, rule, None) for episode, rule in new])
        self._reference.update(zip(new, found, strict=True))
        return np.array([self._reference[job] for job in wanted])

    def costs(
        self, vectors: Sequence[Floats], episodes: Sequence[Episode], lead: Floats | None = None
    ) -> Floats:
        """Return what weights come to on episodes: (v, e).

        Args:
            vectors: weights.
            episodes: what they run.
            lead: weights that run the first part of episodes once for all vectors, where the setting has such a part.
        """
        jobs: list[Job] = [(episode, vector, lead) for episode in episodes for vector in vectors]
        return np.array(self._run(jobs)).reshape(len(episodes), len(vectors)).T

    def shares(self, rows: Sequence[int]) -> Floats:
        """Return the weights of some settings, summing to 1: (rows,)."""
        weights = np.array([self.settings[row].weight for row in rows])
        return np.asarray(weights / weights.sum())

    def _run(self, jobs: Sequence[Job]) -> list[float]:
        if self._pool is None:
            return [_cost(self.settings, job) for job in jobs]
        size = max(1, len(jobs) // (8 * self._workers))
        return list(self._pool.map(_cost_here, jobs, chunksize=size))


_settings: tuple[Setting, ...] = ()
"""Of a process that runs episodes."""


def _adopt(settings: tuple[Setting, ...]) -> None:
    """Begin as a process that runs episodes of these settings, and ends with the one that began it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _settings  # noqa: PLW0603  # a process of a pool has no other place
    _settings = settings


def _end_with_parent() -> None:
    """Wait until the parent is gone, killed or not: an orphan would wait for jobs for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _cost_here(job: Job) -> float:
    return _cost(_settings, job)


def _cost(settings: Sequence[Setting], job: Job) -> float:
    episode, choice, lead = job
    setting = settings[episode.setting]
    if isinstance(choice, int):
        return setting.rule_cost(setting.draw(episode.seed), episode.seed, choice)
    return setting.policy_cost(episode.seed, choice, lead)
