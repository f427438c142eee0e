"""Whose turn it is in a fleet under the network: groups are scored once a round, and numbered by guards and scores."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned.choices import MAX_WAIT_S, PRIORITY_SPREADS
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.ordering import MAX_PRIORITY, PATIENCE_S
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.learned_crowd import group_columns, whole
from farlane.scheduler.sim.learned_forward import encode, score_tasks, surroundings, task_features
from farlane.scheduler.sim.learned_groups import (
    CONTEXTS,
    COUNT,
    HEAD,
    REQUEST,
    ROUNDS,
    SCORE,
    SINCE,
    SIZED,
    TOO_LONG,
    TURN,
    Groups,
)
from farlane.scheduler.sim.state import FIRST_ON, NOBODY, READY_AT, State
from farlane.scheduler.sim.waiting import (
    ACTIVE_SHAPE,
    ACTIVE_SHAPES,
    ASIDE,
    BEGINS,
    HEAP,
    KEY,
    SHAPE,
    Waiting,
    heapify,
)
from farlane.scheduler.sim.waiting import COUNT as WAIT_COUNT
from farlane.scheduler.sim.world import Floats, Ints, World

SCORED = 256
"""Groups that are scored in one round at most, those without a score first, then in turn; the others keep the score
that they had last, so that a round costs no more with a long queue than with this one."""
LAST = -1e300
"""Key of a group without a score."""
HELD_KEY = 1e18
"""Number of units that wait by the network's choice, behind all others."""


@compiled
def rank_groups(world: World, state: State, waiting: Waiting, groups: Groups, weights: Weights) -> Floats:
    """Score the groups that wait, and give their units the numbers by which they are tried in this round.

    What has waited long enough comes first, oldest first, then scores with the pull of priority, then the higher
    priority, the earlier deadline and arrival: as `learned.choices.Round.order`.

    Returns:
        Features of the whole: (G,).
    """
    listed = np.sort(groups.listed[: _gather(state, waiting, groups)])
    rows = _in_turn(groups, listed)
    columns = group_columns(world, state, waiting, groups, listed, rows)
    weight = np.empty(len(rows))
    for at in range(len(rows)):
        weight[at] = groups.counts[rows[at], COUNT] * groups.counts[rows[at], SIZED]
    x = task_features(columns)
    g = whole(world, state, columns, x, weight, _tasks_of(groups, listed))
    embedded = encode(weights, x)
    pooled, all_of_them = np.zeros((1, embedded.shape[1])), weight.sum()
    for at in range(len(rows)):
        pooled[0] += embedded[at] * (weight[at] / all_of_them)
    around = surroundings(weights, pooled, g)
    scores = score_tasks(weights, x, g, embedded, around)
    waits = score_waiting(weights, g, around)
    for at in range(len(rows)):
        group = rows[at]
        groups.numbers[group, SCORE] = scores[at]
        groups.inner[group] = embedded[at]
    for at in range(len(listed)):
        groups.held[listed[at]] = _may_hold_back(world, state, waiting, groups, listed[at], waits)
    _number(state, world, waiting, groups, listed)
    groups.contexts[groups.marks[ROUNDS] % CONTEXTS] = g
    groups.marks[ROUNDS] += 1
    return g


@lean
def score_waiting(weights: Weights, g: Floats, around: Floats) -> float:
    """Return the score of starting nothing, given what `surroundings` returns."""
    total = weights.wait_bias[0]
    for feature in range(len(g)):
        total += g[feature] * weights.wait_skip[feature]
    for unit in range(len(around)):
        total += max(around[unit], 0.0) * weights.wait[unit]
    return float(total)


@lean
def _gather(state: State, waiting: Waiting, groups: Groups) -> int:
    """Count who waits of each group and since when; returns how many groups are listed now, of which some wait."""
    m = 0
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        begins = waiting.shapes[shape, BEGINS]
        for place in range(waiting.shapes[shape, WAIT_COUNT]):
            group = groups.of[waiting.lists[begins + place, HEAP]]
            groups.counts[group, COUNT] = 0
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        begins = waiting.shapes[shape, BEGINS]
        for place in range(waiting.shapes[shape, WAIT_COUNT]):
            unit = waiting.lists[begins + place, HEAP]
            group, ready = groups.of[unit], state.times[unit, READY_AT]
            if groups.counts[group, COUNT] == 0:
                groups.listed[m] = group
                groups.numbers[group, SINCE] = ready
                m += 1
            groups.counts[group, COUNT] += 1
            groups.numbers[group, SINCE] = min(groups.numbers[group, SINCE], ready)
    return m


