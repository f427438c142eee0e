"""Assessing: how sure the learned policy is of one decision, and how likely each of its choices was."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.assessment import DISAGREEMENT, DRIFT, Assessment
from farlane.scheduler.learned.choices import NodeChoice, Round, aged
from farlane.scheduler.learned.confidence import (
    LEAST_PROPENSITY,
    MAX_DISAGREEMENT,
    MAX_DRIFT,
    disagreement,
    drift,
    outside,
    propensities,
)
from farlane.scheduler.learned.ensemble import FEATURES
from farlane.scheduler.view import Decision, Floats, Group

LOGGED = 4096
"""Features are told of decisions with at most so many placements; larger ones tell none."""
NAMES = tuple(f"{kind}.{name}" for kind, names in FEATURES.items() for name in names)
"""Names of the features that are told of each placement."""


def assess(a_round: Round, decision: Decision, choices: list[NodeChoice]) -> Assessment:
    """Return how a round's decision was weighed.

    A placement's propensity is that of its group among those that were left (Plackett and Luce's model of
    an order) times that of its node among the group's places, both by softmax; it is 1 where guards left no choice.

    Args:
        a_round: of which the decision is.
        decision: what it came to.
        choices: between nodes, in the order in which they were made.
    """
    by_group = {choice.group.key: choice for choice in choices}
    likely = _order_propensities(a_round)
    scores = np.empty(len(decision.placements))
    chances = np.empty(len(decision.placements))
    places = {
        key: (
            choice.members.mean(axis=0),
            dict(zip(choice.places.node.tolist(), range(len(choice.places.node)), strict=True)),
        )
        for key, choice in by_group.items()
    }
    on_nodes = {key: propensities(mean) for key, (mean, _) in places.items()}
    for at, placement in enumerate(decision.placements):
        key = placement.group
        scores[at], chances[at] = a_round.scores.mean[a_round.row_of(key)], likely[key]
        if key in places:
            mean, index = places[key]
            place = index.get(placement.node)
            # Tasks that queue ahead go where there was no free room to choose.
            if place is not None:
                scores[at] = mean[place]
                chances[at] *= on_nodes[key][place]
    strange, against = _drift(a_round, choices), _disagreement(a_round, choices)
    if not (np.isfinite(scores).all() and a_round.sound):
        strange = 1.0
    doubt = DRIFT if strange > MAX_DRIFT else DISAGREEMENT if against > MAX_DISAGREEMENT else ""
    features, names = _features(a_round, decision, places, by_group)
    scores = np.nan_to_num(scores)
    return Assessment(decision, scores, chances, strange, against, doubt, features, names)


def _order_propensities(a_round: Round) -> dict[int, float]:
    """Return how likely each group was to be next when it was, among those left; by key."""
    now = a_round.view.now
    likely: dict[int, float] = {}
    free: list[Group] = []
    held = a_round.held()
    for group in a_round.order():
        likely[group.key] = 1.0
        if not aged(group, now) and not held[a_round.row(group)]:
            free.append(group)
    rows = [a_round.row(group) for group in free]
    scores = a_round.scores.mean[rows] + a_round.pulls[rows]
    left = np.logaddexp.accumulate(scores[::-1])[::-1]
    chances = np.maximum(np.exp(scores - left), LEAST_PROPENSITY).tolist()
    for group, chance in zip(free, chances, strict=True):
        likely[group.key] = min(1.0, chance)
    return likely


def _drift(a_round: Round, choices: list[NodeChoice]) -> float:
    bounds, seen = a_round.ensemble.bounds, a_round.seen
    parts: list[Floats] = []
    if len(seen.x):
        parts = [outside(seen.x, bounds["task"]), outside(seen.g[None], bounds["global"])]
    if choices:
        parts.append(outside(np.concatenate([choice.y for choice in choices]), bounds["node"]))
        parts.append(outside(np.concatenate([choice.p for choice in choices]), bounds["pair"]))
    return drift(parts)


def _disagreement(a_round: Round, choices: list[NodeChoice]) -> float:
    """Return the mean share of members against a choice: the first group, and each group's first node."""
    shares = [disagreement(choice.members, int(np.argmax(choice.members.mean(axis=0)))) for choice in choices]
    rows = [a_round.row(group) for group in a_round.leading()]
    if len(rows) > 1:
        shares.append(disagreement(a_round.scores.members[:, rows] + a_round.pulls[rows], 0))
    return float(np.mean(shares)) if shares else 0.0


def _features(
    a_round: Round,
    decision: Decision,
    places: dict[int, tuple[np.ndarray[tuple[int], np.dtype[np.float32]], dict[int, int]]],
    by_group: dict[int, NodeChoice],
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], tuple[str, ...]]:
    """Return the features of each placement, zeros for pair and node where there was no choice."""
    count = len(decision.placements)
    if not 0 < count <= LOGGED:
        return np.zeros((0, 0), np.float32), ()
    found = np.zeros((count, len(NAMES)), np.float32)
    x, g = a_round.seen.x, a_round.seen.g
    first = x.shape[1] + len(g)
    for at, placement in enumerate(decision.placements):
        found[at, : x.shape[1]] = x[a_round.row_of(placement.group)]
        found[at, x.shape[1] : first] = g
        place = places[placement.group][1].get(placement.node) if placement.group in places else None
        if place is not None:
            choice = by_group[placement.group]
            found[at, first:] = np.concatenate([choice.y[place], choice.p[place]])
    return found, NAMES
