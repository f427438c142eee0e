"""Which unit of a fleet goes next: orders of the literature and the product's own, each the lowest number first."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from farlane.scheduler.ordering import AGEING_S, BAND_POINTS, MAX_PRIORITY
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.placing import dominant_share, possible
from farlane.scheduler.sim.state import ALL, HELD_GPU, READY_AT, State
from farlane.scheduler.sim.waiting import FIXED, QUICK_S, SHAPE, SHARE, SIZE, Waiting
from farlane.scheduler.sim.world import NEVER, Floats, Ints, World


class Order(IntEnum):
    """Orders by name; of equals the one that arrived first.

    r is the run time that is asked for on the fastest node that could run the unit, a the dominant share of the largest
    node, summed over a gang; wait counts from when it could first run.

    FCFS: arrival. SJF: r. SAF: r a (Carastan-Santos et al. 2019). SRTF: what remains of the pipeline, r and the longest
    chain of what waits for it (without preemption the same as SJF where nothing waits). EDF: deadline (Liu and Layland
    1973). HRRN: -(wait + r) / r. WFP3: -(wait / r)^3 a (Tang et al. 2009). PRIORITY: the product's, one point of
    priority a minute of waiting, then deadline (see `farlane.scheduler.ordering.fifo_order`). SHORTEST: the product's
    shortest-first, bands of ten such points, then r a, then deadline. DOMINANT_SHARE: the user whose running tasks hold
    the least dominant share of the whole network (DRF, Ghodsi et al. 2011). LAS: the user whose ended runs took least,
    seconds times a (least attained service, as in Tiresias, Gu et al. 2019, and Gavel, Narayanan et al. 2020, without
    their preemption).
    """

    FCFS = 0
    SJF = 1
    SAF = 2
    SRTF = 3
    EDF = 4
    HRRN = 5
    WFP3 = 6
    PRIORITY = 7
    SHORTEST = 8
    DOMINANT_SHARE = 9
    LAS = 10


FCFS, SJF, SAF, SRTF, EDF = (int(order) for order in list(Order)[:5])
HRRN, WFP3, PRIORITY, SHORTEST = (int(order) for order in list(Order)[5:9])
DOMINANT_SHARE, LAS = int(Order.DOMINANT_SHARE), int(Order.LAS)
_POINT = 1 << 32  # more than there are tasks: points come first, then the order among equals
_AGED = -1e12  # below all other numbers
_LEAST_S = 0.1


@lean
def key(world: World, state: State, waiting: Waiting, order: int, patience_s: float, unit: int) -> float:
    """Return the number by which a unit is ordered now; one that waited longer than `patience_s` precedes all."""
    wait = state.clock[0] - state.times[unit, READY_AT]
    if wait > patience_s:
        return float(_AGED + state.times[unit, READY_AT])
    if lasting(order):
        return float(waiting.numbers[unit, FIXED])
    if order == DOMINANT_SHARE:
        return network_share(world, state, world.tasks.user[unit])
    if order == LAS:
        return float(state.served[world.tasks.user[unit]])
    if order in (PRIORITY, SHORTEST):
        points = int(min(MAX_PRIORITY * 1.0, world.tasks.priority[unit] + wait / AGEING_S))
        if order == SHORTEST:
            points //= BAND_POINTS
        return float(waiting.numbers[unit, FIXED] - points * _POINT)
    r = max(waiting.numbers[unit, QUICK_S], _LEAST_S)
    if order == HRRN:
        return float(-(wait + r) / r)
    # The cube root orders alike, and stays above what has waited too long.
    return float(-wait / r * np.cbrt(waiting.numbers[unit, SHARE]))


@lean
def steps_at(world: World, state: State, waiting: Waiting, order: int, unit: int) -> float:
    """Return until when a unit's number stays as it is, but for what waits too long: the clock, or a point's time.

    A microsecond early, so that rounding never makes it late: the number is then just computed once more.
    """
    if order not in (PRIORITY, SHORTEST):
        return float(state.clock[0])
    own, since = float(world.tasks.priority[unit]), state.times[unit, READY_AT]
    points = int(min(MAX_PRIORITY * 1.0, own + (state.clock[0] - since) / AGEING_S))
    if points >= MAX_PRIORITY:
        return NEVER
    following = points + 1 if order == PRIORITY else (points // BAND_POINTS + 1) * BAND_POINTS
    return float(since + (following - own) * AGEING_S - 1e-6)


@lean
def lasting(order: int) -> bool:
    """Tell whether an order's number of a unit never changes, but for what waited too long."""
    return order <= EDF


