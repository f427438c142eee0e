"""Reservations of blocked groups in a simulated round; mirrors `farlane.scheduler.backfill`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_board import HELD, TAKEN, Board, remaining_s
from farlane.scheduler.sim.hub_groups import Groups
from farlane.scheduler.sim.hub_world import NONE, PAIRS, HubState, HubWorld
from farlane.scheduler.sim.world import Bools, Floats, Ints

MAX_RESERVATIONS = 4
"""As `farlane.scheduler.backfill` has it."""


class Releases(NamedTuple):
    """What will be given back, by node and then by time; e rows.

    node, ends_at: (e,); freed: (e, r) on this node up to and with this row.
    """

    node: Ints
    ends_at: Floats
    freed: Ints


@compiled
def no_releases(world: HubWorld) -> Releases:
    """Return that nothing is known yet of what will be given back."""
    return Releases(np.empty(0, np.int64), np.empty(0), np.empty((0, world.capacity.shape[1]), np.int64))


@compiled
def releases(world: HubWorld, state: HubState, board: Board, groups: Groups) -> Releases:
    """Return what leases in force and tasks placed in this round will give back."""
    r, running = world.capacity.shape[1], 0
    for slot in range(state.marks[PAIRS]):
        running += state.pair_job[slot] != NONE
    e = running + board.marks[TAKEN]
    node, ends_at, freed = np.empty(e, np.int64), np.empty(e), np.zeros((e, r), np.int64)
    at = 0
    for slot in range(state.marks[PAIRS]):
        if state.pair_job[slot] != NONE:
            node[at] = state.pair_node[slot]
            ends_at[at] = state.clock[0] + remaining_s(world, state, slot)
            cls = world.cls[state.pair_job[slot]]
            for option in range(world.options[cls]):
                for column in range(r):
                    freed[at, column] += state.pair_count[slot, option] * world.demand[cls, option, column]
            at += 1
    for placed in range(board.marks[TAKEN]):
        row = board.taken_group[placed]
        node[at] = board.taken_node[placed]
        ends_at[at] = state.clock[0] + groups.bound_s[row]
        demand = world.demand[world.cls[groups.job[row]], board.taken_option[placed]]
        for column in range(r):
            freed[at, column] = board.taken_count[placed] * demand[column]
        at += 1
    order = np.argsort(ends_at, kind="mergesort")
    order = order[np.argsort(node[order], kind="mergesort")]
    node, ends_at, freed = node[order], ends_at[order], freed[order]
    for row in range(1, e):
        if node[row] == node[row - 1]:
            for column in range(r):
                freed[row, column] += freed[row - 1, column]
    return Releases(node, ends_at, freed)


@compiled
def reserve(
    world: HubWorld,
    state: HubState,
    board: Board,
    groups: Groups,
    row: int,
    candidates: Bools,
    freed: Releases,
) -> None:
    """Reserve for a blocked group the candidate on which it will fit first, if any is left to reserve."""
    cls = world.cls[groups.job[row]]
    best_node, best_option, best_at = NONE, 0, np.inf
    for option in range(world.options[cls]):
        found, at = _earliest(world, board, cls, option, candidates, freed)
        if found != NONE and (best_node == NONE or at < best_at):
            best_node, best_option, best_at = found, option, at
    if best_node == NONE:
        return
    last = NONE
    for entry in range(len(freed.node)):
        if freed.node[entry] == best_node and freed.ends_at[entry] <= best_at:
            last = entry
    demand = world.demand[cls, best_option]
    for column in range(len(demand)):
        board.hold_spare[best_node, column] = (
            board.free[best_node, column] + freed.freed[last, column] - demand[column]
        )
    board.hold_at[best_node] = best_at
    board.marks[HELD] += 1


@compiled
def _earliest(
    world: HubWorld, board: Board, cls: int, option: int, candidates: Bools, freed: Releases
) -> tuple[int, float]:
    """Return where and when one more task will fit first with an alternative; NONE where nothing tells."""
    demand = world.demand[cls, option]
    best, best_at = NONE, np.inf
    for entry in range(len(freed.node)):
        node = freed.node[entry]
        if not candidates[node] or not np.isnan(board.hold_at[node]) or not world.allowed[cls, option, node]:
            continue
        if freed.ends_at[entry] >= best_at:
            continue
        enough = True
        for column in range(len(demand)):
            if demand[column] and board.free[node, column] + freed.freed[entry, column] < demand[column]:
                enough = False
                break
        if enough:
            best, best_at = node, freed.ends_at[entry]
    return best, best_at
