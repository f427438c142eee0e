"""The state of a simulated world: what is free, what waits, what runs; compiled loops change it in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.world import MAX_GPUS, WHOLE_GPU, Bools, Floats, Ints, World

NEXT_ARRIVAL, NEXT_CHANGE, QUEUED, RUNNING, FINISHED, DROPPED, RESTARTS = range(7)
"""Places in `State.marks`."""
FUTURE, BLOCKED, READY, ACTIVE, DONE, GONE = range(6)
"""Values of `State.status`: not arrived, waits for parents, queued, running, finished, given up."""


class State(NamedTuple):
    """Arrays of a run; n nodes, t tasks, m models, u users.

    clock: (1,) seconds; marks: (7,) counters by the constants above; free: (n, 3); gpu_free: (n, MAX_GPUS) thousandths;
    online: (n,); queue: (t,) ready tasks, the first `marks[QUEUED]` count, oldest first; status: (t,); node: (t,) where
    a task runs or ran, -1; gpu_taken: (t,) mask of its GPUs; started, ends: (t,) seconds; parents: (t,) still to
    finish; heap_at, heap_task: (t,) the running tasks as a heap by their end; used_at: (n, m) when a node last used a
    model, -inf where it does not have it; cached: (n,) bytes of models; recent: (u, 2) run times of each user's last
    two finished tasks, the newest first, nan before.
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


def new_state(world: World) -> State:
    """Return the state of a world before its first event."""
    nodes, tasks = world.nodes, world.tasks
    n, t, m = len(nodes.gpus), len(tasks.arrival), max(1, len(world.model_bytes))
    gpu_free = np.where(np.arange(MAX_GPUS) < nodes.gpus[:, None], WHOLE_GPU, 0).astype(np.int64)
    users = int(tasks.user.max(initial=0)) + 1
    return State(
        clock=np.zeros(1),
        marks=np.zeros(7, np.int64),
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
    )