@lean
def network_share(world: World, state: State, user: int) -> float:
    """Return the greatest share of any resource of the whole network that a user's running tasks hold, 0 to 1."""
    share = 0.0
    for column in range(3):
        share = max(share, state.held[user, column] / state.sizes[ALL, column])
    return float(max(share, state.held[user, HELD_GPU] / state.sizes[ALL, HELD_GPU]))


@compiled
def fill_numbers(world: World, state: State, waiting: Waiting) -> None:
    """Compute each unit's expected seconds on the node where it runs fastest, and its dominant share."""
    tasks = world.tasks
    fastest = np.zeros(len(waiting.shapes))
    seen = np.zeros(len(waiting.shapes), np.bool_)
    for unit in range(len(tasks.arrival)):
        if waiting.units[unit, SIZE] == 0:
            continue
        shape = waiting.units[unit, SHAPE]
        if not seen[shape]:
            seen[shape] = True
            for node in range(len(world.nodes.gpus)):
                if possible(world, unit, node):
                    fastest[shape] = max(
                        fastest[shape], world.speed[tasks.kind[unit], world.nodes.gpu_model[node]]
                    )
        longest, share = 0.0, 0.0
        for member in range(unit, unit + waiting.units[unit, SIZE]):
            longest = max(longest, tasks.estimate_s[member])
            share += dominant_share(world, state, member)
        waiting.numbers[unit, QUICK_S] = longest / fastest[shape] if fastest[shape] > 0.0 else longest
        waiting.numbers[unit, SHARE] = share


@compiled
def chains(world: World, seconds: Floats) -> Floats:
    """Return how long the longest chain is that begins with each task, itself among it, in seconds: (t,).

    Args:
        world: what is simulated.
        seconds: (t,) how long each task takes.
    """
    tasks = world.tasks
    t = len(tasks.arrival)
    order, left, count = np.empty(t, np.int64), tasks.parents.copy(), 0
    for task in range(t):
        if left[task] == 0:
            order[count] = task
            count += 1
    done = 0
    while done < count:
        task = order[done]
        done += 1
        for at in range(tasks.first_child[task], tasks.first_child[task + 1]):
            left[tasks.children[at]] -= 1
            if left[tasks.children[at]] == 0:
                order[count] = tasks.children[at]
                count += 1
    longest = seconds.copy()
    for place in range(count - 1, -1, -1):
        task = order[place]
        behind = 0.0
        for at in range(tasks.first_child[task], tasks.first_child[task + 1]):
            behind = max(behind, longest[tasks.children[at]])
        longest[task] += behind
    return longest


def fix_numbers(world: World, state: State, waiting: Waiting, order: Order) -> None:
    """Write into an empty waiting room what of each unit's number never changes."""
    fill_numbers(world, state, waiting)
    tasks, numbers = world.tasks, waiting.numbers
    area = numbers[:, QUICK_S] * numbers[:, SHARE]
    if order is Order.FCFS:
        numbers[:, FIXED] = tasks.arrival
    elif order is Order.SJF:
        numbers[:, FIXED] = numbers[:, QUICK_S]
    elif order is Order.SAF:
        numbers[:, FIXED] = area
    elif order is Order.SRTF:
        numbers[:, FIXED] = chains(world, numbers[tasks.gang, QUICK_S])
    elif order is Order.EDF:
        numbers[:, FIXED] = tasks.deadline
    elif order is Order.PRIORITY:
        numbers[:, FIXED] = _ranks(tasks.arrival, tasks.deadline)
    elif order is Order.SHORTEST:
        numbers[:, FIXED] = _ranks(tasks.arrival, tasks.deadline, area)


def _ranks(*columns: Floats) -> Ints:
    """Return each row's place by the last column, then the one before it, and so on: (t,)."""
    ranks = np.empty(len(columns[0]), np.int64)
    ranks[np.lexsort(columns)] = np.arange(len(ranks))
    return ranks
