"""Whose turn it is in a fleet under the network: groups are scored once a round, and numbered by guards and scores."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned.choices import MAX_WAIT_S
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.ordering import BAND_POINTS, PATIENCE_S
from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.learned_crowd import group_columns, whole
from farlane.scheduler.sim.learned_forward import encode, score_tasks, surroundings, task_features
from farlane.scheduler.sim.learned_groups import (
    BAND,
    CONTEXTS,
    COUNT,
    HEAD,
    REQUEST,
    ROUNDS,
    SCORE,
    SINCE,
    SIZED,
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
FIRST_BAND = 1000
"""Band of what has waited so long that no score counts."""
HELD_KEY = 1e18
"""Number of units that wait by the network's choice, behind all others."""


@compiled
def rank_groups(world: World, state: State, waiting: Waiting, groups: Groups, weights: Weights) -> Floats:
    """Score the groups that wait, and give their units the numbers by which they are tried in this round.

    What has waited long enough comes first, oldest first, then bands of declared priority, then scores, then the
    earlier deadline and arrival: as `learned.choices.Round.order`.

    Returns:
        Features of the whole: (G,).
    """
    listed = _gather(state, waiting, groups)
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
        groups.numbers[group, SCORE] = -1e300 if np.isnan(scores[at]) else scores[at]
        groups.inner[group] = embedded[at]
    for at in range(len(listed)):
        groups.held[listed[at]] = _may_hold_back(world, state, waiting, groups, listed[at], waits)
    _number(state, world, waiting, groups, listed)
    groups.contexts[groups.marks[ROUNDS] % CONTEXTS] = g
    groups.marks[ROUNDS] += 1
    return g


@compiled
def score_waiting(weights: Weights, g: Floats, around: Floats) -> float:
    """Return the score of starting nothing, given what `surroundings` returns."""
    total = weights.wait_bias[0]
    for feature in range(len(g)):
        total += g[feature] * weights.wait_skip[feature]
    for unit in range(len(around)):
        total += max(around[unit], 0.0) * weights.wait[unit]
    return float(total)


@compiled
def _gather(state: State, waiting: Waiting, groups: Groups) -> Ints:
    """Count who waits of each group and since when; returns the groups of which some wait, in their order."""
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
    return np.sort(groups.listed[:m])


@compiled
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


@compiled
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
    m, now = len(listed), state.clock[0]
    first, second = np.empty(m), np.empty(m)
    for at in range(m):
        group = listed[at]
        wait, priority = now - groups.numbers[group, SINCE], world.tasks.priority[groups.counts[group, HEAD]]
        score = groups.numbers[group, SCORE]
        first[at], second[at] = float(priority // BAND_POINTS), -1e300 if np.isnan(score) else score
        if wait >= PATIENCE_S:
            first[at], second[at] = float(FIRST_BAND), -groups.numbers[group, SINCE]
        groups.numbers[group, BAND] = first[at]
    order = np.argsort(-second, kind="mergesort")
    order = order[np.argsort(-first[order], kind="mergesort")]
    for place in range(m):
        groups.listed[place] = listed[order[place]]
    places = np.empty(len(groups.held))
    for place in range(m):
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
