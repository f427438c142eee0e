"""The learned policy: groups by the task head's score within guards, nodes by the node head's; see the policy port."""

from __future__ import annotations

from farlane.scheduler.assessment import Assessment
from farlane.scheduler.heuristics import Heuristic
from farlane.scheduler.learned.assessing import assess
from farlane.scheduler.learned.choices import NodeChoice, Round
from farlane.scheduler.learned.ensemble import Ensemble
from farlane.scheduler.learned.shipped import shipped_ensemble
from farlane.scheduler.view import Decision, Group, View

NAME = "learned"


class LearnedPolicy:
    """A policy that scores, inside the same guards as every rule.

    Feasibility is exact (`Board`), a blocked group reserves a node (`Backfill`), bands of effective priority come
    before scores, and work that has waited long enough comes before everything (`choices.aged`): whatever the weights
    are, nothing is placed where it must not go and nothing starves.

    Args:
        ensemble: networks that score; None: the shipped ones, read when they are first needed.
    """

    name = NAME

    def __init__(self, ensemble: Ensemble | None = None) -> None:
        self._ensemble = ensemble

    @property
    def ensemble(self) -> Ensemble:
        """The networks that score."""
        if self._ensemble is None:
            self._ensemble = shipped_ensemble()
        return self._ensemble

    def decide(self, view: View) -> Decision:
        """Return placements and reservations for every group of the view."""
        return decide(Round(self.ensemble, view))

    def assess(self, view: View) -> Assessment:
        """Return what `decide` would, how sure the networks are of it, and how likely each choice was."""
        choices: list[NodeChoice] = []
        a_round = Round(self.ensemble, view, choices.append)
        return assess(a_round, decide(a_round), choices)

    def order(self, view: View) -> list[Group]:
        """Return the view's groups, the one to serve first in front; also those that are left waiting."""
        return Round(self.ensemble, view).order()


def decide(a_round: Round) -> Decision:
    """Return what a round comes to: every group in order but those that wait by choice."""
    held = a_round.held()

    def serve(_view: View) -> list[Group]:
        order = a_round.order()
        return [group for group in order if not held[a_round.row(group)]] if held.any() else order

    return Heuristic(NAME, serve, a_round.rule).decide(a_round.view)
