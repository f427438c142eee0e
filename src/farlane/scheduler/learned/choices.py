"""One round of the learned policy: scores of a view's groups, who waits, and the rule that shares tasks over nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from farlane.scheduler.board import Board
from farlane.scheduler.heuristics import Heuristic
from farlane.scheduler.learned.ensemble import Ensemble, TaskScores
from farlane.scheduler.learned.filling import fill
from farlane.scheduler.learned.pairing import Pairing, Usual, usual
from farlane.scheduler.learned.view_features import Matrix, TaskView, node_view, task_view
from farlane.scheduler.ordering import MAX_PRIORITY, PATIENCE_S
from farlane.scheduler.sharing import Places
from farlane.scheduler.view import Bools, Decision, Floats, Group, Ints, View

NAME = "learned"
MAX_WAIT_S = 60.0
"""Nothing is left waiting for a better moment for longer than this, counted from when it was queued."""
PRIORITY_SPREADS = 6.0
"""What a hundred points of declared priority add to a score, in standard deviations of the scores of what waits.

So priority pulls as strongly whatever scale the scores have, and of two groups that score alike the higher goes first.
Waiting adds nothing to it as it does under the rules: the scores see it.
"""


@dataclass(frozen=True, slots=True)
class NodeChoice:
    """How one group's places were rated before any of them got a task.

    places: what there was; p, y: (q, P) and (q, N) features; members: (m, q) scores.
    """

    group: Group
    places: Places
    p: Matrix
    y: Matrix
    members: Matrix


def aged(group: Group, now: float) -> bool:
    """Tell whether a group has waited so long, `PATIENCE_S`, that neither score nor priority counts any more."""
    return now - group.since >= PATIENCE_S


class Round:
    """What is computed of one view, once.

    Args:
        ensemble: who scores.
        view: of this round.
        on_choice: hears of each choice between nodes.
    """

    def __init__(
        self, ensemble: Ensemble, view: View, on_choice: Callable[[NodeChoice], None] | None = None
    ) -> None:
        self.view, self.ensemble, self._on_choice = view, ensemble, on_choice
        self.seen: TaskView = task_view(view)
        self.scores: TaskScores = ensemble.tasks(self.seen)
        self.sound = bool(np.isfinite(self.scores.members).all())
        """Whether all scores of groups are numbers; those that are none count as the lowest."""
        if not self.sound:
            self.scores = replace(self.scores, mean=_numbers(self.scores.mean))
        self.pulls: Floats = self._pulled()
        """What declared priority adds to each group's score: (G,)."""
        self._rows = {group.key: at for at, group in enumerate(view.groups)}
        self._y: Matrix | None = None
        self._kinds: Usual | None = None

    def row(self, group: Group) -> int:
        """Return a group's place in the view."""
        return self._rows[group.key]

    def row_of(self, key: int) -> int:
        """Return the place of the group of a key."""
        return self._rows[key]

    def _pulled(self) -> Floats:
        sure = self.scores.mean[np.isfinite(self.scores.members).all(axis=0)].astype(np.float64)
        points = np.array([group.priority for group in self.view.groups], np.float64)
        spread = float(sure.std()) if len(sure) else 0.0
        pulls: Floats = points * (PRIORITY_SPREADS * spread / MAX_PRIORITY)
        return pulls

    def order(self) -> list[Group]:
        """Return all groups: the aged by age, then by score with the pull of priority, by priority, the usual ties."""
        now, key = self.view.now, (self.scores.mean + self.pulls).tolist()

        def place_in_order(group: Group) -> tuple[float, ...]:
            if aged(group, now):
                return (0.0, group.since, group.key)
            deadline = np.inf if group.deadline_at is None else group.deadline_at
            return (1.0, -key[self._rows[group.key]], -group.priority, deadline, group.since, group.key)

        return sorted(self.view.groups, key=place_in_order)

    def leading(self) -> list[Group]:
        """Return the groups between which scores decided who is first, the first in front: none where age did."""
        order = [group for group in self.order() if group.count > 0]
        if not order or aged(order[0], self.view.now):
            return []
        return order

    def held(self) -> Bools:
        """Return the groups that wait because the network says so: (G,) bool.

        It says so where it scores waiting above the group. That counts only for `MAX_WAIT_S` after the group was
        queued, not where a deadline would come too close, and only while a lease in force on a node that the group
        could use will end: there is something to wait for.
        """
        view = self.view
        held = np.asarray(self.scores.mean < self.scores.wait)
        if not held.any():
            return held
        busy = np.zeros(len(view.nodes.ids), np.bool_)
        busy[view.running.node] = True
        for at in np.flatnonzero(held).tolist():
            group = view.groups[at]
            slack = np.inf if group.deadline_at is None else group.deadline_at - view.now - group.timeout_s
            held[at] = (
                view.now - group.since < MAX_WAIT_S
                and slack > MAX_WAIT_S
                and bool((busy & group.eligible & view.nodes.online).any())
            )
        return held

    def rule(self, board: Board, group: Group, places: Places, count: int) -> Ints:
        """Share tasks over places by the node head's scores; a `sharing.Rule`."""
        pairing = self.pairing(board, group, places)
        embedded = self.embedded(group)

        def score(at: Ints, given: Ints) -> Matrix:
            p, y = pairing.features(at, given)
            members = self.ensemble.nodes(embedded, p, y, self.seen.g)
            if self._on_choice is not None and len(at) == len(places.node) and not given.any():
                self._on_choice(NodeChoice(group, places, p, y, members))
            mean: Matrix = members.mean(axis=0)
            return mean if np.isfinite(mean).all() else _numbers(mean)

        return fill(score, places.room, count)

    def pairing(self, board: Board, group: Group, places: Places) -> Pairing:
        """Return the features of a group on places."""
        if self._y is None:
            self._y, self._kinds = node_view(self.view), usual(self.view)
        return Pairing(board, group, places, self._kinds, self._y)

    def embedded(self, group: Group) -> list[Matrix]:
        """Return a group's embedding by each member."""
        return [inner[self._rows[group.key]] for inner in self.scores.embedded]


def serve(a_round: Round) -> Decision:
    """Return what a round comes to: every group in order but those that wait by choice."""
    held = a_round.held()

    def order(_view: View) -> list[Group]:
        every = a_round.order()
        return [group for group in every if not held[a_round.row(group)]] if held.any() else every

    return Heuristic(NAME, order, a_round.rule).decide(a_round.view)


def _numbers(scores: Matrix) -> Matrix:
    """Return scores with the lowest number in place of those that are none."""
    least = float(np.finfo(np.float32).min)
    found: Matrix = np.nan_to_num(scores, nan=least, posinf=least, neginf=least)
    return found
