"""Holds: nodes kept for a blocked unit from when it is expected to fit; others may pass if they do not delay it.

EASY backfilling (Mu'alem and Feitelson 2001) with vectors of resources, and with several nodes for a gang. A hold keeps
its moment until its unit starts, the moment has passed or a node of it goes.
"""

from __future__ import annotations

import numpy as np

from farlane.scheduler.sim.choices import expected_cost
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.placing import expected_run_s, possible, touch
from farlane.scheduler.sim.state import EXPECTED_END, FIRST_ON, NEXT_ON, NOBODY, State
from farlane.scheduler.sim.waiting import (
    HOLD_AGED,
    HOLD_NODE,
    HOLD_ON,
    HOLD_UNIT,
    HOLDS,
    MAX_HOLDS,
    NOWHERE,
    PLACE,
    SIZE,
    SPARE,
    Waiting,
)
from farlane.scheduler.sim.world import MAX_GPUS, NEVER, Floats, Ints, World

MAX_HOLDERS = 4
"""Units that may hold nodes at one time (as many as `backfill.MAX_RESERVATIONS`)."""


@lean
def may_pass(world: World, state: State, waiting: Waiting, task: int, node: int) -> bool:
    """Tell whether a task that fits may start on a node in spite of who holds it."""
    row = waiting.nodes[node, HOLD_ON]
    unit = world.tasks.gang[task]
    if row == NOWHERE or waiting.holds[row, HOLD_UNIT] == unit:
        return True
    if state.clock[0] + expected_run_s(world, state, task, node) <= waiting.hold_at[row]:
        return True
    return bool(waiting.units[unit, SIZE] == 1 and slots(world, task, waiting.holds[row, SPARE:], node) > 0)


@lean
def use_spare(world: World, state: State, waiting: Waiting, task: int) -> None:
    """Take from what is left over on a held node what a task that starts there will still hold then."""
    row = waiting.nodes[state.node[task], HOLD_ON]
    if row == NOWHERE or waiting.holds[row, HOLD_UNIT] == world.tasks.gang[task]:
        return
    if state.times[task, EXPECTED_END] > waiting.hold_at[row]:
        _subtract(world, task, waiting.holds[row, SPARE:])


