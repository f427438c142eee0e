"""Plots of runs of a fleet: how completion times are spread, and what was used over the day."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from farlane.scheduler.sim.fleet_scores import ended_at
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.usage import GPU_LINE, busy_shares
from farlane.scheduler.sim.world import World

HOUR = 3600.0
STYLES = ("-", "--", ":")
"""Ten colours in each, so that thirty policies can be told apart."""
MARKED = {"color": "black", "linewidth": 2.5, "linestyle": "-", "zorder": 5}
"""How the one is drawn that the plot is about."""


def draw(directory: Path, name: str, world: World, states: dict[str, State], marked: str = "") -> str:
    """Draw the runs of one world, one of them `marked`; returns what was written, or why not."""
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plots: matplotlib is missing (pip install matplotlib)"
    mpl.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5))
    edges = np.arange(0.0, 30.0 * HOUR, HOUR / 2)
    for at, (policy, state) in enumerate(states.items()):
        style = {"color": f"C{at % 10}", "linestyle": STYLES[at // 10 % len(STYLES)], "linewidth": 1}
        if policy == marked:
            style = MARKED
        times = np.sort(ended_at(world, state) - world.tasks.arrival)
        left.plot(np.maximum(times, 1.0), np.linspace(0.0, 1.0, len(times)), label=policy, **style)
        right.plot(edges[:-1] / HOUR, 100 * busy_shares(world, state, edges)[:, GPU_LINE], **style)
    ends = max(float(ended_at(world, state).max()) for state in states.values()) / HOUR
    right.set_xlim(0.0, min(edges[-1] / HOUR, ends))
    left.set(xscale="log", xlabel="completion time, s", ylabel="share of tasks", title=f"{name}: completion")
    right.set(xlabel="hour of the day (UTC)", ylabel="GPUs used, %", title=f"{name}: use")
    left.legend(fontsize=6)
    path = directory / f"fleet-{name}.png"
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return f"drawn: {path}"
