"""Backfill: a blocked group reserves the node where it will fit earliest; smaller work may pass but not delay it.

EASY backfilling (Mu'alem and Feitelson 2001) with resource vectors instead of processors and one reservation a
node: a later task may use a reserved node if it ends before the reservation starts, or if it takes only what will be
left over then. Run times are estimates where there are any (Tsafrir et al. 2007), else the time-outs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.scheduler.board import Board, Hold
from farlane.scheduler.ordering import duration_bound
from farlane.scheduler.queue_ahead import remaining_s
from farlane.scheduler.view import Bools, Floats, Group, Ints, Reservation

MAX_RESERVATIONS = 4
"""How many of the highest blocked groups may reserve a node in one round."""


@dataclass(frozen=True, slots=True)
class Releases:
    """What will be released, sorted by node and then by time. r rows.

    node: (r,) int64; ends_at: (r,) float64 unix seconds; freed: (r, 3 + g) int64, released on this node up to and
    with this row.
    """

    node: Ints
    ends_at: Floats
    freed: Ints


@dataclass(frozen=True, slots=True)
class Opening:
    """The earliest moment at which a group's task will fit: node row, demand alternative, unix seconds."""

    node: int
    option: int
    at: float


def releases(board: Board) -> Releases:
    """Return what leases in force and tasks placed in this round will give back."""
    view, running = board.view, board.view.running
    nodes, demands = [running.node], [running.demand]
    ends = [view.now + remaining_s(running, view.now)]
    for taken in board.taken:
        nodes.append(taken.nodes)
        demands.append(np.outer(taken.counts, taken.group.demands[taken.option]))
        ends.append(np.full(len(taken.nodes), view.now + duration_bound(taken.group)))
    node, ends_at = np.concatenate(nodes), np.concatenate(ends)
    if not len(node):
        return Releases(node, ends_at, np.zeros((0, view.nodes.capacity.shape[1]), np.int64))
    order = _by_node_and_time(node, ends_at - view.now)
    node, freed = node[order], np.concatenate(demands)[order]
    total = np.cumsum(freed, axis=0)
    first = np.concatenate(([True], node[1:] != node[:-1]))
    before = (total - freed)[first]
    total -= before[np.cumsum(first) - 1]
    return Releases(node, ends_at[order], total)


def _by_node_and_time(node: Ints, after_s: Floats) -> Ints:
    """Return the order by node and then by time: (r,) int64.

    One float key, node + time as a fraction, sorts several times faster than two keys; times closer than 1e-11 of
    the longest may come in any order.
    """
    return np.argsort(node + after_s / (2.0 * float(after_s.max()) + 1.0))


def earliest(board: Board, group: Group, candidates: Bools, freed: Releases) -> Opening | None:
    """Return where and when one more task of a blocked group will fit first.

    None where no lease in force explains why the candidates are full.
    """
    best: Opening | None = None
    for option, demand in enumerate(group.demands.tolist()):
        enough = candidates[freed.node]
        if group.allowed is not None:
            enough &= group.allowed[option][freed.node]
        for column, wanted in enumerate(demand):
            if wanted:
                enough &= board.free[column, freed.node] + freed.freed[:, column] >= wanted
        if not enough.any():
            continue
        row = int(np.argmin(np.where(enough, freed.ends_at, np.inf)))
        if best is None or freed.ends_at[row] < best.at:
            best = Opening(int(freed.node[row]), option, float(freed.ends_at[row]))
    return best


class Backfill:
    """Makes the reservations of one round; keeps what will be released until something more is placed."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._releases: Releases | None = None
        self._known = 0

    def reserve(self, group: Group, candidates: Bools) -> None:
        """Reserve for a blocked group the candidate on which it will fit earliest, if any is left to reserve."""
        board = self._board
        if len(board.reservations) >= MAX_RESERVATIONS:
            return
        open_nodes = candidates.copy()
        open_nodes[list(board.holds)] = False
        freed = self._freed()
        opening = earliest(board, group, open_nodes, freed)
        if opening is None:
            return
        # Everything that ends by then counts, also what ends at the very same moment.
        last = int(np.flatnonzero((freed.node == opening.node) & (freed.ends_at <= opening.at))[-1])
        spare = board.free[:, opening.node] + freed.freed[last] - group.demands[opening.option]
        board.holds[opening.node] = Hold(opening.at, spare.tolist())
        board.reservations.append(Reservation(group.key, opening.node, opening.at))

    def _freed(self) -> Releases:
        if self._releases is None or self._known < len(self._board.taken):
            self._releases = releases(self._board)
            self._known = len(self._board.taken)
        return self._releases
