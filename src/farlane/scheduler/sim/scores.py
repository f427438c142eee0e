"""Scores of a finished run."""

from __future__ import annotations

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import WHOLE_GPU, Floats, World

SHORT_S = 10.0
"""Jobs shorter than this count as so long, lest seconds of waiting weigh thousandfold (Feitelson et al. 1997)."""


def bounded_slowdowns(world: World, state: State) -> Floats:
    """Return max(1, (wait + run) / max(run, SHORT_S)) of each task: (t,).

    Raises:
        InvalidInput: a task has not started: the run is not over, or dropped it.
    """
    if np.isnan(state.started).any():
        raise InvalidInput(
            f"{int(np.isnan(state.started).sum())} tasks never started: their slowdown has no bound"
        )
    run_s = state.ends - state.started
    wait_s = state.started - world.tasks.arrival
    slowdowns: Floats = np.maximum(1.0, (wait_s + run_s) / np.maximum(run_s, SHORT_S))
    return slowdowns


def gpu_allocation(world: World, state: State) -> float:
    """Return which share of all GPUs is taken at the end of a run, 0 to 1.

    Raises:
        InvalidInput: there are no GPUs.
    """
    total = int(world.nodes.gpus.sum()) * WHOLE_GPU
    if not total:
        raise InvalidInput("the world has no GPU")
    return 1.0 - float(state.gpu_free.sum()) / total
