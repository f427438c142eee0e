"""Plots of runs of a fleet: how completion times are spread, and what was used over the day."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from farlane.scheduler.sim.fleet_scores import ended_at
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.usage import GPU_LINE, busy_shares
from farlane.scheduler.sim.world import World

HOUR = 3600.0


def draw(directory: Path, name: str, world: World, states: dict[str, State]) -> str:
    """Draw the runs of one world; returns what was written, or why not."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plots: matplotlib is missing (pip install matplotlib)"
    mpl.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5))
    edges = np.arange(0.0, 30.0 * HOUR, HOUR / 2)
    for policy, state in states.items():
        times = np.sort(ended_at(world, state) - world.tasks.arrival)
        left.plot(np.maximum(times, 1.0), np.linspace(0.0, 1.0, len(times)), label=policy, linewidth=1)
        right.plot(edges[:-1] / HOUR, 100 * busy_shares(world, state, edges)[:, GPU_LINE], linewidth=1)
    left.set(xscale="log", xlabel="completion time, s", ylabel="share of tasks", title=f"{name}: completion")
    right.set(xlabel="hour of the day (UTC)", ylabel="GPUs used, %", title=f"{name}: use")
    left.legend(fontsize=6)
    path = directory / f"fleet-{name}.png"
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return f"drawn: {path}"