@lean
def _tasks_of(groups: Groups, listed: Ints) -> float:
    total = 0
    for at in range(len(listed)):
        total += groups.counts[listed[at], COUNT] * groups.counts[listed[at], SIZED]
    return float(total)


@compiled
def _in_turn(groups: Groups, listed: Ints) -> Ints:
    """Return the groups that are scored now: all, or `SCORED` of them."""
    m = len(listed)
    if m <= SCORED:
        return listed
    rows, count = np.empty(SCORED, np.int64), 0
    for at in range(m):
        if count < SCORED and np.isnan(groups.numbers[listed[at], SCORE]):
            rows[count] = listed[at]
            count += 1
    fresh, first = count, groups.marks[TURN] % m
    for step in range(m):
        group = listed[(first + step) % m]
        if count == SCORED:
            break
        if not np.isnan(groups.numbers[group, SCORE]):
            rows[count] = group
            count += 1
    groups.marks[TURN] = first + count - fresh
    return np.sort(rows[:count])


@lean
def _may_hold_back(
    world: World, state: State, waiting: Waiting, groups: Groups, group: int, waits: float
) -> bool:
    """Tell whether a group waits because the network says so; the bounds are those of `learned.choices.Round.held`."""
    numbers = groups.numbers[group]
    if np.isnan(numbers[SCORE]) or not numbers[SCORE] < waits:
        return False
    now, head = state.clock[0], groups.counts[group, HEAD]
    if now - numbers[SINCE] >= MAX_WAIT_S:
        return False
    if world.tasks.deadline[head] - now - numbers[REQUEST] <= MAX_WAIT_S:
        return False
    able = groups.possible[waiting.units[head, SHAPE]]
    for node in range(len(state.online)):
        if able[node] and state.online[node] and state.at_node[node, FIRST_ON] != NOBODY:
            return True
    return False


@compiled
def _number(state: State, world: World, waiting: Waiting, groups: Groups, listed: Ints) -> None:
    """Give each unit that waits its group's place in the order as its number."""
    first, second, third = np.empty(len(listed)), np.empty(len(listed)), np.empty(len(listed))
    _fill_keys(state, world, groups, listed, first, second, third)
    order = np.argsort(-third, kind="mergesort")
    order = order[np.argsort(-second[order], kind="mergesort")]
    order = order[np.argsort(-first[order], kind="mergesort")]
    _write_places(waiting, groups, listed, order, np.empty(len(groups.held)))


@lean
def _fill_keys(
    state: State, world: World, groups: Groups, listed: Ints, first: Floats, second: Floats, third: Floats
) -> None:
    """Write by what groups are ordered, the highest first: whether they waited too long, the key, the priority."""
    now, spread = state.clock[0], _spread(groups, listed)
    for at in range(len(listed)):
        group = listed[at]
        numbers, points = groups.numbers[group], float(world.tasks.priority[groups.counts[group, HEAD]])
        score = numbers[SCORE]
        first[at], third[at] = 0.0, points
        second[at] = LAST if np.isnan(score) else score + spread * PRIORITY_SPREADS * points / MAX_PRIORITY
        if now - numbers[SINCE] >= PATIENCE_S:
            first[at], second[at] = 1.0, -numbers[SINCE]
        numbers[TOO_LONG] = first[at]


@lean
def _spread(groups: Groups, listed: Ints) -> float:
    """Return the standard deviation of the groups' scores, of those that have one; 0 where none has."""
    count, mean, squares = 0, 0.0, 0.0
    for at in range(len(listed)):
        score = groups.numbers[listed[at], SCORE]
        if not np.isnan(score):
            count += 1
            mean += (score - mean) / count
    for at in range(len(listed)):
        score = groups.numbers[listed[at], SCORE]
        if not np.isnan(score):
            squares += (score - mean) ** 2
    return float(np.sqrt(squares / count)) if count else 0.0


@lean
def _write_places(waiting: Waiting, groups: Groups, listed: Ints, order: Ints, places: Floats) -> None:
    """Write each group's place, and number the units that wait by it."""
    for place in range(len(order)):
        groups.listed[place] = listed[order[place]]
    for place in range(len(order)):
        group = groups.listed[place]
        places[group] = HELD_KEY if groups.held[group] else float(place)
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        begins = waiting.shapes[shape, BEGINS]
        for place in range(waiting.shapes[shape, WAIT_COUNT]):
            unit = waiting.lists[begins + place, HEAP]
            group = groups.of[unit]
            waiting.numbers[unit, KEY] = places[group]
            if groups.held[group]:
                waiting.units[unit, ASIDE] = 0  # it was not looked at, so nothing is known of it
        heapify(waiting, shape)
