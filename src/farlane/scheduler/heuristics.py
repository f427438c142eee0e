"""Heuristics: the placement rules by name, each an ordering of the groups and a way to share them over nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.scheduler.backfill import Backfill
from farlane.scheduler.board import Board, Room
from farlane.scheduler.ordering import Order, fifo_order, shortest_order
from farlane.scheduler.sharing import Places, Rule, cheapest, emptiest, level, nearest, tightest
from farlane.scheduler.view import Bools, Decision, Group, Ints, View


@dataclass(frozen=True, slots=True)
class Heuristic:
    """A policy made of two rules: who goes first, and where it goes.

    Groups are served in order. Each takes free room as its rule says; short tasks then queue ahead, in proportion
    to what each node may still take. A group that is left with ready tasks keeps those after it from queueing ahead
    on its nodes; one that got nothing at all reserves a node (`backfill`).
    """

    name: str
    order: Order
    rule: Rule

    def decide(self, view: View) -> Decision:
        """Return placements and reservations for every group of the view."""
        board = Board(view)
        backfill = Backfill(board)
        for group in self.order(view):
            wanted = board.wanted(group)
            if wanted > 0 and (candidates := board.candidates(group)) is not None:
                placed = self._place(board, group, candidates, wanted)
                if placed < wanted:
                    board.contend(candidates)
                if not placed:
                    backfill.reserve(group, candidates)
        return board.decision()

    def _place(self, board: Board, group: Group, candidates: Bools, wanted: int) -> int:
        """Place up to `wanted` tasks; returns how many."""
        placed = 0
        # A node offers one alternative at a time: with two kinds of GPU it comes up again in the next pass.
        for _ in range(len(group.demands)):
            offers = [
                (option, room)
                for option in range(len(group.demands))
                if (room := board.room(group, option, candidates)) is not None
            ]
            got = self._take(board, group, offers, wanted - placed) if offers else 0
            placed += got
            if not got or placed == wanted:
                break
        return placed

    def _take(self, board: Board, group: Group, offers: list[tuple[int, Room]], wanted: int) -> int:
        """Place up to `wanted` tasks, each node using the first alternative it has room for; returns how many."""
        option, room = _first_with_room(offers)
        counts = self._share_now(board, group, option, room, wanted)
        rest = wanted - int(counts.sum())
        if rest and room.more is not None and room.queue is not None:
            counts = counts + _share_ahead(room.more, room.queue, rest)
            rest = wanted - int(counts.sum())
        for index, _ in offers:
            nodes = np.flatnonzero(counts if len(offers) == 1 else counts * (option == index))
            if len(nodes):
                board.take(group, index, nodes, counts[nodes])
        return wanted - rest

    def _share_now(self, board: Board, group: Group, option: Ints, room: Room, wanted: int) -> Ints:
        if room.now.sum() <= wanted:
            return room.now
        nodes = np.flatnonzero(room.now)
        counts = np.zeros_like(room.now)
        places = Places(nodes, option[nodes], room.now[nodes])
        counts[nodes] = nearest(self.rule, board, group, places, wanted)
        return counts


def _first_with_room(offers: list[tuple[int, Room]]) -> tuple[Ints, Room]:
    """Return which alternative each node uses, the first it has room for, and its room with that one."""
    index, room = offers[-1]
    option = np.full(len(room.now), index, np.int64)
    if len(offers) == 1:
        return option, room
    none = np.zeros_like(room.now)
    now, more, queue = room.now, _or(room.more, none), _or(room.queue, none)
    for index, room in reversed(offers[:-1]):
        has = room.total() > 0
        option = np.where(has, index, option)
        now = np.where(has, room.now, now)
        more = np.where(has, _or(room.more, none), more)
        queue = np.where(has, _or(room.queue, none), queue)
    return option, Room(now, more, queue)


def _or(column: Ints | None, none: Ints) -> Ints:
    return none if column is None else column


def _share_ahead(more: Ints, queue: Ints, count: int) -> Ints:
    """Share `count` tasks over queues so that all are equally full, as far as they have room."""
    return more if more.sum() <= count else level(more, np.maximum(queue, np.maximum(more, 1)), count)


FIFO = Heuristic("fifo", fifo_order, cheapest)
"""Oldest of the highest priority first, on the cheapest node; equally cheap nodes share evenly."""
SHORTEST_FIRST = Heuristic("shortest-first", shortest_order, cheapest)
"""Least work first within a band of priorities, on the cheapest node."""
BEST_FIT = Heuristic("best-fit", fifo_order, tightest)
"""Oldest of the highest priority first, on the node with least left over: keeps large nodes whole."""
SPREAD = Heuristic("spread", fifo_order, emptiest)
"""Oldest of the highest priority first, on the node with the most free: keeps every node lightly loaded."""

HEURISTICS = (FIFO, SHORTEST_FIRST, BEST_FIT, SPREAD)
