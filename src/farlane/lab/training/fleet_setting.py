"""Fleets as a setting to train on: days of a made-up network, where many things count at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from farlane.errors import InvalidSetting
from farlane.lab.training.rollout import Game
from farlane.scheduler.learned import network
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import FleetScores, fleet_scores
from farlane.scheduler.sim.learned_fleet import contexts_of, simulate_learned
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import Floats, World

MEASURES = {
    "completion_mean_s": (0.35, 60.0),
    "wait_p95_s": (0.15, 60.0),
    "missed": (0.2, 0.01),
    "cost": (0.15, 1e-6),
    "moved_bytes": (0.05, float(1 << 30)),
    "wasted_s": (0.1, 600.0),
}
"""Scores that count: weight, and what is added to both sides of the ratio, so that little over nothing is no disaster.

How soon results come counts most, half of it all with the wait that nineteen of twenty stay below: it is what
publishers feel. A deadline that is missed is a promise broken, and what is paid is theirs too. Wasted runs are the
providers' loss; bytes are nearly free inside a site and count where nothing else tells nodes apart.
"""
RIVALS: tuple[tuple[Order, Choice, bool], ...] = tuple(
    (order, choice, True)
    for order in (Order.SHORTEST, Order.PRIORITY, Order.SAF, Order.EDF, Order.HRRN)
    for choice in (Choice.BEST_FIT, Choice.SOONEST, Choice.SURVIVING, Choice.CHEAPEST, Choice.PRODUCT)
)
"""Rules by their numbers: order, choice of node, whether nodes are held for the first that is blocked."""
OWN = RIVALS.index((Order.SHORTEST, Choice.PRODUCT, True))
"""The hub's own rule, in whose terms costs are told."""
TRAINING_RIVALS = tuple(
    RIVALS.index((order, choice, True))
    for order, choice in (
        (Order.SHORTEST, Choice.PRODUCT),
        (Order.SAF, Choice.SURVIVING),
        (Order.SAF, Choice.SOONEST),
        (Order.EDF, Choice.SOONEST),
        (Order.HRRN, Choice.SURVIVING),
    )
)
"""Those among which a training run looks for the best: the hub's own, and what was best in one scenario or another."""


@dataclass(frozen=True)
class FleetSetting:
    """Days of a network; what counts is `weighted` of the scores, in terms of the hub's own rule on the same day.

    name; source: of worlds, by a seed; weight; rules: the rivals, as rows of `RIVALS`.
    """

    name: str
    source: Callable[[int], World]
    weight: float = 1.0
    rules: tuple[int, ...] = tuple(range(len(RIVALS)))
    kind: str = "fleets"
    _known: dict[int, FleetScores] = field(default_factory=dict, compare=False, repr=False)

    def rule_name(self, rule: int) -> str:
        """Return what a rule is called."""
        order, choice, guard = RIVALS[rule]
        return f"{order.name}+{choice.name}{'+guard' if guard else ''}"

    def draw(self, seed: int) -> World:
        """Return an episode."""
        return self.source(seed)

    def game(self, world: World, seed: int, rule: int, width: int) -> Game:
        """Refuse: raises InvalidSetting."""
        raise InvalidSetting(
            f"{self.name}: fleets have no rule to copy choice by choice; leave imitation and ppo out (0 epochs, 0 "
            "iterations) and search"
        )

    def rule_cost(self, world: World, seed: int, rule: int) -> float:
        """Return what a rule comes to."""
        return weighted(fleet_scores(world, ruled(world, rule)), self._own(world, seed))

    def policy_cost(self, seed: int, vector: Floats, lead: Floats | None = None) -> float:
        """Return what weights come to."""
        world = self.draw(seed)
        state = simulate_learned(world, network.unflatten(vector))
        return weighted(fleet_scores(world, state), self._own(world, seed))

    def contexts(self, seed: int, vector: Floats) -> Floats:
        """Return the contexts of the last rounds in which something might start, (d, G), under weights."""
        return contexts_of(self.draw(seed), network.unflatten(vector))

    def _own(self, world: World, seed: int) -> FleetScores:
        if seed not in self._known:
            self._known[seed] = fleet_scores(world, ruled(world, OWN))
        return self._known[seed]


def ruled(world: World, rule: int) -> State:
    """Return a world after its run under a row of `RIVALS`."""
    order, choice, guard = RIVALS[rule]
    return simulate(world, order, choice, guard=guard)


def weighted(found: FleetScores, own: FleetScores) -> float:
    """Return the weighted mean of the ratios of two runs' scores (`MEASURES`): 1 where they are alike, less is better.

    Scores that one of them does not have (no deadlines) count as alike.
    """
    total = 0.0
    for name, (weight, least) in MEASURES.items():
        ratio = (getattr(found, name) + least) / (getattr(own, name) + least)
        total += weight * (1.0 if np.isnan(ratio) else ratio)
    return total / sum(weight for weight, _ in MEASURES.values())
