"""The policy port: a pure function from a view to a decision, the known ones by name, and the check of what it says."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from farlane.errors import Internal, InvalidSetting
from farlane.kit.suggestions import hint
from farlane.scheduler.board import Board, blocks
from farlane.scheduler.heuristics import HEURISTICS
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.view import Decision, Group, Ints, Placement, Reservation, View


class Policy(Protocol):
    """Decides what runs where. Pure: equal views give equal decisions."""

    @property
    def name(self) -> str:
        """The name by which it is chosen."""
        ...

    def decide(self, view: View) -> Decision:
        """Return placements, in the order in which they are to be applied, and reservations."""
        ...


POLICIES: dict[str, Policy] = {policy.name: policy for policy in (*HEURISTICS, LearnedPolicy())}
"""Every policy that can be named in the settings."""


def policy_named(name: str) -> Policy:
    """Return a policy by its name.

    Raises:
        InvalidSetting: no policy has that name; the message names the nearest.
    """
    found = POLICIES.get(name)
    if found is None:
        raise InvalidSetting(
            f"{name!r} is not a placement policy; {hint(name, POLICIES)}", setting="policy", value=name
        )
    return found


def validate(view: View, decision: Decision) -> Decision:
    """Return the decision if it can be applied to the view, in its order.

    Raises:
        Internal: it places an unknown group, more tasks than are ready or affordable, on a node that is unknown,
            offline or not eligible, or more than free resources and the queue-ahead allowance hold, or than is left
            of a shared limit.
    """
    groups = {group.key: group for group in view.groups}
    left = {key: min(group.count, group.affordable) for key, group in groups.items()}
    board = Board(view)
    _check_placements(view, decision.placements)
    for key, option, nodes, counts in blocks(decision.placements):
        group = groups.get(key)
        if group is None:
            raise Internal(f"the policy placed group {key}, which is not in the view")
        left[key] -= int(counts.sum())
        if left[key] < 0:
            raise Internal(
                f"the policy placed {-left[key]} tasks of group {key} more than are ready and affordable"
            )
        _check_nodes(view, group, option, nodes)
        _check_room(board, group, option, nodes, counts)
        board.take(group, option, nodes, counts)
    if min(board.left, default=0) < 0:
        raise Internal("the policy placed more than a budget or quota that groups share has left")
    for reservation in decision.reservations:
        _check_reservation(view, groups, reservation)
    return decision


def _check_placements(view: View, placements: tuple[Placement, ...]) -> None:
    rows = len(view.nodes.ids)
    for placement in placements:
        if placement.count < 1 or not 0 <= placement.node < rows:
            raise Internal(
                f"the policy decided {placement}; expected a count of at least 1 on a node row below {rows}"
            )


def _check_nodes(view: View, group: Group, option: int, nodes: Ints) -> None:
    if not 0 <= option < len(group.demands):
        raise Internal(
            f"the policy used demand {option} of group {group.key}, which has {len(group.demands)}"
        )
    usable = group.eligible & view.nodes.online
    if group.allowed is not None:
        usable &= group.allowed[option]
    wrong = nodes[~usable[nodes]]
    if len(wrong):
        raise Internal(
            f"the policy placed group {group.key} on {view.nodes.ids[int(wrong[0])]}, "
            "which is offline, draining or not eligible"
        )


def _check_room(board: Board, group: Group, option: int, nodes: Ints, counts: Ints) -> None:
    room = board.room(group, option, board.view.nodes.online)
    most = np.zeros(len(board.view.nodes.ids), np.int64) if room is None else room.total()
    over = np.flatnonzero(counts > most[nodes])
    if len(over):
        at = int(over[0])
        raise Internal(
            f"the policy placed {int(counts[at])} tasks of group {group.key} on "
            f"{board.view.nodes.ids[int(nodes[at])]}, which has room for {int(most[nodes[at]])}"
        )


def _check_reservation(view: View, groups: dict[int, Group], reservation: Reservation) -> None:
    known = reservation.group in groups and 0 <= reservation.node < len(view.nodes.ids)
    if not known or not np.isfinite(reservation.starts_at):
        raise Internal(f"the policy made a reservation that means nothing: {reservation}")
