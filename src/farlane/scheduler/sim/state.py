"""The state of a simulated world: what is free, what waits, what runs; compiled loops change it in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.world import MAX_GPUS, WHOLE_GPU, Bools, Floats, Ints, World

NEXT_ARRIVAL, NEXT_CHANGE, QUEUED, RUNNING, FINISHED, DROPPED, RESTARTS, TOUCHED = range(8)
"""Places in `State.marks`."""
FUTURE, BLOCKED, READY, ACTIVE, DONE, GONE = range(6)
"""Values of `State.status`: not arrived, waits for parents, queued, running, finished, given up."""
EXPECTED_END, READY_AT, QUEUED_AT, QUEUED_S, WASTED_S = range(5)
"""Columns of `State.times`: when a running task should end by the time that is asked for; when it could first run, nan
before; when it last began to wait; how long it waited so far; how long runs were that were cut off."""
RESTARTED, LOADED, NEXT_ON, PREVIOUS_ON = range(4)
"""Columns of `State.counts`: how often a task was cut off; bytes of models that were fetched for it; its neighbours in
the list of what runs on its node, NOBODY at either end."""
FIRST_ON, TOUCHED_NODE, IS_TOUCHED = range(3)
"""Columns of `State.at_node`: the first task that runs there, NOBODY for none; in its first `marks[TOUCHED]` rows the
nodes where room was given back or a model came since somebody cleared them; whether a node is among them."""
NOBODY = -1
HELD_GPU = 3
"""Column of `State.held` and `State.sizes` behind CPU, MEMORY and DISK: thousandths of GPUs."""
OF_KIND, OF_OWNER, OF_ASKED = range(3)
"""Columns of `State.habit_of`."""
LARGEST, ALL = range(2)
"""Rows of `State.sizes`: of the largest node, of all nodes together."""


class State(NamedTuple):
    """Arrays of a run; n nodes, t tasks, m models, u users.

    clock: (1,) seconds; marks: (8,) counters by the constants above; free: (n, 3); gpu_free: (n, MAX_GPUS) thousandths;
    online: (n,); queue: (t,) ready tasks, the first `marks[QUEUED]` count, oldest first; status: (t,); node: (t,) where
    a task runs or ran, -1; gpu_taken: (t,) mask of its GPUs; started, ends: (t,) seconds; parents: (t,) still to
    finish; heap_at, heap_task: (t,) the running tasks as a heap by their end; used_at: (n, m) when a node last used a
    model, -inf where it does not have it; cached: (n,) bytes of models; recent: (u, 2) run times of each user's last
    two finished tasks, the newest first, nan before.

    here_at: (n, m) when a model that a node has will be there whole; link_free: (n,) when a node will have fetched all
    that it fetches; held: (u, 4) what each user's running tasks hold: the columns of demands and HELD_GPU; sizes:
    (2, 4) capacity in these columns, at least 1, by LARGEST and ALL; served: (u,) seconds times dominant share of the
    largest node that each user's ended and cut off runs took; times: (t, 5) seconds by EXPECTED_END and its followers;
    counts: (t, 4) by RESTARTED and its followers; at_node: (n, 3) by FIRST_ON and its followers; habits: (h, 3) of
    `scheduler.habits`; habit_of: (t, 3) rows in them by OF_KIND and its followers.
    """

    clock: Floats
    marks: Ints
    free: Ints
    gpu_free: Ints
    online: Bools
    queue: Ints
    status: Ints
    node: Ints
    gpu_taken: Ints
    started: Floats
    ends: Floats
    parents: Ints
    heap_at: Floats
    heap_task: Ints
    used_at: Floats
    cached: Ints
    recent: Floats
    here_at: Floats
    link_free: Floats
    held: Ints
    sizes: Ints
    served: Floats
    times: Floats
    counts: Ints
    at_node: Ints
    habits: Floats
    habit_of: Ints


def new_state(world: World) -> State:
    """Return the state of a world before its first event."""
    nodes, tasks = world.nodes, world.tasks
    n, t, m = len(nodes.gpus), len(tasks.arrival), max(1, len(world.model_bytes))
    gpu_free = np.where(np.arange(MAX_GPUS) < nodes.gpus[:, None], WHOLE_GPU, 0).astype(np.int64)
    amounts = np.column_stack([nodes.capacity, nodes.gpus * WHOLE_GPU])
    users = int(tasks.user.max(initial=0)) + 1
    habit_of = _habits_of(world)
    return State(
        clock=np.zeros(1),
        marks=np.zeros(8, np.int64),
        free=nodes.capacity.copy(),
        gpu_free=gpu_free,
        online=np.ones(n, np.bool_),
        queue=np.zeros(t, np.int64),
        status=np.zeros(t, np.int64),
        node=np.full(t, -1, np.int64),
        gpu_taken=np.zeros(t, np.int64),
        started=np.full(t, np.nan),
        ends=np.full(t, np.nan),
        parents=tasks.parents.copy(),
        heap_at=np.zeros(t),
        heap_task=np.zeros(t, np.int64),
        used_at=np.full((n, m), -np.inf),
        cached=np.zeros(n, np.int64),
        recent=np.full((users, 2), np.nan),
        here_at=np.zeros((n, m)),
        link_free=np.zeros(n),
        held=np.zeros((users, 4), np.int64),
        sizes=np.maximum(1, [amounts.max(axis=0, initial=0), amounts.sum(axis=0)]),
        served=np.zeros(users),
        times=np.array([np.nan, np.nan, 0.0, 0.0, 0.0]) * np.ones((t, 1)),
        counts=np.array([0, 0, NOBODY, NOBODY]) * np.ones((t, 1), np.int64),
        at_node=np.array([NOBODY, 0, 0]) * np.ones((n, 1), np.int64),
        habits=np.zeros((int(habit_of.max(initial=-1)) + 1, 3)),
        habit_of=habit_of,
    )


def _habits_of(world: World) -> Ints:
    """Return which habits each task shows, (t, 3) rows: its kind's, its owner's, and that of all that ask for as long.

    A kind is what one owner asks for as long for, with the same model.
    """
    tasks = world.tasks
    _, asked = np.unique(tasks.estimate_s, return_inverse=True)
    _, owner = np.unique(tasks.user, return_inverse=True)
    asked, owner = asked.ravel(), owner.ravel()
    counts = int(asked.max(initial=-1)) + 1, int(owner.max(initial=-1)) + 1
    alike = (owner * counts[0] + asked) * (len(world.model_bytes) + 1) + tasks.model + 1
    _, kind = np.unique(alike, return_inverse=True)
    kinds = int(kind.max(initial=-1)) + 1
    return np.column_stack([kind.ravel(), kinds + owner, kinds + counts[1] + asked]).astype(np.int64)
