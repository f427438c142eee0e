"""The plots of a report, each an SVG element: ratios with intervals, distributions, schedules, busy shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from farlane.lab.evaluation.report.drawing import BEST, GRID, INK, LEVELS, OTHER, OURS, SOFT, canvas
from farlane.lab.evaluation.runs import QUANTILES, Outcome
from farlane.lab.evaluation.standings import Standing
from farlane.scheduler.sim.state import State
from farlane.scheduler.sim.world import CPU, Floats, Ints, World

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SLOWDOWN_STEPS = (2.0, 10.0, 100.0, 1_000.0)
"""Bounded slowdowns between the five colours of a schedule."""
_BINS = 240
Named = tuple[str, str]
"""A policy's name and its colour."""


def ratios(standings: Sequence[Standing]) -> str:
    """Draw ours over the best rule in hindsight, a line a setting: ratios of means and typical ones."""
    with canvas("ratios", 8.4, 0.9 + 0.42 * len(standings)) as drawing:
        (panel,) = drawing.panels
        rows = np.arange(len(standings))[::-1]
        for row, each in zip(rows.tolist(), standings, strict=True):
            gap, typical = each.best.gap, each.best.typical
            panel.plot([gap.low, gap.high], [row, row], color=OURS, solid_capstyle="round")
            panel.plot([gap.value], [row], "o", color=OURS, markersize=8)
            if typical is not None:
                panel.plot(
                    [typical.value], [row], "D", markerfacecolor="none", markeredgecolor=SOFT, markersize=6
                )
        panel.axvline(1.0, color=INK, linewidth=1.0)
        panel.set_xscale("log")
        _plain_ticks(panel)
        panel.set_yticks(rows, [f"{each.setting}  ({each.best.rival})" for each in standings])
        panel.set_ylim(-0.7, len(standings) - 0.3)
        panel.grid(axis="y", visible=False)
        panel.set_xlabel(
            "average bounded slowdown, ours / best rule in hindsight (left of 1: ours is better)"
        )
    return drawing.svg


