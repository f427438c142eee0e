"""What happens in one round of a fleet, whoever decides: who waits, where a task may start, starting units, closing.

A round is opened after all events of one moment and closed before the next; between them units are tried one by one.
"""

from __future__ import annotations

from farlane.scheduler.sim.choices import expected_cost
from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.events import advance, next_at
from farlane.scheduler.sim.holds import (
    MAX_HOLDERS,
    hold,
    holder,
    holders,
    keep_holding,
    let_go,
    may_pass,
    renew_holds,
    use_spare,
)
from farlane.scheduler.sim.orders import PRIORITY, SHORTEST, key, lasting, steps_at
from farlane.scheduler.sim.placing import begin, fits
from farlane.scheduler.sim.running import push
from farlane.scheduler.sim.state import (
    DROPPED,
    EXPECTED_END,
    GONE,
    IS_TOUCHED,
    QUEUED,
    READY,
    READY_AT,
    TOUCHED,
    TOUCHED_NODE,
    State,
)
from farlane.scheduler.sim.waiting import (
    ACTIVE_SHAPE,
    ACTIVE_SHAPES,
    ASIDE,
    BEGINS,
    CANDIDATE,
    CLOSED,
    COUNT,
    FRESH,
    FRESH_NODES,
    HEAP,
    HOLD_ON,
    KEY,
    KNOWN,
    LISTED,
    MEMBERS_READY,
    NARROW,
    NOWHERE,
    OLDEST,
    OLDEST_FIRST,
    OLDEST_LAST,
    PASSED,
    PASSED_OVER,
    PLACE,
    SAMPLE,
    SHAPE,
    SIZE,
    STEPS_AT,
    WIDE,
    Waiting,
    heapify,
    join,
    leave,
    rekey,
)
from farlane.scheduler.sim.world import NEVER, World

NO_ROOM = -1
"""Instead of a number of candidates: the task fits on no node. 0: it fits, but may start on none."""


@lean
def next_moment(world: World, state: State) -> bool:
    """Let all events of the next moment happen; False where there are none."""
    if not advance(world, state):
        return False
    while next_at(world, state) <= state.clock[0]:
        advance(world, state)
    return True


@lean
def open_round(
    world: World, state: State, waiting: Waiting, order: int, patience_s: float, all_keys: bool
) -> None:
    """Take in what became ready, put in front who waited too long, and find out which shapes may find room now.

    Args:
        world: what is simulated.
        state: now; `touched` is cleared.
        waiting: changed.
        order: see `Order`.
        patience_s: who waits longer goes before all others.
        all_keys: whether numbers that change are computed for shapes that fit nowhere, too.
    """
    for at in range(state.marks[QUEUED]):
        _join_task(world, state, waiting, order, patience_s, state.queue[at])
    state.marks[QUEUED] = 0
    _age(world, state, waiting, order, patience_s)
    renew_holds(state, waiting)
    waiting.marks[FRESH_NODES] = state.marks[TOUCHED]
    for at in range(state.marks[TOUCHED]):
        node = state.at_node[at, TOUCHED_NODE]
        waiting.nodes[at, FRESH], state.at_node[node, IS_TOUCHED] = node, 0
    state.marks[TOUCHED] = 0
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        if waiting.shapes[shape, KNOWN] == CLOSED:
            _reopen(world, state, waiting, shape)
        if not lasting(order) and (all_keys or waiting.shapes[shape, KNOWN] != CLOSED):
            _renumber(world, state, waiting, order, patience_s, shape)


@lean
def _renumber(
    world: World, state: State, waiting: Waiting, order: int, patience_s: float, shape: int
) -> None:
    """Compute the numbers of a shape's units that may have changed, and put them in order.

    One that fell rises in its heap at once: it trades places with units that were looked at already.
    """
    begins, changed, stepwise = waiting.shapes[shape, BEGINS], False, order in (PRIORITY, SHORTEST)
    for place in range(waiting.shapes[shape, COUNT]):
        unit = waiting.lists[begins + place, HEAP]
        if state.clock[0] < waiting.numbers[unit, STEPS_AT]:
            continue
        number = key(world, state, waiting, order, patience_s, unit)
        waiting.numbers[unit, STEPS_AT] = steps_at(world, state, waiting, order, unit)
        if number < waiting.numbers[unit, KEY] and not changed and stepwise:
            rekey(waiting, unit, number)
        elif number != waiting.numbers[unit, KEY]:
            waiting.numbers[unit, KEY], changed = number, True
    if changed:
        heapify(waiting, shape)


@lean
def candidates(world: World, state: State, waiting: Waiting, task: int, most: int) -> int:
    """List the nodes on which a task may start now, in `waiting.nodes[:, CANDIDATE]`.

    That it fits, that it should cost no more than its budget, and that it delays nobody for whom the node is held. Only
    nodes that changed are looked at where no other can be.

    Returns:
        How many there are, looking for no more than `most` among all nodes; 0 where the task fits somewhere but may
        start nowhere; NO_ROOM.
    """
    unit = world.tasks.gang[task]
    single = waiting.units[unit, SIZE] == 1
    narrow = waiting.units[unit, ASIDE] or waiting.shapes[waiting.units[unit, SHAPE], KNOWN] == NARROW
    narrow = narrow and single
    budget = world.tasks.budget[task]
    found, room = 0, False
    for at in range(waiting.marks[FRESH_NODES] if narrow else len(world.nodes.gpus)):
        node = waiting.nodes[at, FRESH] if narrow else at
        if not fits(world, state, task, node):
            continue
        room = True
        if budget < NEVER and expected_cost(world, state, task, node) > budget:
            continue
        if waiting.nodes[node, HOLD_ON] == NOWHERE or may_pass(world, state, waiting, task, node):
            waiting.nodes[found, CANDIDATE] = node
            found += 1
            if found == most and not narrow:
                break
    # A unit that was passed over before looks at some nodes only: that it fits on none of them proves nothing.
    if room or waiting.units[unit, ASIDE]:
        return found
    return NO_ROOM


