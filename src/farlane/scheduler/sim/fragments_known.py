"""Added fragments that are known already: by class of task and node, until something on the node changes.

Few classes make up most tasks and one placement changes one node, so that nearly all of FGD's numbers are the same as
for the last task of the class. Nothing is approximated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from farlane.scheduler.sim.compiled import compiled
from farlane.scheduler.sim.fragments import Usual, added_fragments
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import CPU, MAX_GPUS, Floats, Ints, World


class Known(NamedTuple):
    """What is known of n nodes, t tasks and c classes of tasks that ask for the same CPU and GPUs.

    task_class: (t,); added: (c, n) thousandths of GPUs, nan where it has to be reckoned; gpu: (c, n) on which GPU, -1
    for tasks that take whole ones or none; room: (MAX_GPUS,) scratch.
    """

    task_class: Ints
    added: Floats
    gpu: Ints
    room: Ints


def nothing_known(world: World) -> Known:
    """Return columns for a world of which nothing is known yet."""
    tasks = world.tasks
    columns = np.stack([tasks.demand[:, CPU], tasks.gpus, tasks.gpu_milli], axis=1)
    classes, task_class = np.unique(columns, axis=0, return_inverse=True)
    shape = (max(1, len(classes)), len(world.nodes.gpus))
    return Known(
        task_class.reshape(-1).astype(np.int64),
        np.full(shape, np.nan),
        np.full(shape, -1, np.int64),
        np.zeros(MAX_GPUS, np.int64),
    )


@compiled
def learn_fragments(
    world: World, state: State, usual: Usual, known: Known, task: int, rows: Ints, count: int
) -> int:
    """See that what a task adds is known on each of some nodes.

    Args:
        world: what is simulated.
        state: now.
        usual: which tasks to expect.
        known: filled in.
        task: its row.
        rows: nodes on which it fits, the first `count` of them count.
        count: how many.

    Returns:
        The task's class: its row of `known.added` and `known.gpu`.
    """
    row = known.task_class[task]
    added, gpu = known.added[row], known.gpu[row]
    for at in range(count):
        node = rows[at]
        if np.isnan(added[node]):
            added[node], gpu[node] = added_fragments(world, state, usual, task, node, known.room)
    return int(row)


@compiled
def forget_node(known: Known, node: int) -> None:
    """Forget what is known of a node; to be called whenever what is free there has changed."""
    known.added[:, node] = np.nan


@compiled
def forget_all(known: Known) -> None:
    """Forget everything."""
    known.added[:, :] = np.nan
