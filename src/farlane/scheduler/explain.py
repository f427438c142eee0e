"""Explaining: why a group waits, as one dominant reason, a reason for each node and what would fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol, runtime_checkable

from farlane.domain.ids import NodeId
from farlane.domain.units import seconds_text
from farlane.errors import NotFound
from farlane.scheduler.eligibility import Obstacle
from farlane.scheduler.ordering import Order, fifo_order
from farlane.scheduler.situation import NodeReason, Reason, Situation, situation, tasks_text
from farlane.scheduler.view import Decision, Group, View

_NAMED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a group waits: one dominant reason, what would fix it, and every node's part.

    expected_at: when room is expected, in unix seconds, None when unknown; ahead: tasks served before it.
    """

    reason: Reason
    dominant: str
    fix: str
    per_node: tuple[NodeReason, ...]
    expected_at: float | None = None
    ahead: int = 0


@runtime_checkable
class Weighing(Protocol):
    """A policy that can tell what it weighs."""

    def order(self, view: View) -> list[Group]:
        """Return the view's groups, the one to serve first in front."""
        ...

    def weigh(
        self, view: View, key: int, name: Callable[[NodeId], str], node: int | None = None
    ) -> tuple[str, ...]:
        """Return what it weighs of a group's turn and node, in sentences.

        name: of a node, for people; node: row of the one to explain, None: the one it would choose.
        """
        ...

    def held_s(self, view: View, key: int) -> float:
        """Return for how long, at most, it leaves a group waiting that could start; 0 where it does not."""
        ...


def explain(
    view: View,
    key: int,
    obstacles: Sequence[Obstacle | None],
    decision: Decision,
    order: Order = fifo_order,
    held_s: float = 0.0,
) -> Explanation:
    """Explain a group's situation in a view, given what a policy decided on it.

    Args:
        view: the snapshot.
        key: the group's key.
        obstacles: one a node row, as `eligibility.first_obstacle` finds them.
        decision: what the policy decided on this very view.
        order: the policy's ordering, for who is ahead.
        held_s: for how long, at most, the policy leaves the group waiting by choice.

    Raises:
        NotFound: no such group in the view, so nothing of it is waiting.
    """
    group = next((group for group in view.groups if group.key == key), None)
    if group is None:
        raise NotFound(
            f"no tasks of group {key} are waiting; expected the key of a group in the view", group=key
        )
    case = situation(view, group, obstacles, decision)
    nodes = case.node_reasons()
    return (
        _never(case, nodes)
        or _offline(case, nodes)
        or _held(case, nodes, held_s)
        or _started(case, nodes)
        or _waiting(case, nodes, order)
    )


def _never(case: Situation, nodes: tuple[NodeReason, ...]) -> Explanation | None:
    """Explain a group that no amount of free resources would help."""
    group, now = case.group, case.view.now
    if group.deadline_at is not None and group.deadline_at <= now:
        late = seconds_text(now - group.deadline_at)
        fix = "submit it again with a later deadline"
        return Explanation(Reason.DEADLINE, f"the deadline passed {late} ago", fix, nodes)
    if not nodes:
        fix = "add one: `farlane join` on the machine that should become a node"
        return Explanation(Reason.NO_NODES, "the network has no nodes", fix, nodes)
    if None not in case.obstacles:
        return _not_eligible(case, nodes)
    if group.affordable <= 0 or not group.eligible.any():
        fix = "raise the budget, or lower the time-out or the resources, which bound what one task can cost"
        return Explanation(
            Reason.BUDGET, "what is left of the budget does not cover another task", fix, nodes
        )
    return None


def _not_eligible(case: Situation, nodes: tuple[NodeReason, ...]) -> Explanation:
    """Name the most frequent obstacle, told of the node that comes nearest."""
    found = [obstacle for obstacle in case.obstacles if obstacle is not None]
    kind, count = Counter(obstacle.kind for obstacle in found).most_common(1)[0]
    nearest = max((obstacle for obstacle in found if obstacle.kind == kind), key=_nearness)
    rest = "" if count == len(found) else f" ({kind}: {count} of {len(found)} nodes)"
    return Explanation(
        Reason.NOT_ELIGIBLE, f"no node could run this: {nearest.message}{rest}", nearest.fix, nodes
    )


def _nearness(obstacle: Obstacle) -> float:
    return obstacle.nearness


def _offline(case: Situation, nodes: tuple[NodeReason, ...]) -> Explanation | None:
    if case.candidates.any():
        return None
    gone = [each.node for each in nodes if each.reason is Reason.OFFLINE]
    names = ", ".join(gone[:_NAMED_AT_MOST]) + (", ..." if len(gone) > _NAMED_AT_MOST else "")
    return Explanation(
        Reason.OFFLINE,
        f"every node that could run this is offline or draining ({names})",
        "start one of them again, or add a node like them",
        nodes,
    )


def _held(case: Situation, nodes: tuple[NodeReason, ...], held_s: float) -> Explanation | None:
    """Explain a group that could start and is left waiting by choice."""
    if held_s <= 0 or case.placed or not case.fitting:
        return None
    text = f"the policy leaves it waiting for a better moment, for {seconds_text(held_s)} at most"
    fix = "nothing needs fixing; a deadline or a higher priority makes it start sooner"
    return Explanation(Reason.HELD, text, fix, nodes, case.view.now + held_s)


def _started(case: Situation, nodes: tuple[NodeReason, ...]) -> Explanation | None:
    if case.waiting <= 0 and not case.placed:
        text = "what is left of a budget or quota goes to tasks ahead of it"
        return Explanation(Reason.BUDGET, text, "wait for them, or raise the budget or quota", nodes)
    if case.waiting <= 0:
        text = f"{tasks_text(case.placed.total())} started in this round"
        return Explanation(Reason.STARTING, text, "nothing needs fixing", nodes)
    if case.fitting - case.reserved.keys():
        text = f"there is room on {len(case.fitting)} of {len(nodes)} nodes"
        return Explanation(Reason.STARTING, text, "nothing needs fixing: it starts in the next round", nodes)
    return None


def _waiting(case: Situation, nodes: tuple[NodeReason, ...], order: Order) -> Explanation:
    """Explain a group that runs when there is room for it."""
    ahead = _ahead(case, order)
    started = case.placed.total()
    lead = (
        f"{tasks_text(started)} started in this round, {tasks_text(case.waiting)} wait: " if started else ""
    )
    if case.fitting:
        first = min((case.reserved[row] for row in case.fitting), key=lambda held: held.starts_at)
        when = case.after(first.starts_at)
        text = f"{lead}the nodes with room are reserved; {case.job_of(first)} is next there in {when}"
        fix = f"declare a run time or time-out below {when}, raise the priority, or add a node"
        return Explanation(Reason.RESERVED, text, fix, nodes, first.starts_at, ahead)
    expected_at = case.expected_at()
    when = "" if expected_at is None else f"; room is expected in {case.after(expected_at)}"
    text = f"{lead}all nodes that could run this are full, {tasks_text(ahead)} ahead{when}"
    fix = "wait, raise the priority, ask for less, or add a node"
    return Explanation(Reason.BUSY, text, fix, nodes, expected_at, ahead)


def _ahead(case: Situation, order: Order) -> int:
    """Return how many ready tasks are served before the group's."""
    before = takewhile(lambda group: group.key != case.group.key, order(case.view))
    return sum(max(0, min(group.count, group.affordable)) for group in before)
