"""What the network sees of the groups that wait in a fleet, and of the whole; once a round.

The columns are those of production (`learned.view_features`), a group standing for its like units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.learned.features import TaskColumns
from farlane.scheduler.learned.view_features import NO_OPENING_S
from farlane.scheduler.ordering import MAX_PRIORITY
from farlane.scheduler.sim.compiled import compiled, lean
from farlane.scheduler.sim.expecting import EXPECTED, RUNNING, WAITING, count_run, elapsed_s, expect
from farlane.scheduler.sim.learned_groups import (
    COUNT,
    DEPENDENTS,
    HEAD,
    REQUEST,
    RUNS,
    SINCE,
    SIZED,
    SPARE_BUDGET,
    STREAM,
    Groups,
    expected_of,
    gpu_share,
)
from farlane.scheduler.sim.placing import fits
from farlane.scheduler.sim.state import EXPECTED_END, HELD_GPU, State
from farlane.scheduler.sim.waiting import (
    CLOSED,
    KNOWN,
    NARROW,
    SAMPLE,
    SHAPE,
    SIZE,
    Waiting,
)
from farlane.scheduler.sim.world import NEVER, WHOLE_GPU, Floats, Ints, World


class Around(NamedTuple):
    """What groups are told in terms of.

    ages: (q,) since when their oldest units wait, rising; owners: (3, u) as `_fill_owners` leaves it; pool: (3, 4) as
    `_fill_pool` does.
    """

    ages: Floats
    owners: Floats
    pool: Floats


class Made(NamedTuple):
    """Columns of q groups as they are filled.

    columns: (21, q) in the order of `TaskColumns` without habits, then crowd, running, elapsed_s; expected:
    (EXPECTED, q) habits; lacking: (q,) of the dominant resource; dominant: (q,) which that is.
    """

    columns: Floats
    expected: Floats
    lacking: Floats
    dominant: Ints


@compiled
def group_columns(
    world: World, state: State, waiting: Waiting, groups: Groups, listed: Ints, rows: Ints
) -> TaskColumns:
    """Return the columns of some of the groups that wait, which are listed."""
    q = len(rows)
    made, expected, owners = np.zeros((21, q)), np.empty((EXPECTED, q)), np.zeros((3, len(state.served)))
    _fill_owners(world, state, groups, listed, owners)
    pool, since = np.zeros((3, 4)), np.empty(q)
    _fill_pool(world, state, pool)
    _fill_since(groups, rows, since)
    lacking, column = np.zeros(q), np.zeros(q, np.int64)
    around, filled = Around(np.sort(since), owners, pool), Made(made, expected, lacking, column)
    _fill_columns(world, state, waiting, groups, rows, around, filled)
    if (made[6] == 0.0).any():
        count = groups.marks[RUNS]
        left, released = np.empty(count), np.zeros((4, count))
        _fill_left(state, groups, left)
        soonest = np.argsort(left)
        _fill_released(world, groups, soonest, released)
        _fill_openings(column, lacking, left, soonest, released, made)
    return TaskColumns(
        request_s=made[0], expected_s=made[1], wait_s=made[2], share=made[3], free=made[4], opening_s=made[5],
        fits=made[6], rank=made[7], known=made[8], priority=made[9], slack_s=made[10], load_s=made[11], gang=made[12],
        dependents=made[13], options=made[14], spare_budget=made[15], gpus=made[16], gpu_share=made[17],
        usual=expected[0], quick=expected[1], owner_usual=expected[2], owner_quick=expected[3],
        asked_usual=expected[4], asked_quick=expected[5], runs=expected[6], crowd=made[18], running=made[19],
        elapsed_s=made[20],
    )  # fmt: skip


@lean
def _fill_since(groups: Groups, rows: Ints, since: Floats) -> None:
    """Write since when the oldest unit of each group waits."""
    for at in range(len(rows)):
        since[at] = groups.numbers[rows[at], SINCE]


@lean
def _fill_columns(
    world: World,
    state: State,
    waiting: Waiting,
    groups: Groups,
    rows: Ints,
    around: Around,
    filled: Made,
) -> None:
    """Write the columns of groups but for their openings, what each lacks of its dominant resource, and which it is."""
    tasks, q, now = world.tasks, len(rows), state.clock[0]
    ages, owners, made, expected = around.ages, around.owners, filled.columns, filled.expected
    lacking, column = filled.lacking, filled.dominant
    total, free, most = around.pool[0], around.pool[1], around.pool[2]
    largest_gpus = 1.0
    for node in range(len(world.nodes.gpus)):
        largest_gpus = max(largest_gpus, float(world.nodes.gpus[node]))
    for at in range(q):
        since = groups.numbers[rows[at], SINCE]
        group = rows[at]
        head, size = groups.counts[group, HEAD], groups.counts[group, SIZED]
        shape = waiting.units[head, SHAPE]
        made[0, at], made[1, at] = groups.numbers[group, REQUEST], expected_of(groups, group)
        made[2, at] = now - since
        best, share = 0, -1.0
        for each in range(4):
            part = min(groups.asked[group, each] / max(total[each], 1.0), 1.0)
            if part > share:
                best, share = each, part
        made[3, at], column[at] = share, best
        made[4, at] = free[best] / total[best] if total[best] > 0.0 else 0.0
        made[6, at] = fits_somewhere(world, state, waiting, shape)
        lacking[at] = groups.asked[group, best] - min(size * most[best], free[best])
        made[7, at] = np.searchsorted(ages, since) / (q - 1.0) if q > 1 else 0.0
        made[8, at] = 0.0 if np.isnan(groups.recent[groups.counts[group, STREAM], 0]) else 1.0
        made[9, at] = tasks.priority[head] / MAX_PRIORITY
        made[10, at] = tasks.deadline[head] - now - made[1, at]
        made[11, at] = nearest_load_s(world, state, groups, head, shape)
        made[12, at], made[13, at] = size, groups.counts[group, DEPENDENTS]
        made[14, at], made[15, at] = groups.options[shape], groups.numbers[group, SPARE_BUDGET]
        made[16, at], made[17, at] = tasks.gpus[head] / largest_gpus, gpu_share(world, head)
        expect(state, head, made[0, at], expected, at)
        owner = tasks.user[head]
        made[18, at], made[19, at] = owners[WAITING, owner], owners[RUNNING, owner]
        made[20, at] = elapsed_s(owners, owner)


@lean
def _fill_owners(world: World, state: State, groups: Groups, listed: Ints, owners: Floats) -> None:
    """Add up what each user has, (3, u), in the rows of `expecting`; members of gangs count."""
    now = state.clock[0]
    for at in range(len(listed)):
        head = groups.counts[listed[at], HEAD]
        owners[WAITING, world.tasks.user[head]] += (
            groups.counts[listed[at], COUNT] * groups.counts[listed[at], SIZED]
        )
    for at in range(groups.marks[RUNS]):
        task = groups.runs[at]
        count_run(owners, world.tasks.user[task], now - state.started[task])


@compiled
def whole(world: World, state: State, of: TaskColumns, x: Floats, weight: Floats, waiting: float) -> Floats:
    """Return what the network sees of the whole, (G,): `features.global_features` with each group as its tasks.

    Args:
        world: what is simulated.
        state: now.
        of: columns of the groups, at least one.
        x: their features.
        weight: (q,) tasks of each group.
        waiting: tasks that wait, those of other groups among them.
    """
    pool, share = np.zeros((3, 4)), weight / weight.sum()
    _fill_pool(world, state, pool)
    online, churn = _churn(world, state)
    g = np.empty(16)
    g[0] = (share * of.free).sum()
    g[1] = pool[1, HELD_GPU] / pool[0, HELD_GPU] if pool[0, HELD_GPU] > 0.0 else 0.0
    g[2] = np.log10(1.0 + waiting) / 3.0
    g[3] = np.log10(1.0 + waiting * (share * of.expected_s * of.share).sum()) / 5.0
    g[4] = np.log10(1.0 + waiting * (share * of.request_s * of.share).sum()) / 5.0
    g[5] = (share * x[:, 2]).sum()
    mean = (share * x[:, 1]).sum()
    g[6] = np.sqrt((share * (x[:, 1] - mean) ** 2).sum())
    g[7] = 1.0
    g[8] = (share * of.fits).sum()
    g[9] = np.log10(1.0 + online) / 4.0
    g[10] = min(churn / max(1, online), 1.0)
    g[11] = (share * x[:, 3]).sum()
    g[12] = mean
    g[13] = (share * (x[:, 29] - np.maximum(x[:, 0], 0.2))).sum()
    g[14] = (share * x[:, 0]).sum()
    g[15] = (share * x[:, 25]).sum()
    return g


@lean
def _churn(world: World, state: State) -> tuple[int, float]:
    """Return how many nodes are online, and how many of them should leave within an hour."""
    online, churn = 0, 0.0
    for node in range(len(state.online)):
        if state.online[node]:
            online += 1
            churn += 3600.0 * world.nodes.hazard[node]
    return online, churn


@lean
def fits_somewhere(world: World, state: State, waiting: Waiting, shape: int) -> float:
    """Return 1 where each task of a shape's units fits on some node now, as far as room goes."""
    known = waiting.shapes[shape, KNOWN]
    if known == CLOSED:
        return 0.0
    if known == NARROW:
        return 1.0
    unit = waiting.shapes[shape, SAMPLE]
    for task in range(unit, unit + waiting.units[unit, SIZE]):
        found = False
        for node in range(len(state.online)):
            if fits(world, state, task, node):
                found = True
                break
        if not found:
            return 0.0
    return 1.0


