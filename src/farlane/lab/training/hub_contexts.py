"""What the policy of a hub sees of the whole: so that the gate knows a hub for a fleet when it meets one.

A hub's view says less than a simulated fleet (no gangs, nothing that waits for others), and the gate would take some of
its moments for those of a queue.
"""

from __future__ import annotations

import numpy as np

from farlane.lab.hub_days import HubDay
from farlane.lab.replay import replay
from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES, Ensemble, dump, load
from farlane.scheduler.learned.manifest import Manifest
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.learned.view_features import task_view
from farlane.scheduler.sim.world import Floats
from farlane.scheduler.view import Decision, View


class _Watching:
    """The learned policy, and the contexts in which it decided."""

    name = "learned"

    def __init__(self, vector: Floats) -> None:
        unknown = Manifest(1, {}, FEATURES, {}, (), (), "", {}, "Apache-2.0")
        self._policy = LearnedPolicy(Ensemble(load(dump([network.unflatten(vector)], unknown))))
        self.seen: list[Floats] = []

    def decide(self, view: View) -> Decision:
        if view.groups:
            self.seen.append(task_view(view).g.astype(np.float64))
        return self._policy.decide(view)


def hub_contexts(day: HubDay, vector: Floats) -> Floats:
    """Return the contexts of all rounds of a day on the hub's own reactor, (d, G), under weights."""
    policy = _Watching(vector)
    replay(day.history, policy, stretch=day.stretch)
    return np.array(policy.seen).reshape(-1, len(FEATURES["global"]))
