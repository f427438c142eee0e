"""The guard: which answer counts, the policy's or the rule's, and what of it still holds; pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from farlane.errors import FarlaneError
from farlane.scheduler.assessment import DISAGREEMENT, DRIFT, Assessment
from farlane.scheduler.backfill import Backfill
from farlane.scheduler.board import Board, blocks
from farlane.scheduler.ordering import PATIENCE_S
from farlane.scheduler.policy import validate
from farlane.scheduler.view import Group, Ints, Placement, View


class Why(StrEnum):
    """Why the rule decided, or `POLICY` where the policy did; `RULE` where there is no policy beside it."""

    POLICY = "policy"
    RULE = "rule"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    FAILED = "failed"
    INVALID = "invalid"
    DRIFT = DRIFT
    DISAGREEMENT = DISAGREEMENT
    AGEING = "ageing"
    RESTING = "resting"
    STARTING = "starting"
    BUSY = "busy"


FAULTS = frozenset({Why.TIMEOUT, Why.CRASHED, Why.FAILED, Why.INVALID})
"""What counts against a policy: the others say something of the view or of the moment."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose decision counts, and why in words for people."""

    why: Why
    text: str = ""


def judge(view: View, answer: Assessment) -> Verdict:
    """Tell whether an answer counts, by the very view that was asked about."""
    try:
        validate(view, answer.decision)
    except FarlaneError as error:
        return Verdict(Why.INVALID, error.message)
    numbers = (answer.scores, answer.propensities, np.array([answer.drift, answer.disagreement]))
    if not all(np.isfinite(column).all() for column in numbers):
        return Verdict(Why.INVALID, "the policy's scores are not numbers")
    if ((answer.propensities <= 0) | (answer.propensities > 1)).any():
        return Verdict(Why.INVALID, "the policy's propensities are not in (0, 1]")
    if answer.doubt == DRIFT:
        text = f"{answer.drift:.0%} of what it looks at is unlike all that it was trained on"
        return Verdict(Why.DRIFT, text)
    if answer.doubt:
        text = f"its members disagree ({answer.disagreement:.0%} would choose otherwise)"
        return Verdict(Why.DISAGREEMENT, text)
    return Verdict(Why.POLICY)


def carried(
    placements: Iterable[Placement], asked: Mapping[int, Hashable], present: Mapping[Hashable, int]
) -> list[Placement]:
    """Return the placements with the present view's group keys; those whose group is gone are left out.

    Args:
        placements: with the keys of the view that was asked about. Node rows never change.
        asked: what each of those keys stands for.
        present: the present view's key for it.
    """
    kept = []
    for placement in placements:
        key = present.get(asked.get(placement.group, None))
        if key is not None:
            kept.append(placement._replace(group=key))
    return kept


def what_holds(
    view: View, placements: Iterable[Placement], *, sound: bool = False
) -> tuple[list[Placement], int, Group | None]:
    """Return what of a decision can be applied to a view, how many tasks cannot, and an aged group that it passes over.

    Tasks are taken off a placement until it fits. The oldest group that has waited for `PATIENCE_S` holds the node
    where it will fit first: nothing that would delay it there is kept (EASY). If it
    would fit at once and the decision places nothing of it, it is returned: a rule has to decide.

    Args:
        view: the present one.
        placements: with its group keys.
        sound: whether they are known to fit this very view.
    """
    placements = list(placements)
    board = Board(view)
    aged = _aged(view)
    if aged is not None and not any(each.group == aged.key for each in placements):
        candidates = board.candidates(aged)
        if candidates is not None and board.wanted(aged) > 0:
            if _fits(board, aged):
                return [], 0, aged
            Backfill(board).reserve(aged, candidates)
    if sound and not board.holds:
        return placements, 0, None
    return *_fitted(board, placements), None


def agreement(one: Iterable[Placement], other: Iterable[Placement]) -> float:
    """Return which share of tasks two decisions send to the same node, in [0, 1]; 1 where neither places any."""
    ours, theirs = _by_place(one), _by_place(other)
    most = max(sum(ours.values()), sum(theirs.values()))
    same = sum(min(count, theirs.get(place, 0)) for place, count in ours.items())
    return same / most if most else 1.0


def _fitted(board: Board, placements: list[Placement]) -> tuple[list[Placement], int]:
    view = board.view
    groups = {group.key: group for group in view.groups}
    left = {key: min(group.count, group.affordable) for key, group in groups.items()}
    kept: list[Placement] = []
    dropped = sum(each.count for each in placements)
    for key, option, nodes, counts in blocks(placements):
        group = groups[key]
        if option >= len(group.demands):
            continue
        room = board.room(group, option, group.eligible & view.nodes.online)
        if room is None:
            continue
        fit = _first(np.minimum(counts, room.total()[nodes]), min(left[key], board.wanted(group)))
        some = np.flatnonzero(fit)
        if len(some):
            board.take(group, option, nodes[some], fit[some])
            left[key] -= int(fit.sum())
            dropped -= int(fit.sum())
            pairs = zip(nodes[some].tolist(), fit[some].tolist(), strict=True)
            kept += [Placement(key, node, count, option) for node, count in pairs]
    return kept, dropped


def _first(counts: Ints, most: int) -> Ints:
    """Return counts cut off where their sum passes `most`."""
    before = np.cumsum(counts) - counts
    cut: Ints = np.clip(most - before, 0, counts)
    return cut


def _aged(view: View) -> Group | None:
    """Return the oldest of the groups that have waited so long that they go first under any policy."""
    old = [group for group in view.groups if view.now - group.since >= PATIENCE_S]
    return min(old, key=lambda group: (group.since, group.key), default=None)


def _fits(board: Board, group: Group) -> bool:
    candidates = board.candidates(group)
    return candidates is not None and any(
        (room := board.room(group, option, candidates)) is not None and room.now.any()
        for option in range(len(group.demands))
    )


def _by_place(placements: Iterable[Placement]) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for each in placements:
        place = each.group, each.node
        found[place] = found.get(place, 0) + each.count
    return found