def distributions(
    what: str, panels: Sequence[tuple[str, Sequence[tuple[Named, Sequence[Outcome]]]]], unit: str
) -> str:
    """Draw how many jobs had at most so much, a panel a setting: quantiles of all its sequences together."""
    rows = -(-len(panels) // 2)
    with canvas(f"cdf-{what}", 8.4, 2.6 * rows, rows, 2) as drawing:
        for panel, (title, policies) in zip(drawing.panels, panels, strict=False):
            for (name, colour), outcomes in policies:
                points = np.sort(np.concatenate([np.asarray(each.quantiles[what]) for each in outcomes]))
                share = np.linspace(0.0, 100.0, len(points))
                keep = np.unique(np.linspace(0, len(points) - 1, QUANTILES).astype(int))
                above = 3 if colour == OURS else 2
                panel.plot(np.maximum(points[keep], 1.0), share[keep], color=colour, label=name, zorder=above)
            panel.set_xscale("log")
            panel.set_ylim(0, 101)
            panel.set_title(title)
            panel.set_xlabel(unit)
            panel.set_ylabel("% of jobs")
            panel.legend(loc="best", fontsize=9)
        for panel in drawing.panels[len(panels) :]:
            panel.set_visible(False)
    return drawing.svg


def schedules(world: World, states: Sequence[tuple[str, State]]) -> str:
    """Draw who ran where and when, a panel a policy: colours by slowdown, from little to much."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    last = max(float(state.ends.max()) for _, state in states)
    first = float(world.tasks.arrival.min())
    with canvas("schedules", 8.4, 2.9 * len(states), len(states)) as drawing:
        for panel, (name, state) in zip(drawing.panels, states, strict=True):
            level = np.searchsorted(SLOWDOWN_STEPS, _slowdowns(world, state))
            by_level: list[list[Rectangle]] = [[] for _ in LEVELS]
            for task, low, high in placed_rows(world, state):
                at, width = (
                    (state.started[task] - first) / 3600.0,
                    (state.ends[task] - state.started[task]) / 3600.0,
                )
                by_level[int(level[task])].append(Rectangle((at, low), width, high - low))
            for boxes, colour in zip(by_level, LEVELS, strict=True):
                panel.add_collection(
                    PatchCollection(boxes, facecolor=colour, edgecolor=colour, linewidth=0.4)
                )
            panel.set_xlim(0, (last - first) / 3600.0)
            panel.set_ylim(0, int(world.nodes.capacity[0, CPU]))
            panel.set_title(f"{name}: average bounded slowdown {_slowdowns(world, state).mean():,.1f}")
            panel.set_ylabel("processors")
            panel.grid(visible=False)
        drawing.panels[-1].set_xlabel("hours")
        names = ("up to 2", "to 10", "to 100", "to 1,000", "above")
        drawing.figure.legend(
            handles=[Patch(color=colour, label=name) for colour, name in zip(LEVELS, names, strict=True)],
            loc="outside lower center", ncols=5, fontsize=9, title="slowdown of the job", title_fontsize=9,
        )  # fmt: skip
    return drawing.svg


def busy(world: World, states: Sequence[tuple[Named, State]]) -> str:
    """Draw the busy share of the pool and how many jobs wait over time."""
    with canvas("busy", 8.4, 4.4, 2) as drawing:
        above, below = drawing.panels
        first = float(world.tasks.arrival.min())
        last = max(float(state.ends.max()) for _, state in states)
        edges = np.linspace(first, last, _BINS + 1)
        hours = (edges[:-1] - first) / 3600.0
        for (name, colour), state in states:
            weight = world.tasks.demand[:, CPU] / world.nodes.capacity[0, CPU]
            above.plot(
                hours, 100.0 * held(edges, state.started, state.ends, weight), color=colour, label=name
            )
            ones = np.ones(len(weight))
            below.plot(hours, held(edges, world.tasks.arrival, state.started, ones), color=colour, label=name)
        above.set_ylabel("% of processors busy")
        above.set_ylim(0, 102)
        below.set_ylabel("jobs that wait")
        below.set_xlabel("hours")
        above.legend(loc="lower left", fontsize=9, ncols=2)
    return drawing.svg


def allocations(standings: Sequence[Standing], shown: Sequence[str]) -> str:
    """Draw the percent of GPUs in use at the end, a line a list: ours and some rules."""
    marks = dict(zip(shown, ("s", "^", "v", "P", "X"), strict=False))
    with canvas("allocations", 8.4, 0.9 + 0.42 * len(standings)) as drawing:
        (panel,) = drawing.panels
        rows = np.arange(len(standings))[::-1]
        for row, each in zip(rows.tolist(), standings, strict=True):
            for name, mark in marks.items():
                line = each.line(name)
                if line is not None:
                    colour = BEST if name == each.best.rival else OTHER
                    label = name if row == rows[0] else None
                    panel.plot([100.0 - line.mean], [row], mark, color=colour, markersize=7, label=label)
            label = each.ours if row == rows[0] else None
            panel.plot([100.0 - each.mean], [row], "o", color=OURS, markersize=9, label=label)
        panel.set_yticks(rows, [each.setting.removeprefix("openb ") for each in standings])
        panel.set_ylim(-0.7, len(standings) - 0.3)
        panel.grid(axis="y", color=GRID)
        panel.set_xlabel("GPU allocation in percent, further right is better")
        panel.legend(
            loc="upper center", bbox_to_anchor=(0.45, 1.0 + 0.9 / (1 + len(standings))), ncols=6, fontsize=9
        )
    return drawing.svg


def placed_rows(world: World, state: State) -> list[tuple[int, int, int]]:
    """Return (task, first row, row behind the last) of each stretch of processors that a task can be drawn on.

    The lowest ones that were free; a pool knows only how many.
    """
    free = np.ones(int(world.nodes.capacity[0, CPU]), np.bool_)
    taken: dict[int, Ints] = {}
    ending = sorted(range(len(state.ends)), key=lambda task: float(state.ends[task]))
    stretches, done = [], 0
    for task in np.argsort(state.started, kind="stable").tolist():
        while state.ends[ending[done]] <= state.started[task]:
            if ending[done] in taken:
                free[taken.pop(ending[done])] = True
            done += 1
        rows = np.flatnonzero(free)[: int(world.tasks.demand[task, CPU])]
        free[rows] = False
        taken[task] = rows
        pieces = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        stretches += [(task, int(piece[0]), int(piece[-1]) + 1) for piece in pieces]
    return stretches


def held(edges: Floats, begins: Floats, ends: Floats, weight: Floats) -> Floats:
    """Return the mean over each bin, (bins,), of the weight of all that had begun and not ended."""

    def until(times: Floats) -> Floats:
        order = np.argsort(times)
        ats, cumulated = times[order], np.concatenate([[0.0], np.cumsum(weight[order])])
        moments = np.concatenate([[0.0], np.cumsum(weight[order] * ats)])
        behind = np.searchsorted(ats, edges, side="right")
        integral: Floats = edges * cumulated[behind] - moments[behind]
        return integral

    whole: Floats = np.diff(until(begins) - until(ends)) / np.diff(edges)
    return whole


def _slowdowns(world: World, state: State) -> Floats:
    run = state.ends - state.started
    waited = state.started - world.tasks.arrival
    bounded: Floats = np.maximum(1.0, (waited + run) / np.maximum(run, 10.0))
    return bounded


def _plain_ticks(panel: Axes) -> None:
    """Write the ticks of a logarithmic axis as plain numbers, as many as there is room for."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    low, high = panel.get_xlim()
    subs = (1.0, 2.0, 5.0) if high / low > 8.0 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 8.0, 9.0)
    panel.xaxis.set_major_locator(LogLocator(base=10.0, subs=subs))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_locator(LogLocator(base=10.0, subs=()))
