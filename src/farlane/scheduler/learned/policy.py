"""The learned policy: groups by the task head's score within guards, nodes by the node head's; see the policy port."""

from __future__ import annotations

from collections.abc import Callable

from farlane.domain.ids import NodeId
from farlane.scheduler.assessment import Assessment
from farlane.scheduler.learned.assessing import assess
from farlane.scheduler.learned.choices import MAX_WAIT_S, NAME, NodeChoice, Round, serve
from farlane.scheduler.learned.ensemble import Ensemble
from farlane.scheduler.learned.shipped import shipped_ensemble
from farlane.scheduler.learned.weighing import weigh
from farlane.scheduler.view import Decision, Group, View


class LearnedPolicy:
    """A policy that scores, inside the same guards as every rule.

    Feasibility is exact (`Board`), a blocked group reserves a node (`Backfill`), declared priority pulls at scores
    (`choices.PRIORITY_SPREADS`), and work that has waited long enough comes before everything (`choices.aged`):
    whatever the weights are, nothing is placed where it must not go and nothing starves.

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
        return serve(Round(self.ensemble, view))

    def assess(self, view: View) -> Assessment:
        """Return what `decide` would, how sure the networks are of it, and how likely each choice was."""
        choices: list[NodeChoice] = []
        a_round = Round(self.ensemble, view, choices.append)
        return assess(a_round, serve(a_round), choices)

    def order(self, view: View) -> list[Group]:
        """Return the view's groups, the one to serve first in front; also those that are left waiting."""
        return Round(self.ensemble, view).order()

    def weigh(
        self, view: View, key: int, name: Callable[[NodeId], str], node: int | None = None
    ) -> tuple[str, ...]:
        """Return what it weighs of one group on a view, in sentences; see `weighing.weigh`."""
        return weigh(self.ensemble, view, key, name, node)

    def held_s(self, view: View, key: int) -> float:
        """Return for how long, at most, the networks leave a group waiting that could start; 0 where they do not."""
        a_round = Round(self.ensemble, view)
        at = a_round.row_of(key)
        return max(0.0, MAX_WAIT_S - (view.now - view.groups[at].since)) if a_round.held()[at] else 0.0