@lean
def nearest_load_s(world: World, state: State, groups: Groups, task: int, shape: int) -> float:
    """Return how long it takes to bring a task's model to the node that would have it first; 0 where none is needed."""
    model, now = world.tasks.model[task], state.clock[0]
    if model < 0:
        return 0.0
    able, online, used, here = groups.possible[shape], state.online, state.used_at, state.here_at
    link, bandwidth, size = state.link_free, world.nodes.bandwidth, world.model_bytes[model]
    least = NEVER
    for node in range(len(online)):
        if not online[node] or not able[node]:
            continue
        if used[node, model] > -NEVER:
            least = min(least, max(0.0, here[node, model] - now))
            if least == 0.0:
                return 0.0
        else:
            least = min(least, max(0.0, link[node] - now) + size / bandwidth[node])
    return float(least) if least < NEVER else 0.0


@lean
def _fill_pool(world: World, state: State, pool: Floats) -> None:
    """Add up what nodes that are online have of each resource, what of it is free, and most on one node: (3, 4)."""
    total, free, most = pool[0], pool[1], pool[2]
    capacity, gpus, gpu_free = world.nodes.capacity, world.nodes.gpus, state.gpu_free
    for node in range(len(state.online)):
        if not state.online[node]:
            continue
        for each in range(3):
            total[each] += capacity[node, each]
            free[each] += state.free[node, each]
            most[each] = max(most[each], float(state.free[node, each]))
        room = 0
        for gpu in range(gpus[node]):
            room += gpu_free[node, gpu]
        total[HELD_GPU] += gpus[node] * WHOLE_GPU
        free[HELD_GPU] += room
        most[HELD_GPU] = max(most[HELD_GPU], float(room))


