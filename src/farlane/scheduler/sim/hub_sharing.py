"""Which nodes get the tasks of a group when more have room than are needed; mirrors `farlane.scheduler.sharing`."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.hub_board import Board, Room, fits
from farlane.scheduler.sim.hub_groups import known_option, largest_of
from farlane.scheduler.sim.hub_world import HubChoice, HubState, HubWorld
from farlane.scheduler.sim.world import Ints

CHEAPEST, TIGHTEST = int(HubChoice.CHEAPEST), int(HubChoice.TIGHTEST)


@compiled
def shared_now(
    world: HubWorld, state: HubState, board: Board, room: Room, cls: int, count: int, choice: int
) -> Ints:
    """Return how many of `count` tasks each node gets of its free room: (n,)."""
    if room.now.sum() <= count:
        return room.now.copy()
    places = np.flatnonzero(room.now)
    shared = np.zeros_like(room.now)
    here = room.now[places]
    if choice == TIGHTEST:
        shared[places] = _tightest(world, state, board, room, cls, places, count)
        return shared
    size = np.empty_like(here)
    for at in range(len(places)):
        node = places[at]
        size[at] = max(here[at], fits(world.capacity[node], world.demand[cls, room.option[node]]))
    if choice == CHEAPEST:
        shared[places] = _cheapest(world, room, cls, places, size, count)
    else:
        shared[places] = level(here, size, count)
    return shared


@compiled
def shared_ahead(more: Ints, queue: Ints, count: int) -> Ints:
    """Share tasks over queues so that all are equally full, as far as they have room: (n,)."""
    if more.sum() <= count:
        return more.copy()
    return level(more, np.maximum(queue, np.maximum(more, 1)), count)


@compiled
def level(room: Ints, size: Ints, count: int) -> Ints:
    """Take `count` from `room` so that what is left, as a share of `size`, is as even as whole tasks allow."""
    p = len(room)
    share = room / size
    order = np.argsort(-share, kind="mergesort")
    levels = (np.cumsum(room[order]) - count) / np.cumsum(size[order])
    height = levels[p - 1]
    for at in range(p - 1):
        if levels[at] >= share[order[at + 1]]:
            height = levels[at]
            break
    taken: Ints = np.maximum(room - height * size, 0.0).astype(np.int64)
    rest = count - taken.sum()
    if rest > 0:
        fullest = np.argsort((taken - room) / size, kind="mergesort")
        for at in range(rest):
            taken[fullest[at]] += 1
    return taken


@compiled
def _cheapest(world: HubWorld, room: Room, cls: int, places: Ints, size: Ints, count: int) -> Ints:
    p = len(places)
    price, here = np.empty(p), room.now[places]
    for at in range(p):
        price[at] = world.price[cls, room.option[places[at]], places[at]]
    if (price == price[0]).all():
        return level(here, size, count)
    order = np.argsort(price, kind="mergesort")
    filled = np.cumsum(here[order])
    limit = price[order[np.searchsorted(filled, count)]]
    shared: Ints = np.where(price < limit, here, 0)
    tied = np.flatnonzero(price == limit)
    shared[tied] = level(here[tied], size[tied], count - shared.sum())
    return shared


@compiled
def _tightest(
    world: HubWorld, state: HubState, board: Board, room: Room, cls: int, places: Ints, count: int
) -> Ints:
    p, r = len(places), world.capacity.shape[1]
    largest, options = largest_of(world, state), 0
    for option in range(world.options[cls]):
        options += known_option(world, largest, cls, option)
    weight = 1.0 / np.maximum(largest, 1)
    left = np.zeros(p)
    for column in range(r):
        for at in range(p):
            left[at] += weight[column] * board.free[places[at], column]
    if options > 1:
        for column in range(r):
            for at in range(p):
                left[at] -= weight[column] * world.demand[cls, room.option[places[at]], column]
    shared = np.zeros(p, np.int64)
    for at in np.argsort(left, kind="mergesort"):
        shared[at] = min(count, room.now[places[at]])
        count -= shared[at]
    return shared
