"""Odd policies: what a policy can do wrong in its process, each under the name that `hub.policy` takes."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, replace

import numpy as np

from farlane.scheduler.assessment import DISAGREEMENT, DRIFT, Assessment
from farlane.scheduler.policy import policy_named
from farlane.scheduler.view import Decision, Placement, Reservation, View

_FIFO = policy_named("fifo")


def odd(name: str) -> str:
    """Return the name by which settings know one of the policies here."""
    return f"{__name__}:{name}"


class Sound:
    """Decides as `fifo` does, and is sure of it."""

    name = "sound"

    def decide(self, view: View) -> Decision:
        """Decide as `fifo`."""
        return _FIFO.decide(view)


class Hangs:
    """Never comes to an end."""

    name = "hangs"

    def decide(self, view: View) -> Decision:
        """Turn in a circle."""
        while True:
            time.sleep(0.001)


class Slow:
    """Answers after 0.6 s."""

    name = "slow"

    def decide(self, view: View) -> Decision:
        """Decide as `fifo`, late."""
        time.sleep(0.6)
        return _FIFO.decide(view)


class Crashes:
    """Takes its process down."""

    name = "crashes"

    def decide(self, view: View) -> Decision:
        """End the process."""
        os._exit(7)


class Raises:
    """Fails as a program does."""

    name = "raises"

    def decide(self, view: View) -> Decision:
        """Divide by zero."""
        raise ZeroDivisionError("nothing to divide by")


class Eats:
    """Takes all memory that it gets."""

    name = "eats"

    def decide(self, view: View) -> Decision:
        """Allocate until there is no more."""
        held = []
        while True:
            held.append(np.empty(1 << 24))


@dataclass(frozen=True)
class Says:
    """Says the same whatever it sees."""

    name: str
    decision: Decision

    def decide(self, view: View) -> Decision:
        """Return what it always does."""
        return self.decision


UNKNOWN_GROUP = Says("unknown-group", Decision((Placement(77, 0, 1),)))
UNKNOWN_NODE = Says("unknown-node", Decision((Placement(0, 4096, 1),)))
NEGATIVE = Says("negative", Decision((Placement(0, 0, -3),)))
TOO_MANY = Says("too-many", Decision((Placement(0, 0, 1 << 40),)))
NO_NUMBER = Says("no-number", Decision((Placement(0, 0, math.nan),)))  # type: ignore[arg-type]
NO_TIME = Says("no-time", Decision((), (Reservation(0, 0, math.nan),)))
NOTHING = Says("nothing", Decision(()))


class Misfits:
    """Puts everything onto the first node, whether it fits or not."""

    name = "misfits"

    def decide(self, view: View) -> Decision:
        """Place all tasks of all groups."""
        return Decision(tuple(Placement(group.key, 0, group.count) for group in view.groups))


@dataclass(frozen=True)
class Unsure:
    """Decides as `fifo` and says something odd of it."""

    name: str
    doubt: str = ""
    score: float = 1.0
    propensity: float = 1.0

    def decide(self, view: View) -> Decision:
        """Decide as `fifo`."""
        return _FIFO.decide(view)

    def assess(self, view: View) -> Assessment:
        """Decide as `fifo`, and say something of it."""
        decision = _FIFO.decide(view)
        column = np.ones(len(decision.placements))
        sure = Assessment(decision, column * self.score, column * self.propensity, 0.4, 0.6)
        return replace(sure, doubt=self.doubt)


DRIFTS = Unsure("drifts", DRIFT)
DISAGREES = Unsure("disagrees", DISAGREEMENT)
NOT_A_SCORE = Unsure("not-a-score", score=math.nan)
NOT_LIKELY = Unsure("not-likely", propensity=1.5)
