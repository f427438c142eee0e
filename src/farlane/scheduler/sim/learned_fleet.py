"""Whole runs of a fleet under the learned policy: the task head says which unit is next, the node head where it goes.

The guards are those of production (`scheduler.learned.policy`): where a task may start is exact, what has waited long
comes first and has nodes held, declared priority pulls at scores, and a blocked unit has nodes held.
"""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim.choices import left_over
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.fleet import NOTHING_USUAL, first
from farlane.scheduler.sim.fragments import Usual
from farlane.scheduler.sim.learned_groups import (
    CONTEXTS,
    ROUNDS,
    TOO_LONG,
    Groups,
    groups_of,
    learn_ends,
    watch,
)
from farlane.scheduler.sim.learned_packing import Fleet, fleet_of
from farlane.scheduler.sim.learned_pairs import pair_scores
from farlane.scheduler.sim.learned_turns import HELD_KEY, rank_groups
from farlane.scheduler.sim.orders import FCFS, Order, fix_numbers
from farlane.scheduler.sim.placing import TIGHTEST, give_back, take
from farlane.scheduler.sim.rounds import (
    NO_ROOM,
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
    new_waiting,
)
from farlane.scheduler.sim.world import NEVER, Bools, Floats, World


def simulate_learned(
    world: World, weights: Weights, *, usual: Usual = NOTHING_USUAL, guard: bool = True
) -> State:
    """Run a world to its end under the network, and return its state there; arguments as for `run_learned_fleet`."""
    state, waiting = new_state(world), new_waiting(world)
    run_learned_fleet(world, state, waiting, usual, weights, guard)
    return state


def contexts_of(world: World, weights: Weights) -> Floats:
    """Return what the network saw of the whole in the last `CONTEXTS` rounds of a run, in no order: (c, G)."""
    waiting = new_waiting(world)
    groups = _run_with_groups(world, new_state(world), waiting, NOTHING_USUAL, weights, True)[1]
    return groups.contexts[: min(int(groups.marks[ROUNDS]), CONTEXTS)].copy()


def run_learned_fleet(
    world: World, state: State, waiting: Waiting, usual: Usual, weights: Weights, guard: bool = True
) -> int:
    """Run a world to its end: `fleet.run_fleet` with the network in the place of a rule.

    Scores of groups are those of the moment's beginning, as in a round of the hub; a moment in which nothing new fits
    anywhere has no round, and what is held stays held. The network may have a group wait as `Round.held` tells, until
    the next moment.

    Args:
        world: what is simulated.
        state: before its first event; changed.
        waiting: as `new_waiting` makes it; changed.
        usual: which tasks to expect, for fragments; of none, these count as 0.
        weights: of the network.
        guard: whether nodes are held for the first unit that is blocked; for what has waited long they always are.

    Returns:
        How many units started, restarts among them.
    """
    return _run_with_groups(world, state, waiting, usual, weights, guard)[0]


def _run_with_groups(
    world: World, state: State, waiting: Waiting, usual: Usual, weights: Weights, guard: bool
) -> tuple[int, Groups]:
    fix_numbers(world, state, waiting, Order.FCFS)
    exact = Weights(*(np.ascontiguousarray(array, np.float64) for array in weights))
    groups = groups_of(world, waiting)
    return int(_run(world, state, waiting, usual, fleet_of(world, usual), groups, exact, guard)), groups


@compiled
def _run(
    world: World,
    state: State,
    waiting: Waiting,
    usual: Usual,
    fleet: Fleet,
    groups: Groups,
    weights: Weights,
    guard: bool,
) -> int:
    started = 0
    while next_moment(world, state):
        learn_ends(world, state, groups)
        open_round(world, state, waiting, FCFS, NEVER, False)
        if _any_open(waiting):
            g = rank_groups(world, state, waiting, groups, weights)
            shut = np.zeros(len(waiting.shapes), np.bool_)
            started += _serve(world, state, waiting, usual, fleet, groups, weights, g, shut, guard)
        close_round(waiting)
    give_up(state, waiting)
    return started


@lean
def _any_open(waiting: Waiting) -> bool:
    """Tell whether units of some shape may find room."""
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        if waiting.shapes[waiting.shapes[at, ACTIVE_SHAPE], KNOWN] != CLOSED:
            return True
    return False


@lean
def _serve(
    world: World,
    state: State,
    waiting: Waiting,
    usual: Usual,
    fleet: Fleet,
    groups: Groups,
    weights: Weights,
    g: Floats,
    shut: Bools,
    guard: bool,
) -> int:
    """Try units in their order until none may start; returns how many did. `shut` is scratch, one False a shape."""
    started, blocked, closed_too = 0, False, True
    while True:
        unit = first(waiting, closed_too, shut)
        if unit == NOWHERE or waiting.numbers[unit, KEY] == HELD_KEY:
            return started
        shape, room = waiting.units[unit, SHAPE], NO_ROOM
        if waiting.shapes[shape, KNOWN] != CLOSED:
            room = _try(world, state, waiting, usual, fleet, groups, weights, g, unit)
            if room > 0:
                started += 1
                continue
        too_long = groups.numbers[groups.of[unit], TOO_LONG] > 0.0
        if too_long or (guard and not blocked):
            hold_for(world, state, waiting, unit, too_long)
        blocked |= not too_long
        if closed_too:
            shut[shape] |= room == NO_ROOM
            closed_too = too_long or (guard and not blocked)
        pass_over(waiting, unit, room)


@lean
def _try(
    world: World,
    state: State,
    waiting: Waiting,
    usual: Usual,
    fleet: Fleet,
    groups: Groups,
    weights: Weights,
    g: Floats,
    unit: int,
) -> int:
    """Start a unit if all its tasks may; returns 1, else 0 or NO_ROOM as `candidates` does of the one that may not."""
    behind = unit + waiting.units[unit, SIZE]
    for task in range(unit, behind):
        found = candidates(world, state, waiting, task, len(waiting.nodes))
        if found <= 0:
            for other in range(unit, task):
                give_back(world, state, other)
            return found
        node, gpu = choose(world, state, waiting, usual, fleet, groups, weights, g, task, found)
        take(world, state, task, node, gpu)
    start_unit(world, state, waiting, unit)
    for task in range(unit, behind):
        watch(groups, task)
    return 1


@compiled
def choose(
    world: World,
    state: State,
    waiting: Waiting,
    usual: Usual,
    fleet: Fleet,
    groups: Groups,
    weights: Weights,
    g: Floats,
    task: int,
    found: int,
) -> tuple[int, int]:
    """Return the node that the node head likes best of the first `found` candidates, and the GPU for a share there.

    Of equals it is the one with the least left over, then the first.
    """
    rows = waiting.nodes[:found, CANDIDATE].copy()
    if found == 1 and len(usual.share) == 0:
        return rows[0], TIGHTEST
    scores, gpus = pair_scores(world, state, usual, fleet, groups, weights, g, task, rows, waiting.room)
    best, highest, least = 0, -NEVER, NEVER
    for at in range(found):
        if scores[at] < highest:
            continue
        left = left_over(world, state, task, rows[at])
        if scores[at] > highest or left < least:
            best, highest, least = at, scores[at], left
    return rows[best], gpus[best]
