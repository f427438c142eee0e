"""Who waits in a fleet: units (a task alone or a whole gang), in one heap for each shape of what they ask for.

Units of one shape fit on the same nodes, so a shape that fits nowhere is looked at again only where something changed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.world import MAX_GPUS, Floats, Ints, World

SHAPE, SIZE, PLACE, ASIDE, MEMBERS_READY, LISTED = range(6)
"""Columns of `Waiting.units`: row of its shape; tasks of the unit that begins here, 0 for the other members of a gang;
place in the heap, NOWHERE outside; whether no node but those that changed may take it; members that are ready;
whether it is among the oldest."""
HEAP, PASSED, OLDEST = range(3)
"""Columns of `Waiting.lists`: the heaps, one shape behind the other; units that were passed over in this round; units
in the order in which they became ready, a ring."""
KEY, FIXED, QUICK_S, SHARE, STEPS_AT = range(5)
"""Columns of `Waiting.numbers`: a unit's number, the lowest first; what of it never changes; expected seconds where it
runs fastest; dominant share of the largest node, summed over members; seconds
before which its number stays as it is."""
BEGINS, COUNT, SAMPLE, KNOWN, ACTIVE_SHAPE, ACTIVE_AT = range(6)
"""Columns of `Waiting.shapes`: where its heap begins; how many wait; one unit of it; what is known (below); the shapes
of which some wait, in its first rows; place of a shape among those, NOWHERE."""
WIDE, NARROW, CLOSED = range(3)
"""What is known of a shape: nothing; it fits on no node but perhaps those that changed; on none at all."""
FRESH, HOLD_ON, CANDIDATE = range(3)
"""Columns of `Waiting.nodes`: nodes that changed since the last round, in its first rows; row of the hold on a node,
NOWHERE; nodes on which the task in hand may start, in its first rows."""
ACTIVE_SHAPES, PASSED_OVER, OLDEST_FIRST, OLDEST_LAST, FRESH_NODES, HOLDS, UNITS = range(7)
"""Places in `Waiting.marks`: how many are in each list (of the oldest, from where to where); how many units wait."""
HOLD_UNIT, HOLD_NODE, HOLD_AGED, SPARE = range(4)
"""Columns of `Waiting.holds`: for whom; where; whether it is for one that waited too long; from there on what will be
left over: the columns of demands, then thousandths of each GPU."""
MAX_HOLDS = 64
NOWHERE = -1


class Waiting(NamedTuple):
    """Arrays of those that wait; t tasks, s shapes, n nodes. Columns and places are the constants above.

    units: (t, 6); lists: (t, 3); numbers: (t, 5); shapes: (s, 6); nodes: (n, 3); holds: (MAX_HOLDS, SPARE + 3 +
    MAX_GPUS); hold_at: (MAX_HOLDS,) seconds when its unit is expected to start; marks: (7,); room: (MAX_GPUS,) scratch.
    """

    units: Ints
    lists: Ints
    numbers: Floats
    shapes: Ints
    nodes: Ints
    holds: Ints
    hold_at: Floats
    marks: Ints
    room: Ints


def new_waiting(world: World) -> Waiting:
    """Return an empty waiting room for a world's tasks."""
    tasks = world.tasks
    t, n = len(tasks.arrival), len(world.nodes.gpus)
    shape, size = unit_shapes(world)
    heads = size > 0
    count = int(shape.max(initial=-1)) + 1
    per_shape = np.bincount(shape[heads], minlength=count) if count else np.zeros(0, np.int64)
    shapes = np.zeros((max(1, count), 6), np.int64)
    shapes[:count, BEGINS] = np.cumsum(per_shape) - per_shape
    shapes[shape[heads][::-1], SAMPLE] = np.flatnonzero(heads)[::-1]
    shapes[:, ACTIVE_AT] = NOWHERE
    units = np.zeros((t, 6), np.int64)
    units[:, SHAPE], units[:, SIZE], units[:, PLACE] = shape, size, NOWHERE
    nodes = np.zeros((n, 3), np.int64)
    nodes[:, HOLD_ON] = NOWHERE
    return Waiting(
        units=units, lists=np.zeros((t, 3), np.int64), numbers=np.zeros((t, 5)), shapes=shapes, nodes=nodes,
        holds=np.zeros((MAX_HOLDS, SPARE + 3 + MAX_GPUS), np.int64), hold_at=np.zeros(MAX_HOLDS),
        marks=np.zeros(7, np.int64), room=np.zeros(MAX_GPUS, np.int64),
    )  # fmt: skip


def unit_shapes(world: World) -> tuple[Ints, Ints]:
    """Return each unit's shape, -1 for later members of gangs, and how many tasks it has, 0 for those: (t,) each."""
    tasks = world.tasks
    t = len(tasks.arrival)
    columns = (*tasks.demand.T, tasks.gpus, tasks.gpu_milli, tasks.gpu_models, tasks.vram, tasks.kind)
    code = _codes(columns)
    heads = np.flatnonzero(tasks.gang == np.arange(t))
    shape, size = np.full(t, -1, np.int64), np.zeros(t, np.int64)
    if not t:
        return shape, size
    size[heads] = np.diff(np.append(heads, t))
    mixed = np.zeros(len(heads), np.int64)
    known: dict[bytes, int] = {}
    for at in np.flatnonzero(np.maximum.reduceat(code, heads) != np.minimum.reduceat(code, heads)):
        members = code[heads[at] : heads[at] + size[heads[at]]]
        mixed[at] = known.setdefault(members.tobytes(), len(known) + 1)
    shape[heads] = _codes((code[heads], size[heads], mixed))
    return shape, size


