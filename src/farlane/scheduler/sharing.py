"""Sharing: which nodes get the tasks of a group when more nodes have room than are needed; one function a rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from farlane.domain.resources import GIB
from farlane.scheduler.board import Board
from farlane.scheduler.view import CPU, FIRST_GPU, MEMORY, Floats, Group, Ints, NodeColumns


@dataclass(frozen=True, slots=True)
class Places:
    """Nodes on which tasks of one group fit now: p distinct nodes, each with one demand alternative.

    node: (p,) int64 row; option: (p,) int64 row of the group's demands; room: (p,) int64, at least 1 each.
    """

    node: Ints
    option: Ints
    room: Ints


NEAR = 1.25
"""Times the lowest price that a node may ask and still be preferred for what it has: a model is fetched once, and the
price is paid for as long as it is served."""
Rule = Callable[[Board, Group, Places, int], Ints]
"""Shares `count` tasks (at least 1, fewer than there is room for) over the places: (p,) int64 summing to it."""


def cheapest(board: Board, group: Group, places: Places, count: int) -> Ints:
    """Share tasks over the nodes with the lowest price; equally priced ones are levelled as in `emptiest`."""
    price = _prices(board, group, places)
    if (price == price[0]).all():
        return emptiest(board, group, places, count)
    order = np.argsort(price, kind="stable")
    filled = np.cumsum(places.room[order])
    limit = price[order[int(np.searchsorted(filled, count))]]
    shared = np.where(price < limit, places.room, 0)
    tied = np.flatnonzero(price == limit)
    shared[tied] = level(places.room[tied], _slots(board, group, places)[tied], count - int(shared.sum()))
    return shared


def tightest(board: Board, group: Group, places: Places, count: int) -> Ints:
    """Fill the node that has least left over first, then the next; ties go to the lower row.

    What is left over is the sum of the free amounts of every resource, each as a share of the largest node's, so
    that small and GPU-less nodes are used up before large ones are broken into.

    Source: best fit as the baseline of Weng et al. 2023 (FGD, USENIX ATC) scores it: free shares, summed.
    """
    largest = board.capacity.max(axis=1, initial=1)
    # Summed in the order of the columns, not by a matrix product: so equal nodes tie on every machine.
    left = np.zeros(len(places.node))
    weights = 1.0 / largest
    for weight, free in zip(weights, board.free[:, places.node], strict=True):
        left += weight * free
    if len(group.demands) > 1:
        for weight, wanted in zip(weights, group.demands.T, strict=True):
            left -= weight * wanted[places.option]
    order = np.argsort(left, kind="stable")
    shared = np.empty_like(places.room)
    room = places.room[order]
    shared[order] = np.clip(count - (np.cumsum(room) - room), 0, room)
    return shared


def emptiest(board: Board, group: Group, places: Places, count: int) -> Ints:
    """Give each next task to the node with the greatest share of its slots free.

    A node's slots are what fits into it empty, so the share is that of its dominant resource for this task.

    Source: Kubernetes' LeastAllocated score, with the dominant resource (Ghodsi et al. 2011) in place of a mean.
    """
    return level(places.room, _slots(board, group, places), count)


def nearest(rule: Rule, board: Board, group: Group, places: Places, count: int) -> Ints:
    """Share tasks over the places that lack least of what these tasks need; those that lack as much, by the rule.

    A place that costs more than `NEAR` times the cheapest comes after all others. Where a place has tasks like these
    already, it counts as if it lacked as much more as any node lacks, once for each: replicas stand apart, even though
    their model would be there.
    """
    if group.missing is None:
        return rule(board, group, places, count)
    lacks = group.missing[places.node]
    if group.alike is not None:
        lacks = lacks + group.alike[places.node] * int(group.missing.max())
    price = _prices(board, group, places)
    tier = np.where(price > NEAR * price.min(), np.iinfo(np.int64).max, lacks)
    shared, left = np.zeros_like(places.room), count
    for lacking in np.unique(tier):
        at = np.flatnonzero(tier == lacking)
        room = places.room[at]
        if int(room.sum()) > left:
            shared[at] = rule(board, group, Places(places.node[at], places.option[at], room), left)
            break
        shared[at] = room
        left -= int(room.sum())
        if not left:
            break
    return shared


def level(room: Ints, size: Ints, count: int) -> Ints:
    """Take `count` from `room` so that what is left, as a share of `size`, is as even as whole tasks allow.

    Water-filling in closed form: with the m fullest shares taking part, the common level is
    (their room - count) / their size; the right m is the first whose level the next share does not exceed.

    Args:
        room: (p,) int64, at least 0; its sum is above `count`.
        size: (p,) int64, at least `room` and 1.
        count: tasks to share, at least 0.

    Returns:
        (p,) int64 between 0 and `room`, summing to `count`.
    """
    share = room / size
    order = np.argsort(-share, kind="stable")
    levels = (room[order].cumsum() - count) / size[order].cumsum()
    reached = (levels[:-1] >= share[order[1:]]).nonzero()[0]
    height = levels[reached[0]] if len(reached) else levels[-1]
    taken: Ints = np.maximum(room - height * size, 0.0).astype(np.int64)
    rest = count - int(taken.sum())
    if rest:
        # What is left of a share, most first; a node without room has 0 left and comes last.
        taken[np.argsort((taken - room) / size, kind="stable")[:rest]] += 1
    return taken


def prices(nodes: NodeColumns, demand: list[int], rows: Ints) -> Floats:
    """Return what a second of one task's demand costs on each of `rows`, in nano-credits: (p,) float64.

    Only for comparing: amounts are charged in integers by `farlane.domain.prices`.
    """
    cost: Floats = nodes.core_second[rows] * np.float64(demand[CPU] / 1000)
    cost += nodes.gib_second[rows] * np.float64(demand[MEMORY] / GIB)
    for column in range(FIRST_GPU, len(demand)):
        if demand[column]:
            cost += nodes.gpu_second[rows, column - FIRST_GPU] * demand[column]
    return cost


def _prices(board: Board, group: Group, places: Places) -> Floats:
    nodes = board.view.nodes
    if len(group.demands) == 1:
        return prices(nodes, group.demands[0].tolist(), places.node)
    by_option = [prices(nodes, demand, places.node) for demand in group.demands.tolist()]
    return np.choose(places.option, by_option)


def _slots(board: Board, group: Group, places: Places) -> Ints:
    """Return how many tasks each place would hold if its node were empty: (p,) int64, at least its room."""
    if len(group.demands) == 1:
        slots = board.slots(group.demands[0].tolist())[places.node]
    else:
        by_option = [board.slots(demand)[places.node] for demand in group.demands.tolist()]
        slots = np.choose(places.option, by_option).astype(np.int64)
    least: Ints = np.maximum(slots, places.room)
    return least
