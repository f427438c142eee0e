"""Queues on one pool as a setting to train on: episodes, games that stop at each choice, costs of rules and weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farlane.lab.training.rollout import TASK, Seen
from farlane.lab.training.shown import padded, shown
from farlane.lab.training.steps import put_first, see_queue, until_choice, waited
from farlane.scheduler.learned.features import GLOBAL_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import Weights, unflatten
from farlane.scheduler.sim.learned_queue import queue_scores, run_learned_queue
from farlane.scheduler.sim.queueing import run_queue, start_at
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import bounded_slowdowns
from farlane.scheduler.sim.state import QUEUED, new_state
from farlane.scheduler.sim.world import Floats, World

RIVALS = tuple(int(rule) for rule in Rule if rule not in (Rule.WFP3_PUBLISHED, Rule.UNICEP_PUBLISHED))
"""All rules but those that are published with a mistake."""


@dataclass(frozen=True)
class QueueSetting:
    """Jobs of a batch system on a pool of processors; what counts is the average bounded slowdown.

    name; source: of worlds, by a seed; backfill: whether short jobs may pass; weight; rules: the rivals.
    """

    name: str
    source: Callable[[int], World]
    backfill: bool
    weight: float = 1.0
    rules: tuple[int, ...] = RIVALS
    kind: str = "queues"

    def rule_name(self, rule: int) -> str:
        """Return what a rule is called."""
        return Rule(rule).name

    def draw(self, seed: int) -> World:
        """Return an episode."""
        return self.source(seed)

    def game(self, world: World, seed: int, rule: int, width: int) -> QueueGame:
        """Return an episode that stops at each choice."""
        return QueueGame(world, self.backfill, rule, width, seed)

    def rule_cost(self, world: World, seed: int, rule: int) -> float:
        """Return the average bounded slowdown under a rule."""
        state = new_state(world)
        run_queue(world, state, rule, self.backfill)
        return float(bounded_slowdowns(world, state).mean())

    def policy_cost(self, seed: int, vector: Floats, lead: Floats | None = None) -> float:
        """Return the average bounded slowdown under weights."""
        world = self.draw(seed)
        state = new_state(world)
        run_learned_queue(world, state, unflatten(vector), self.backfill)
        return float(bounded_slowdowns(world, state).mean())

    def contexts(self, seed: int, vector: Floats) -> Floats:
        """Return the contexts of all choices between jobs that wait, (d, G), under weights."""
        world, weights, found = self.draw(seed), unflatten(vector), []
        game = self.game(world, seed, self.rules[0], len(world.tasks.arrival))
        while (seen := game.see()) is not None:
            found.append(seen.context)
            game.choose(int(np.argmax(game.scores(weights))))
        return np.array(found, np.float64).reshape(len(found), len(GLOBAL_FEATURES))


class QueueGame:
    """One episode: which task goes next, whenever some wait; one alone goes without being asked about."""

    def __init__(self, world: World, backfill: bool, rule: int, width: int, seed: int) -> None:
        self._world, self._backfill, self._rule, self._width = world, backfill, rule, width
        self._random = np.random.default_rng(seed)
        self.state = new_state(world)
        self._since, self._first = 0.0, 0
        self._places = np.zeros(0, np.int64)
        self._start_those_alone()

    def see(self) -> Seen | None:
        """Return the tasks that wait; of more than the width, a random choice with the rule's among it."""
        queued = int(self.state.marks[QUEUED])
        if not queued:
            return None
        self._first = int(put_first(self._world, self.state, self._rule))
        self._places = shown(queued, self._width, self._first, self._random)
        x, g = see_queue(self._world, self.state, self._backfill)
        mask = np.zeros(self._width + 1, np.bool_)
        mask[: len(self._places)] = True
        about = np.zeros(len(TASK_FEATURES), np.float32)
        return Seen(TASK, padded(x[self._places], self._width), mask, g.astype(np.float32), about)

    def taught(self) -> int:
        """Return which of those the rule puts first."""
        return int(np.flatnonzero(self._places == self._first)[0])

    def choose(self, at: int) -> float:
        """Start a task as soon as it fits, and go on to the next choice; returns minus what waiting cost."""
        start_at(self._world, self.state, int(self._places[at]), self._backfill)
        self._start_those_alone()
        since, self._since = self._since, float(self.state.clock[0])
        return -float(waited(self._world, self.state, since))

    def scores(self, weights: Weights) -> Floats:
        """Return the scores of the tasks that were last seen, in their order."""
        return np.asarray(queue_scores(self._world, self.state, weights, self._backfill))[self._places]

    def cost(self) -> float:
        """Return the average bounded slowdown of the whole episode."""
        return float(bounded_slowdowns(self._world, self.state).mean())

    def _start_those_alone(self) -> None:
        while until_choice(self._world, self.state) and self.state.marks[QUEUED] == 1:
            start_at(self._world, self.state, 0, self._backfill)