@lean
def slots(world: World, task: int, spare: Ints, node: int) -> int:
    """Return how many tasks like one fit into (3 + MAX_GPUS,) amounts of a node."""
    tasks = world.tasks
    most = 1 << 40
    for column in range(3):
        if tasks.demand[task, column]:
            most = min(most, spare[column] // tasks.demand[task, column])
    wanted, milli = tasks.gpus[task], tasks.gpu_milli[task]
    if wanted:
        parts = 0
        for gpu in range(world.nodes.gpus[node]):
            if wanted == 1:
                parts += spare[3 + gpu] // milli
            elif spare[3 + gpu] >= milli:
                parts += 1
        most = min(most, parts // wanted)
    return int(max(0, most))


@compiled
def hold(world: World, state: State, waiting: Waiting, unit: int, aged: bool) -> bool:
    """Hold for a unit the nodes where all of it will fit first, as far as is known; returns whether there are any.

    Nodes that others hold are left alone; the members of a gang count as if they were all like its first.
    """
    size = waiting.units[unit, SIZE]
    found, ats, nodes = 0, np.empty(64), np.empty(64, np.int64)
    for node in range(len(world.nodes.gpus)):
        if _may_hold(world, state, waiting, unit, node):
            opens = _openings(world, state, unit, node, size)
            while found + len(opens) > len(ats):
                ats, nodes = np.concatenate((ats, ats)), np.concatenate((nodes, nodes))
            for at in opens:
                ats[found], nodes[found] = at, node
                found += 1
    if found < size:
        return False
    first = np.argsort(ats[:found], kind="mergesort")[:size]
    starts_at = ats[first[size - 1]]
    if starts_at == NEVER or waiting.marks[HOLDS] + size > MAX_HOLDS:
        return False
    for place in first:
        _hold_node(world, state, waiting, unit, nodes[place], starts_at, aged)
    return True


@lean
def _may_hold(world: World, state: State, waiting: Waiting, unit: int, node: int) -> bool:
    """Tell whether a node is there, nobody else's, could run a unit's task, and is not too dear."""
    if not state.online[node] or waiting.nodes[node, HOLD_ON] != NOWHERE or not possible(world, unit, node):
        return False
    budget = world.tasks.budget[unit]
    return bool(budget == NEVER or expected_cost(world, state, unit, node) <= budget)


@lean
def let_go(state: State, waiting: Waiting, unit: int) -> None:
    """Hold nothing for a unit any more."""
    row = 0
    while row < waiting.marks[HOLDS]:
        if waiting.holds[row, HOLD_UNIT] != unit:
            row += 1
            continue
        node, last = waiting.holds[row, HOLD_NODE], waiting.marks[HOLDS] - 1
        waiting.nodes[node, HOLD_ON] = NOWHERE
        touch(state, node)
        if row < last:
            waiting.hold_at[row] = waiting.hold_at[last]
            for column in range(waiting.holds.shape[1]):
                waiting.holds[row, column] = waiting.holds[last, column]
            waiting.nodes[waiting.holds[row, HOLD_NODE], HOLD_ON] = row
        waiting.marks[HOLDS] = last


@lean
def renew_holds(state: State, waiting: Waiting) -> None:
    """Let go of holds that are over, and have the nodes of the others looked at in this round."""
    row = 0
    while row < waiting.marks[HOLDS]:
        unit, node = waiting.holds[row, HOLD_UNIT], waiting.holds[row, HOLD_NODE]
        waits = waiting.units[unit, PLACE] != NOWHERE
        if waits and state.online[node] and waiting.hold_at[row] > state.clock[0]:
            touch(state, node)
            row += 1
        else:
            let_go(state, waiting, unit)
            row = 0


@lean
def holder(waiting: Waiting, aged: bool) -> int:
    """Return a unit for which something is held, because it is aged or because it is first; NOWHERE for none."""
    for row in range(waiting.marks[HOLDS]):
        if bool(waiting.holds[row, HOLD_AGED]) == aged:
            return int(waiting.holds[row, HOLD_UNIT])
    return NOWHERE


@lean
def holders(waiting: Waiting, unit: int) -> int:
    """Return for how many units something is held; -1 where it is for this one, too."""
    count = 0
    for row in range(waiting.marks[HOLDS]):
        if waiting.holds[row, HOLD_UNIT] == unit:
            return -1
        first = True
        for other in range(row):
            first &= waiting.holds[other, HOLD_UNIT] != waiting.holds[row, HOLD_UNIT]
        count += first
    return count


@lean
def keep_holding(waiting: Waiting, unit: int) -> None:
    """Mark what is held for a unit as held because it waited too long: no other takes its turn."""
    for row in range(waiting.marks[HOLDS]):
        if waiting.holds[row, HOLD_UNIT] == unit:
            waiting.holds[row, HOLD_AGED] = 1


@compiled
def _openings(world: World, state: State, unit: int, node: int, most: int) -> Floats:
    """Return when a node has room for one, two, ... tasks like one, at most `most`: rising seconds."""
    spare = _amounts(state, node)
    opens, count = np.empty(most), min(most, slots(world, unit, spare, node))
    opens[:count] = state.clock[0]
    if count == most:
        return opens
    running = _running(state, node)
    for task in running:
        _add(world, state, task, spare)
        at = _ends_at(state, task)
        room = min(most, slots(world, unit, spare, node))
        while count < room:
            opens[count] = at
            count += 1
        if count == most:
            break
    return opens[:count]


@compiled
def _hold_node(
    world: World, state: State, waiting: Waiting, unit: int, node: int, at: float, aged: bool
) -> None:
    """Hold room for one task of a unit on a node."""
    row = waiting.nodes[node, HOLD_ON]
    if row == NOWHERE:
        row = waiting.marks[HOLDS]
        waiting.marks[HOLDS] += 1
        waiting.nodes[node, HOLD_ON], waiting.hold_at[row] = row, at
        waiting.holds[row, HOLD_UNIT], waiting.holds[row, HOLD_NODE] = unit, node
        waiting.holds[row, HOLD_AGED] = aged
        spare = waiting.holds[row, SPARE:]
        spare[:] = _amounts(state, node)
        for task in _running(state, node):
            if _ends_at(state, task) <= at:
                _add(world, state, task, spare)
    _subtract(world, unit, waiting.holds[row, SPARE:])


@compiled
def _amounts(state: State, node: int) -> Ints:
    """Return what is free on a node: (3 + MAX_GPUS,), the columns of demands, then thousandths of each GPU."""
    return np.concatenate((state.free[node], state.gpu_free[node]))


@compiled
def _running(state: State, node: int) -> Ints:
    """Return what runs on a node, in the order in which it is expected to end."""
    count, task = 0, state.at_node[node, FIRST_ON]
    while task != NOBODY:
        count += 1
        task = state.counts[task, NEXT_ON]
    rows, ends, task = np.empty(count, np.int64), np.empty(count), state.at_node[node, FIRST_ON]
    for at in range(count):
        rows[at], ends[at] = task, _ends_at(state, task)
        task = state.counts[task, NEXT_ON]
    return rows[np.argsort(ends, kind="mergesort")]


@lean
def _ends_at(state: State, task: int) -> float:
    """Return when a running task is expected to end; one overdue by x takes x more (see `queue_ahead.remaining_s`)."""
    now = state.clock[0]
    return float(now + abs(state.times[task, EXPECTED_END] - now))


@lean
def _add(world: World, state: State, task: int, spare: Ints) -> None:
    for column in range(3):
        spare[column] += world.tasks.demand[task, column]
    for gpu in range(MAX_GPUS):
        if (state.gpu_taken[task] >> gpu) & 1:
            spare[3 + gpu] += world.tasks.gpu_milli[task]


@lean
def _subtract(world: World, task: int, spare: Ints) -> None:
    """Take a task's demand from amounts: a share from the tightest GPU that has it, whole ones from the first."""
    tasks = world.tasks
    for column in range(3):
        spare[column] -= tasks.demand[task, column]
    milli, left = tasks.gpu_milli[task], tasks.gpus[task]
    while left:
        best = -1
        for gpu in range(MAX_GPUS):
            if spare[3 + gpu] >= milli and (best < 0 or spare[3 + gpu] < spare[3 + best]):
                best = gpu
        if best < 0:
            return
        spare[3 + best] -= milli
        left -= 1
