"""The board of one simulated round: what is free after the placements so far; mirrors `farlane.scheduler.board`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_groups import Groups
from farlane.scheduler.sim.hub_leases import run_time_s
from farlane.scheduler.sim.hub_world import MAX_LEFT_NODES, NONE, PAIRS, HubState, HubWorld
from farlane.scheduler.sim.world import Bools, Floats, Ints

HORIZON_S, MAX_AHEAD, LONG_HOLD = 0.1, 1024.0, 2.0
"""As `farlane.scheduler.queue_ahead` has them."""
SHORTEST_S = 1e-6
TAKEN, HELD = 0, 1
"""Places in `Board.marks`."""


class Board(NamedTuple):
    """Changed in place; n nodes, r resources, at most p placements.

    free, usable: (n, r), the second without what is held for long; contended: (n,); hold_at: (n,) when a reservation
    starts, nan for none; hold_spare: (n, r); taken_*: (p,) group, alternative, node and number; marks: how many were
    taken, and reserved; widest: (1,) the longest window of any node.
    """

    free: Ints
    usable: Ints
    contended: Bools
    hold_at: Floats
    hold_spare: Ints
    taken_group: Ints
    taken_option: Ints
    taken_node: Ints
    taken_count: Ints
    marks: Ints
    widest: Floats


class Room(NamedTuple):
    """What each node takes of a group: (n,) each; option: with which alternative; now, more, queue: as `board.Room`."""

    option: Ints
    now: Ints
    more: Ints
    queue: Ints


@compiled
def new_board(world: HubWorld, state: HubState, groups: Groups) -> Board:
    """Return the board of this moment."""
    n, r = world.capacity.shape
    most = min(int(groups.count.sum()), len(groups.job) * n * world.demand.shape[1]) + 1
    widest = 0.0
    for node in range(n):
        if state.known[node]:
            widest = max(widest, world.window[node])
    board = Board(
        state.free.copy(), world.capacity.copy(), np.zeros(n, np.bool_), np.full(n, np.nan),
        np.zeros((n, r), np.int64), np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64),
        np.empty(most, np.int64), np.zeros(2, np.int64), np.array([widest]),
    )  # fmt: skip
    for slot in range(state.marks[PAIRS]):
        job, node = state.pair_job[slot], state.pair_node[slot]
        if job != NONE and remaining_s(world, state, slot) > LONG_HOLD * world.window[node]:
            _subtract_pair(world, state, board.usable, slot)
    return board


@compiled
def remaining_s(world: HubWorld, state: HubState, slot: int) -> float:
    """Return how much longer a pair's leases are expected to last; overdue ones as long as they are late."""
    job = state.pair_job[slot]
    lasts = run_time_s(world, state, job)
    if np.isnan(lasts):
        lasts = world.timeout_s[job]
    return float(abs((state.pair_last[slot] + lasts) - state.clock[0]))


@compiled
def candidates_of(world: HubWorld, state: HubState, groups: Groups, row: int) -> Bools:
    """Return the nodes that a group may use now: (n,); those to avoid only where there is no other."""
    cls, sample = world.cls[groups.job[row]], groups.sample[row]
    usable: Bools = state.online & world.eligible[cls]
    if sample == NONE:
        return usable
    preferred: Bools = usable.copy()
    for place in range(MAX_LEFT_NODES):
        if state.avoid[sample, place] == NONE:
            break
        preferred[state.avoid[sample, place]] = False
    return preferred if preferred.any() else usable


@compiled
def fits(amounts: Ints, demand: Ints) -> int:
    """Return how many tasks go into some amounts; negative where they are negative."""
    count = amounts[0] // demand[0]
    for column in range(1, len(demand)):
        if demand[column]:
            count = min(count, amounts[column] // demand[column])
    return int(count)


@compiled
def room_of(
    world: HubWorld, state: HubState, board: Board, groups: Groups, row: int, candidates: Bools
) -> Room:
    """Return what each candidate takes, with the first alternative it has room for."""
    n, cls = len(candidates), world.cls[groups.job[row]]
    options = world.options[cls]
    room = Room(
        np.full(n, options - 1, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
    )
    short = not np.isnan(groups.run_s[row]) and groups.run_s[row] < board.widest[0]
    for node in range(n):
        if not candidates[node]:
            continue
        for option in range(options):
            if world.allowed[cls, option, node]:
                now, more, queue = _room_on(world, state, board, groups, row, node, option, short)
                if now + more > 0:
                    room.option[node], room.now[node], room.more[node], room.queue[node] = (
                        option,
                        now,
                        more,
                        queue,
                    )
                    break
    return room


@compiled
def _room_on(
    world: HubWorld,
    state: HubState,
    board: Board,
    groups: Groups,
    row: int,
    node: int,
    option: int,
    short: bool,
) -> tuple[int, int, int]:
    demand = world.demand[world.cls[groups.job[row]], option]
    real = fits(board.free[node], demand)
    now = max(real, 0)
    ends_at = state.clock[0] + groups.bound_s[row]
    if now and board.hold_at[node] < ends_at:
        now = min(now, _most(board.hold_spare[node], demand))
    if not short or board.contended[node]:
        return now, 0, 0
    ratio = world.window[node] / max(groups.run_s[row], SHORTEST_S)
    depth = min(ratio, MAX_AHEAD) if ratio > 1.0 else 0.0
    queue = int(max(fits(board.usable[node], demand), 0) * depth)
    more = (max(real + queue, 0) - now) if queue > 0 else 0
    return now, more, queue


@compiled
def take(
    world: HubWorld,
    state: HubState,
    board: Board,
    groups: Groups,
    row: int,
    option: int,
    node: int,
    count: int,
) -> None:
    """Place tasks of a group on a node."""
    at = board.marks[TAKEN]
    board.marks[TAKEN] += 1
    board.taken_group[at], board.taken_option[at] = row, option
    board.taken_node[at], board.taken_count[at] = node, count
    demand = world.demand[world.cls[groups.job[row]], option]
    long = groups.bound_s[row] > LONG_HOLD * world.window[node]
    held = board.hold_at[node] < state.clock[0] + groups.bound_s[row]
    for column in range(len(demand)):
        board.free[node, column] -= demand[column] * count
        if long:
            board.usable[node, column] -= demand[column] * count
        if held:
            board.hold_spare[node, column] -= demand[column] * count


@compiled
def _most(amounts: Ints, demand: Ints) -> int:
    """Return how many tasks fit into one node's amounts, at least 0."""
    most = 1 << 60
    for column in range(len(demand)):
        if demand[column]:
            most = min(most, amounts[column] // demand[column])
    return max(0, most)


@compiled
def _subtract_pair(world: HubWorld, state: HubState, amounts: Ints, slot: int) -> None:
    cls, node = world.cls[state.pair_job[slot]], state.pair_node[slot]
    for option in range(world.options[cls]):
        count = state.pair_count[slot, option]
        if count:
            for column in range(amounts.shape[1]):
                amounts[node, column] -= count * world.demand[cls, option, column]