@lean
def _fill_left(state: State, groups: Groups, left: Floats) -> None:
    """Write how long each run that is watched is expected to last from now on."""
    for at in range(len(left)):
        left[at] = abs(state.times[groups.runs[at], EXPECTED_END] - state.clock[0])


@lean
def _fill_released(world: World, groups: Groups, soonest: Ints, released: Floats) -> None:
    """Write what the runs that end first hold of each resource, summed up to each of them: (4, r)."""
    tasks = world.tasks
    for place in range(len(soonest)):
        task = groups.runs[soonest[place]]
        for each in range(3):
            released[each, place] = tasks.demand[task, each]
        released[HELD_GPU, place] = tasks.gpus[task] * tasks.gpu_milli[task]
        if place:
            for each in range(4):
                released[each, place] += released[each, place - 1]


@lean
def _fill_openings(
    column: Ints, lacking: Floats, left: Floats, soonest: Ints, released: Floats, made: Floats
) -> None:
    """Write until when as much as is lacking is expected to be released anywhere, for those that fit nowhere."""
    for at in range(len(column)):
        if made[6, at] == 0.0:
            place = np.searchsorted(released[column[at]], max(1.0, lacking[at]))
            made[5, at] = left[soonest[place]] if place < len(soonest) else NO_OPENING_S
