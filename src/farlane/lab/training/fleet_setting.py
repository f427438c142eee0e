"""Fleets as a setting to train on: days of a made-up network, where many things count at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from farlane.errors import InvalidSetting
from farlane.lab.hub_days import HubDay
from farlane.lab.training.hub_contexts import hub_contexts
from farlane.lab.training.rollout import Game
from farlane.scheduler.learned import network
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import FleetScores, fleet_scores, overall
from farlane.scheduler.sim.learned_fleet import contexts_of, simulate_learned
from farlane.scheduler.sim.orders import Order
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import Floats, World

RIVALS: tuple[tuple[Order, Choice, bool], ...] = tuple(
    (order, choice, True)
    for order in (Order.SHORTEST, Order.PRIORITY, Order.SJF, Order.SAF, Order.EDF, Order.HRRN, Order.WFP3)
    for choice in (Choice.BEST_FIT, Choice.SOONEST, Choice.SURVIVING, Choice.CHEAPEST, Choice.PRODUCT)
)
"""Rules by their numbers: order, choice of node, whether nodes are held for the first that is blocked."""
OWN = RIVALS.index((Order.SHORTEST, Choice.PRODUCT, True))
"""The hub's own rule, in whose terms costs are told."""
TRAINING_RIVALS = tuple(
    RIVALS.index((order, choice, True))
    for order, choice in (
        (Order.SHORTEST, Choice.PRODUCT),
        (Order.SJF, Choice.SOONEST),
        (Order.SAF, Choice.SURVIVING),
        (Order.WFP3, Choice.SOONEST),
        (Order.EDF, Choice.SOONEST),
        (Order.HRRN, Choice.SURVIVING),
    )
)
"""Those among which a training run looks for the best: the hub's own, and what was best in one scenario or another."""


@dataclass(frozen=True)
class FleetSetting:
    """Days of a network; what counts is `overall` of the scores, in terms of the hub's own rule on the same day.

    name; source: of worlds, by a seed; weight; rules: the rivals, as rows of `RIVALS`; hub: days of the like for a
    hub, by a seed.
    """

    name: str
    source: Callable[[int], World]
    weight: float = 1.0
    rules: tuple[int, ...] = tuple(range(len(RIVALS)))
    hub: Callable[[int], HubDay] | None = None
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
        return overall(fleet_scores(world, ruled(world, rule)), self._own(world, seed))

    def policy_cost(self, seed: int, vector: Floats, lead: Floats | None = None) -> float:
        """Return what weights come to."""
        world = self.draw(seed)
        state = simulate_learned(world, network.unflatten(vector))
        return overall(fleet_scores(world, state), self._own(world, seed))

    def contexts(self, seed: int, vector: Floats) -> Floats:
        """Return the contexts of the last rounds in which something might start, (d, G), under weights; a hub's too."""
        found = contexts_of(self.draw(seed), network.unflatten(vector))
        return found if self.hub is None else np.concatenate([found, hub_contexts(self.hub(seed), vector)])

    def _own(self, world: World, seed: int) -> FleetScores:
        if seed not in self._known:
            self._known[seed] = fleet_scores(world, ruled(world, OWN))
        return self._known[seed]


def ruled(world: World, rule: int) -> State:
    """Return a world after its run under a row of `RIVALS`."""
    order, choice, guard = RIVALS[rule]
    return simulate(world, order, choice, guard=guard)