def _codes(columns: tuple[Ints, ...]) -> Ints:
    """Return a number from 0 on for each different row of some columns: (rows,)."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, each = np.unique(column, return_inverse=True)
        if len(values) > 1:
            code = np.unique(code * len(values) + each, return_inverse=True)[1].astype(np.int64)
    return code


@lean
def join(waiting: Waiting, unit: int, key: float) -> None:
    """Take in a unit with its number."""
    shape = waiting.shapes[waiting.units[unit, SHAPE]]
    if shape[COUNT] == 0:
        shape[KNOWN], shape[ACTIVE_AT] = WIDE, waiting.marks[ACTIVE_SHAPES]
        waiting.shapes[waiting.marks[ACTIVE_SHAPES], ACTIVE_SHAPE] = waiting.units[unit, SHAPE]
        waiting.marks[ACTIVE_SHAPES] += 1
    waiting.numbers[unit, KEY] = key
    shape[COUNT] += 1
    waiting.marks[UNITS] += 1
    _rise(waiting, shape[BEGINS], shape[COUNT] - 1, unit)


@lean
def leave(waiting: Waiting, unit: int) -> None:
    """Take a unit out, wherever in its heap it is."""
    shape = waiting.shapes[waiting.units[unit, SHAPE]]
    begins, place = shape[BEGINS], waiting.units[unit, PLACE]
    shape[COUNT] -= 1
    waiting.marks[UNITS] -= 1
    waiting.units[unit, PLACE] = NOWHERE
    if place < shape[COUNT]:
        _settle(waiting, begins, place, shape[COUNT], waiting.lists[begins + shape[COUNT], HEAP])
    if shape[COUNT] == 0:
        last = waiting.marks[ACTIVE_SHAPES] - 1
        moved = waiting.shapes[last, ACTIVE_SHAPE]
        waiting.shapes[shape[ACTIVE_AT], ACTIVE_SHAPE] = moved
        waiting.shapes[moved, ACTIVE_AT] = shape[ACTIVE_AT]
        shape[ACTIVE_AT] = NOWHERE
        waiting.marks[ACTIVE_SHAPES] = last


@lean
def rekey(waiting: Waiting, unit: int, key: float) -> None:
    """Give a unit that waits another number."""
    waiting.numbers[unit, KEY] = key
    shape = waiting.shapes[waiting.units[unit, SHAPE]]
    _settle(waiting, shape[BEGINS], waiting.units[unit, PLACE], shape[COUNT], unit)


@lean
def heapify(waiting: Waiting, shape: int) -> None:
    """Put a shape's units in order again after their numbers have changed."""
    begins, count = waiting.shapes[shape, BEGINS], waiting.shapes[shape, COUNT]
    for place in range(count // 2 - 1, -1, -1):
        _sink(waiting, begins, place, count, waiting.lists[begins + place, HEAP])


@lean
def top(waiting: Waiting, shape: int) -> int:
    """Return the first unit of a shape of which some wait."""
    return int(waiting.lists[waiting.shapes[shape, BEGINS], HEAP])


@lean
def before(waiting: Waiting, one: int, other: int) -> bool:
    """Tell whether a unit comes before another: by their numbers, then by their rows."""
    a, b = waiting.numbers[one, KEY], waiting.numbers[other, KEY]
    return bool(a < b or (a == b and one < other))


@lean
def _settle(waiting: Waiting, begins: int, place: int, count: int, unit: int) -> None:
    if place and before(waiting, unit, waiting.lists[begins + ((place - 1) >> 1), HEAP]):
        _rise(waiting, begins, place, unit)
    else:
        _sink(waiting, begins, place, count, unit)


@lean
def _rise(waiting: Waiting, begins: int, place: int, unit: int) -> None:
    while place:
        parent = (place - 1) >> 1
        other = waiting.lists[begins + parent, HEAP]
        if not before(waiting, unit, other):
            break
        waiting.lists[begins + place, HEAP], waiting.units[other, PLACE] = other, place
        place = parent
    waiting.lists[begins + place, HEAP], waiting.units[unit, PLACE] = unit, place


@lean
def _sink(waiting: Waiting, begins: int, place: int, count: int, unit: int) -> None:
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        other = waiting.lists[begins + child, HEAP]
        if child + 1 < count and before(waiting, waiting.lists[begins + child + 1, HEAP], other):
            child += 1
            other = waiting.lists[begins + child, HEAP]
        if not before(waiting, other, unit):
            break
        waiting.lists[begins + place, HEAP], waiting.units[other, PLACE] = other, place
        place = child
    waiting.lists[begins + place, HEAP], waiting.units[unit, PLACE] = unit, place
