"""Assessment: a decision with what a policy thinks of it, for policies that weigh their choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.view import Decision, Floats, View

if TYPE_CHECKING:  # the learned policy makes assessments and is itself among the known ones
    from farlane.scheduler.policy import Policy

DRIFT, DISAGREEMENT = "drift", "disagreement"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a policy decided and how sure it is. m placements, f features.

    scores: (m,) float64, how each placement was rated, higher is better; propensities: (m,) float64 in (0, 1], how
    likely the policy was to choose it; features: (m, f) float32 of what was chosen, named by `names`;
    drift: share of the view's features outside of what the policy was trained on, in [0, 1]; disagreement: share of
    the ensemble's members that would have chosen otherwise, in [0, 1]; doubt: `drift`, `disagreement` or empty:
    why the policy asks that a rule decides instead.
    """

    decision: Decision
    scores: Floats
    propensities: Floats
    drift: float = 0.0
    disagreement: float = 0.0
    doubt: str = ""
    features: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    names: tuple[str, ...] = ()


@runtime_checkable
class Assessing(Protocol):
    """A policy that can tell how sure it is."""

    def assess(self, view: View) -> Assessment:
        """Return what `decide` would, and what the policy thinks of it."""
        ...


def assess(policy: Policy, view: View) -> Assessment:
    """Return a policy's assessment; one that does not weigh its choices is sure of all of them."""
    if isinstance(policy, Assessing):
        return policy.assess(view)
    decision = policy.decide(view)
    count = len(decision.placements)
    return Assessment(decision, np.zeros(count), np.ones(count))
