"""Batch jobs of machines unlike one another: the Lublin-Feitelson model with parameters by chance, for training.

One set of parameters makes one kind of queue, and weights that are trained on it alone fail on others. The ranges hold
the paper's own parameters in their middle; how much work arrives is drawn for itself, as a share of what the machine
can do, since all else would mostly make empty queues or ones that never end.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from farlane.lab.generators.lublin import PUBLISHED, LublinSettings, lublin_world
from farlane.scheduler.sim.world import CPU, World

PROCESSORS = (64, 128, 256, 512)
RANGES = {
    "serial": (0.05, 0.4), "power_of_two": (0.3, 0.58), "u_below": (1.5, 3.5), "u_prob": (0.5, 0.95),
    "b1": (0.6, 1.05), "b2": (0.02, 0.033), "pb": (0.5, 0.98),
}  # fmt: skip
"""Parameter of `LublinSettings` -> the range that it is drawn from."""
OFFERED = (0.5, 1.3)
"""Work that arrives in a second, as a share of what the machine does in one."""


def varied_settings(seed: int) -> LublinSettings:
    """Return parameters by chance; half of them let users ask for exactly as long as their jobs run."""
    random = np.random.default_rng([seed, 2])
    drawn: dict[str, Any] = {name: float(random.uniform(*bounds)) for name, bounds in RANGES.items()}
    return replace(
        PUBLISHED, processors=int(random.choice(PROCESSORS)), requests=bool(random.random() < 0.5), **drawn
    )


def varied_lublin_world(jobs: int, seed: int) -> World:
    """Return a pool and jobs by parameters of chance; raises as `lublin_world`."""
    world = lublin_world(jobs, seed, varied_settings(seed))
    wanted = float(np.random.default_rng([seed, 3]).uniform(*OFFERED))
    return with_load(world, wanted)


def with_load(world: World, offered: float) -> World:
    """Return a world of one pool whose tasks arrive so much faster or slower that they offer a share of its work."""
    tasks = world.tasks
    work = float((tasks.run_s * tasks.demand[:, CPU]).sum()) / float(world.nodes.capacity[0, CPU])
    span = float(tasks.arrival[-1] - tasks.arrival[0])
    if span <= 0.0:
        return world
    first = tasks.arrival[0]
    arrival = first + (tasks.arrival - first) * (work / (offered * span))
    return world._replace(tasks=tasks._replace(arrival=arrival))
