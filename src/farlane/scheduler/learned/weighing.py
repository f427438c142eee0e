"""Weighing: what the policy weighed in one choice, as terms and in words, against the next best group and node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farlane.domain.ids import NodeId, job_text
from farlane.domain.units import seconds_text
from farlane.scheduler.learned.attribution import Vector, node_parts, task_parts
from farlane.scheduler.learned.choices import NodeChoice, Round, aged, serve
from farlane.scheduler.learned.ensemble import FEATURES, Ensemble
from farlane.scheduler.learned.view_features import Matrix
from farlane.scheduler.learned.wording import words
from farlane.scheduler.view import Group, View

LEAST = 0.08
"""What is below this share of all that was weighed are not named."""

_PRIORITY = FEATURES["task"].index("priority")


@dataclass(frozen=True, slots=True)
class Term:
    """One feature's part in a choice.

    kind, name: of the feature; part: by how much it raises the chosen one's score above the other's; text: what the
    difference means, in words.
    """

    kind: str
    name: str
    part: float
    text: str


@dataclass(frozen=True, slots=True)
class Weighed:
    """A choice between two alternatives: who was chosen, who was next, by how much, and which features made it.

    The terms sum to the lead, the greatest first.
    """

    chosen: str
    other: str
    lead: float
    terms: tuple[Term, ...]

    def sentence(self) -> str:
        """Return the choice for people: `A before B: less work expected (+0.31); but dearer (-0.02)`."""
        by_text: dict[str, float] = {}
        for term in self.terms:
            by_text[term.text] = by_text.get(term.text, 0.0) + term.part
        total = sum(map(abs, by_text.values()))
        named = sorted(
            ((part, text) for text, part in by_text.items() if part and abs(part) >= LEAST * total),
            key=lambda each: -abs(each[0]),
        )
        sides = [
            ", ".join(f"{text} ({part:+.2f})" for part, text in named if (part > 0) == favour)
            for favour in (True, False)
        ]
        told = "; but ".join(side for side in sides if side) or "they score the same"
        return f"{self.chosen} before {self.other}: {told}"


def weigh_group(a_round: Round, group: Group) -> list[str]:
    """Return why a group is where it is in the order, in sentences."""
    order, now = a_round.order(), a_round.view.now
    at = next(at for at, each in enumerate(order) if each.key == group.key)
    if aged(group, now):
        return [
            f"it has waited {seconds_text(now - group.since)}: work this old goes first, the oldest in front"
        ]
    told = []
    if a_round.held()[row := a_round.row(group)]:
        lead = a_round.scores.wait - float(a_round.scores.mean[row])
        told.append(f"waiting before {_job(group)}: the networks expect a better moment ({lead:+.2f})")
    if at > 0:
        rival = order[at - 1]
        if aged(rival, now):
            told.append("work that has waited for very long goes first")
        else:
            told.append(weighed_groups(a_round, rival, group).sentence())
    elif len(order) > 1:
        told.append(weighed_groups(a_round, group, order[1]).sentence())
    return told


def weigh(
    ensemble: Ensemble, view: View, key: int, name: Callable[[NodeId], str], node: int | None = None
) -> tuple[str, ...]:
    """Return what the policy weighs of one group, in sentences: its turn, and its node where there is a choice.

    Args:
        ensemble: whose scores.
        view: of the moment.
        key: the group's, which is in the view.
        name: of a node, for people.
        node: row of the one to explain; None: the best.
    """
    choices: list[NodeChoice] = []
    a_round = Round(ensemble, view, choices.append)
    group = view.groups[a_round.row_of(key)]
    serve(a_round)
    told = weigh_group(a_round, group)
    for choice in choices:
        if choice.group.key == key and (found := weighed_nodes(a_round, choice, name, node)) is not None:
            told.append(found.sentence())
    return tuple(told)


def weighed_groups(a_round: Round, chosen: Group, other: Group) -> Weighed:
    """Return what put one group before another; priority counts with its pull."""
    first, second = a_round.row(chosen), a_round.row(other)
    x, scores = a_round.seen.x, a_round.scores.mean + a_round.pulls
    parts = task_parts(a_round.ensemble, a_round.seen, first, second)
    parts[_PRIORITY] += a_round.pulls[first] - a_round.pulls[second]
    terms = _terms("task", parts, x[first], x[second])
    return Weighed(_job(chosen), _job(other), float(scores[first] - scores[second]), _sorted(terms))


def weighed_nodes(
    a_round: Round, choice: NodeChoice, name: Callable[[NodeId], str], node: int | None = None
) -> Weighed | None:
    """Return what put one node before the next best for a group; None where there is no other.

    Args:
        a_round: of the choice.
        choice: as it was made.
        name: of a node, for people.
        node: row of the one to explain; None: the best.
    """
    mean = choice.members.mean(axis=0)
    if len(mean) < 2:
        return None
    chosen = int(np.argmax(mean))
    if node is not None and (there := np.flatnonzero(choice.places.node == node)).size:
        chosen = int(there[0])
    others = mean.astype(np.float64)
    others[chosen] = -np.inf
    other = int(np.argmax(others))
    by_pair, by_node = node_parts(
        a_round.ensemble, a_round.embedded(choice.group), choice.p, choice.y, a_round.seen.g, chosen, other
    )
    terms = _terms("pair", by_pair, choice.p[chosen], choice.p[other])
    terms += _terms("node", by_node, choice.y[chosen], choice.y[other])
    ids = a_round.view.nodes.ids
    first, second = (name(ids[int(choice.places.node[at])]) for at in (chosen, other))
    return Weighed(first, second, float(mean[chosen] - mean[other]), _sorted(terms))


def _terms(kind: str, parts: Vector, chosen: Matrix, other: Matrix) -> list[Term]:
    """Return the parts as terms."""
    return [
        Term(kind, name, float(part), words(kind, name, float(has), float(lacks)))
        for name, part, has, lacks in zip(FEATURES[kind], parts, chosen, other, strict=True)
    ]


def _sorted(terms: list[Term]) -> tuple[Term, ...]:
    return tuple(sorted(terms, key=lambda term: -abs(term.part)))


def _job(group: Group) -> str:
    return job_text(group.job)
