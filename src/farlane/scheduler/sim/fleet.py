"""Whole runs of a fleet of unlike nodes under a rule: at each moment every waiting task may start where it fits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sharing import NEAR
from farlane.scheduler.sim.choices import FIRST_FIT, PRODUCT, Choice, left_over, rate, worth
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.fragments import Usual, usual_tasks
from farlane.scheduler.sim.orders import DOMINANT_SHARE, Order, fix_numbers, key
from farlane.scheduler.sim.placing import TIGHTEST, give_back, take
from farlane.scheduler.sim.rounds import (
    NO_ROOM,
    aged,
    candidates,
    close_round,
    give_up,
    hold_for,
    next_moment,
    open_round,
    pass_over,
    start_unit,
)
from farlane.scheduler.sim.state import State, new_state
from farlane.scheduler.sim.waiting import (
    ACTIVE_SHAPE,
    ACTIVE_SHAPES,
    CANDIDATE,
    CLOSED,
    KEY,
    KNOWN,
    NOWHERE,
    SHAPE,
    SIZE,
    Waiting,
    before,
    new_waiting,
    rekey,
    top,
)
from farlane.scheduler.sim.world import NEVER, Bools, World


class Rule(NamedTuple):
    """How a fleet decides.

    order: see `Order`. choice: see `Choice`. guard: whether nodes are held for the first unit that is blocked (EASY).
    patience_s: who waits longer goes first, oldest first, and has nodes held whatever `guard` says; inf: nobody.
    """

    order: int
    choice: int
    guard: bool
    patience_s: float


def simulate(
    world: World, order: Order, choice: Choice, *, guard: bool = False, patience_s: float = NEVER
) -> State:
    """Run a world to its end under a rule, and return its state there.

    Raises:
        InvalidInput: `patience_s` is not above 0.
    """
    if not patience_s > 0.0:
        raise InvalidInput(f"patience_s is {patience_s}, and must be above 0 seconds")
    state, waiting = new_state(world), new_waiting(world)
    fix_numbers(world, state, waiting, order)
    usual = usual_tasks(world.tasks) if choice is Choice.FGD else NOTHING_USUAL
    run_fleet(world, state, waiting, usual, Rule(int(order), int(choice), guard, patience_s))
    return state


NOTHING_USUAL = Usual(np.zeros(0), *(np.zeros(0, np.int64) for _ in range(4)))
"""For choices other than FGD."""


@lean
def run_fleet(world: World, state: State, waiting: Waiting, usual: Usual, rule: Rule) -> int:
    """Run a world to its end.

    Args:
        world: what is simulated.
        state: before its first event; changed.
        waiting: as `new_waiting` and `fix_numbers` make it; changed.
        usual: which tasks FGD expects; empty for other choices.
        rule: how units are ordered and placed.

    Returns:
        How many units started, restarts among them.
    """
    started = 0
    while next_moment(world, state):
        open_round(world, state, waiting, rule.order, rule.patience_s, rule.guard)
        started += _serve(world, state, waiting, usual, rule)
        close_round(waiting)
    give_up(state, waiting)
    return started


@compiled
def _serve(world: World, state: State, waiting: Waiting, usual: Usual, rule: Rule) -> int:
    """Try units in their order until none may start; returns how many did."""
    started, blocked, closed_too = 0, False, rule.guard or rule.patience_s < NEVER
    shut = np.zeros(len(waiting.shapes) if closed_too else 1, np.bool_)
    while True:
        unit = first(waiting, closed_too, shut)
        if unit == NOWHERE:
            return started
        if rule.order == DOMINANT_SHARE:
            now = key(world, state, waiting, rule.order, rule.patience_s, unit)
            if now > waiting.numbers[unit, KEY]:
                rekey(waiting, unit, now)
                continue
        shape = waiting.units[unit, SHAPE]
        room = NO_ROOM
        if waiting.shapes[shape, KNOWN] != CLOSED:
            room = _try(world, state, waiting, usual, rule.choice, unit)
            if room > 0:
                started += 1
                continue
        too_long = aged(state, unit, rule.patience_s)
        if too_long or (rule.guard and not blocked):
            hold_for(world, state, waiting, unit, too_long)
        blocked |= not too_long
        if closed_too:
            shut[shape] |= room == NO_ROOM
            closed_too = too_long or (rule.guard and not blocked)
        pass_over(waiting, unit, room)


@lean
def first(waiting: Waiting, closed_too: bool, shut: Bools) -> int:
    """Return the first unit of the shapes that may find room, or, with `closed_too`, of those not yet looked at."""
    best = NOWHERE
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        if waiting.shapes[shape, KNOWN] == CLOSED and (not closed_too or shut[shape]):
            continue
        unit = top(waiting, shape)
        if best == NOWHERE or before(waiting, unit, best):
            best = unit
    return best


@lean
def _try(world: World, state: State, waiting: Waiting, usual: Usual, choice: int, unit: int) -> int:
    """Start a unit if all its tasks may; returns 1, else 0 or NO_ROOM as `candidates` does of the one that may not."""
    for task in range(unit, unit + waiting.units[unit, SIZE]):
        found = candidates(world, state, waiting, task, 1 if choice == FIRST_FIT else len(waiting.nodes))
        if found <= 0:
            for other in range(unit, task):
                give_back(world, state, other)
            return found
        node, gpu = choose(world, state, waiting, usual, choice, task, found)
        take(world, state, task, node, gpu)
    start_unit(world, state, waiting, unit)
    return 1


@lean
def choose(
    world: World, state: State, waiting: Waiting, usual: Usual, choice: int, task: int, found: int
) -> tuple[int, int]:
    """Return the node that a choice likes best of the first `found` candidates, and the GPU for a share there."""
    near = NEVER
    if choice == PRODUCT and world.tasks.model[task] >= 0:
        for at in range(found):
            near = min(near, NEAR * rate(world, task, waiting.nodes[at, CANDIDATE]))
    best, on_gpu, highest, least = NOWHERE, TIGHTEST, -NEVER, NEVER
    for at in range(found):
        node = waiting.nodes[at, CANDIDATE]
        value, gpu = worth(world, state, usual, choice, task, node, near, waiting.room)
        if value < highest:
            continue
        left = left_over(world, state, task, node)
        if value > highest or left < least or (left == least and node < best):
            best, on_gpu, highest, least = node, gpu, value, left
    return best, on_gpu