@lean
def start_unit(world: World, state: State, waiting: Waiting, unit: int) -> None:
    """Start a unit that waits and whose tasks took what they need; a gang ends as a whole, with its slowest."""
    leave(waiting, unit)
    waiting.units[unit, ASIDE] = 0
    waiting.units[unit, MEMBERS_READY] = 0
    behind = unit + waiting.units[unit, SIZE]
    ends, expected = 0.0, 0.0
    for task in range(unit, behind):
        begin(world, state, task)
        ends, expected = max(ends, state.ends[task]), max(expected, state.times[task, EXPECTED_END])
    for task in range(unit, behind):
        state.ends[task], state.times[task, EXPECTED_END] = ends, expected
        push(state, task)
        use_spare(world, state, waiting, task)
    let_go(state, waiting, unit)


@lean
def pass_over(waiting: Waiting, unit: int, room: int) -> None:
    """Look no further at a unit in this round; with NO_ROOM at none of its shape."""
    if room == NO_ROOM:
        waiting.shapes[waiting.units[unit, SHAPE], KNOWN] = CLOSED
        return
    leave(waiting, unit)
    waiting.units[unit, ASIDE] = 1
    waiting.lists[waiting.marks[PASSED_OVER], PASSED] = unit
    waiting.marks[PASSED_OVER] += 1


@lean
def hold_for(world: World, state: State, waiting: Waiting, unit: int, aged: bool) -> None:
    """Hold nodes for a blocked unit: an aged one, or the first of a round, in place of whoever was first before."""
    others = holders(waiting, unit)
    if others < 0:
        if aged:
            keep_holding(waiting, unit)
        return
    if not aged:
        former = holder(waiting, False)
        if former != NOWHERE:
            let_go(state, waiting, former)
            others -= 1
    if others < MAX_HOLDERS:
        hold(world, state, waiting, unit, aged)


@lean
def close_round(waiting: Waiting) -> None:
    """Have everybody wait again who was passed over, and forget which nodes had changed."""
    for at in range(waiting.marks[ACTIVE_SHAPES]):
        shape = waiting.shapes[at, ACTIVE_SHAPE]
        if waiting.shapes[shape, KNOWN] == NARROW:
            waiting.shapes[shape, KNOWN] = WIDE
    for at in range(waiting.marks[PASSED_OVER]):
        unit = waiting.lists[at, PASSED]
        join(waiting, unit, waiting.numbers[unit, KEY])
    waiting.marks[PASSED_OVER] = 0
    waiting.marks[FRESH_NODES] = 0


@lean
def give_up(state: State, waiting: Waiting) -> None:
    """Give up all that still wait: nothing will happen any more."""
    for task in range(len(waiting.units)):
        if waiting.units[task, PLACE] != NOWHERE:
            leave(waiting, task)
        if state.status[task] == READY:
            state.status[task] = GONE
            state.marks[DROPPED] += 1


@lean
def aged(state: State, unit: int, patience_s: float) -> bool:
    """Tell whether a unit has waited too long."""
    return bool(state.clock[0] - state.times[unit, READY_AT] > patience_s)


@lean
def _join_task(
    world: World, state: State, waiting: Waiting, order: int, patience_s: float, task: int
) -> None:
    """Have a unit wait when all its tasks are ready."""
    unit = world.tasks.gang[task]
    waiting.units[unit, MEMBERS_READY] += 1
    if waiting.units[unit, MEMBERS_READY] < waiting.units[unit, SIZE]:
        return
    if not waiting.units[unit, LISTED]:
        waiting.units[unit, LISTED] = 1
        waiting.lists[waiting.marks[OLDEST_LAST] % len(waiting.lists), OLDEST] = unit
        waiting.marks[OLDEST_LAST] += 1
    waiting.numbers[unit, STEPS_AT] = -NEVER
    join(waiting, unit, key(world, state, waiting, order, patience_s, unit))


@lean
def _age(world: World, state: State, waiting: Waiting, order: int, patience_s: float) -> None:
    """Put in front who has waited too long: but for restarts, the list is in the order of becoming ready."""
    while waiting.marks[OLDEST_FIRST] < waiting.marks[OLDEST_LAST]:
        unit = waiting.lists[waiting.marks[OLDEST_FIRST] % len(waiting.lists), OLDEST]
        if waiting.units[unit, PLACE] != NOWHERE:
            if not aged(state, unit, patience_s):
                return
            rekey(waiting, unit, key(world, state, waiting, order, patience_s, unit))
        waiting.units[unit, LISTED] = 0
        waiting.marks[OLDEST_FIRST] += 1


@lean
def _reopen(world: World, state: State, waiting: Waiting, shape: int) -> None:
    """Look whether a shape that fitted nowhere fits on a node that changed."""
    unit = waiting.shapes[shape, SAMPLE]
    single = waiting.units[unit, SIZE] == 1
    for task in range(unit, unit + waiting.units[unit, SIZE]):
        for at in range(waiting.marks[FRESH_NODES]):
            if fits(world, state, task, waiting.nodes[at, FRESH]):
                waiting.shapes[shape, KNOWN] = NARROW if single else WIDE
                return
