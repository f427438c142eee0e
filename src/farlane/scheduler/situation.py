"""The situation of one waiting group after a decision was applied: where it started, and what each node is to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from farlane.domain.ids import NodeId, job_text
from farlane.domain.units import bytes_text, seconds_text
from farlane.scheduler.backfill import earliest, releases
from farlane.scheduler.board import Board, blocks
from farlane.scheduler.eligibility import Obstacle, cores_text
from farlane.scheduler.view import CPU, DISK, FIRST_GPU, Bools, Decision, Group, Reservation, View


class Reason(StrEnum):
    """Why tasks do not run: of a group as a whole, or of one node. `AVOIDED` and `FREE` are only said of nodes."""

    STARTING = "starting"
    DEADLINE = "deadline"
    NO_NODES = "no-nodes"
    NOT_ELIGIBLE = "not-eligible"
    BUDGET = "budget"
    OFFLINE = "offline"
    HELD = "held"
    RESERVED = "reserved"
    BUSY = "busy"
    AVOIDED = "avoided"
    FREE = "free"


@dataclass(frozen=True, slots=True)
class NodeReason:
    """What one node is to a group."""

    node: NodeId
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Situation:
    """One group after a decision was applied.

    board: what is free then; obstacles: one a node row; candidates: (n,) bool nodes it may use now;
    placed: tasks started by node row; waiting: tasks that were not; fitting: rows on which one more would fit;
    own: its reservation; reserved: other groups' reservations by node row.
    """

    view: View
    group: Group
    board: Board
    obstacles: Sequence[Obstacle | None]
    candidates: Bools
    placed: Counter[int]
    waiting: int
    fitting: frozenset[int]
    own: Reservation | None
    reserved: dict[int, Reservation]

    def node_reasons(self) -> tuple[NodeReason, ...]:
        """Return what each node is to the group, in the view's order."""
        return tuple(NodeReason(node, *self._reason(row)) for row, node in enumerate(self.view.nodes.ids))

    def expected_at(self) -> float | None:
        """Return when one more task is expected to fit, in unix seconds; None when nothing tells."""
        if self.own is not None:
            return self.own.starts_at
        opening = earliest(self.board, self.group, self.candidates, releases(self.board))
        return None if opening is None else opening.at

    def after(self, at: float) -> str:
        """Return how long it is until then, for people."""
        return seconds_text(max(0.0, at - self.view.now))

    def job_of(self, reservation: Reservation) -> str:
        """Return the job a reservation is for, for people."""
        return next(job_text(group.job) for group in self.view.groups if group.key == reservation.group)

    def _reason(self, row: int) -> tuple[Reason, str]:
        found = self.obstacles[row]
        if found is not None:
            return Reason.NOT_ELIGIBLE, found.message
        if not self.group.eligible[row]:
            return Reason.BUDGET, "what is left of the budget does not cover a task here"
        if not self.view.nodes.online[row]:
            return Reason.OFFLINE, "offline or draining"
        if row in self.placed:
            return Reason.STARTING, f"{tasks_text(self.placed[row])} started here{self._lacks(row)}"
        if not self.candidates[row]:
            return Reason.AVOIDED, "an earlier attempt failed here; used only when no other node is left"
        if row not in self.fitting:
            return Reason.BUSY, self._shortage(row)
        if self.waiting > 0 and row in self.reserved:
            return Reason.RESERVED, self._held(self.reserved[row])
        return Reason.FREE, f"has room{self._lacks(row)}"

    def _lacks(self, row: int) -> str:
        """Say what a node lacks of what the task needs, where nodes differ in that; a byte stands for nobody knows."""
        if self.group.missing is None:
            return ""
        missing = int(self.group.missing[row])
        if missing > 1:
            return f"; would fetch up to {bytes_text(missing)}"
        return "; would fetch the model" if missing else "; has the model"

    def _shortage(self, row: int) -> str:
        """Say which resource is shortest, for the alternative that comes nearest."""
        free: list[int] = self.board.free[:, row].tolist()
        by_option = [
            max((1 - free[at] / wanted, at, wanted) for at, wanted in enumerate(demand) if wanted)
            for demand in self.group.demands.tolist()
        ]
        _, column, wanted = min(by_option)
        return (
            f"full: needs {self._amount(column, wanted)}, {self._amount(column, max(0, free[column]))} free"
        )

    def _amount(self, column: int, amount: int) -> str:
        if column == CPU:
            return cores_text(amount)
        if column <= DISK:
            return f"{bytes_text(amount)} of {'disk' if column == DISK else 'memory'}"
        return f"{amount} x {self.view.nodes.gpu_kinds[column - FIRST_GPU].model}"

    def _held(self, held: Reservation) -> str:
        return (
            f"has room, but {self.job_of(held)} is next here in {self.after(held.starts_at)} and a task started now "
            "might delay it"
        )


def situation(
    view: View, group: Group, obstacles: Sequence[Obstacle | None], decision: Decision
) -> Situation:
    """Apply a decision to its view and return where that leaves one group."""
    board, groups = Board(view), {each.key: each for each in view.groups}
    for key, option, nodes, counts in blocks(decision.placements):
        board.take(groups[key], option, nodes, counts)
    placed: Counter[int] = Counter()
    for placement in decision.placements:
        if placement.group == group.key:
            placed[placement.node] += placement.count
    found = board.candidates(group)
    candidates = np.zeros(len(view.nodes.ids), np.bool_) if found is None else found
    return Situation(
        view, group, board, obstacles, candidates, placed,
        board.wanted(group, placed.total()), _fitting(board, group, candidates),
        next((each for each in decision.reservations if each.group == group.key), None),
        {each.node: each for each in decision.reservations if each.group != group.key},
    )  # fmt: skip


def tasks_text(count: int) -> str:
    """Return a number of tasks for people."""
    return "1 task" if count == 1 else f"{count} tasks"


def _fitting(board: Board, group: Group, candidates: Bools) -> frozenset[int]:
    rooms = [board.room(group, option, candidates) for option in range(len(group.demands))]
    return frozenset(int(row) for room in rooms if room is not None for row in np.flatnonzero(room.now))
