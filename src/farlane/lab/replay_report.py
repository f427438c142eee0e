"""What a replay comes to: completion, waits and utilisation by policy, with bootstrap intervals over windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from farlane.domain.resources import Capacity, Resources
from farlane.lab.history import History
from farlane.lab.replay import Outcome
from farlane.scheduler.sim.world import Bools, Floats, Ints

RECORDED = "recorded"
"""Stands for what really happened."""
DAY_S = 86_400.0
LEAST_DAYS = 10
"""So many days with work are windows by themselves."""
MOST_WINDOWS = 20
LEAST_JOBS = 5
"""Of a window, where days are too few."""
SHORT_S = 10.0
"""Bounds slowdowns (Feitelson et al. 1997)."""
RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its bootstrap interval; nan bounds where there are too few windows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy's figures over the tasks that ended under all of them.

    completion_s, wait_s, wait_p95_s: seconds; slowdown: max(1, (wait + run) / max(run, SHORT_S)), its mean;
    utilisation: share of the scarcest resource that tasks held while the nodes were there; lost: tasks that ended
    without a result.
    """

    policy: str
    completion_s: Figure
    wait_s: Figure
    wait_p95_s: Figure
    slowdown: Figure
    utilisation: float
    lost: int


@dataclass(frozen=True, slots=True)
class Times:
    """Of each task: arrived, started, ended, unix seconds; window: which it belongs to. (t,) each."""

    arrived: Floats
    started: Floats
    ended: Floats
    window: Ints


def recorded(history: History) -> Outcome:
    """Return what happened as the outcome of a replay."""
    started = np.concatenate([job.started_at for job in history.jobs])
    ended = np.concatenate([job.ended_at for job in history.jobs])
    node = np.concatenate([job.node for job in history.jobs])
    done = np.concatenate([np.array(job.counted, np.int64) for job in history.jobs])
    return Outcome(started, ended, node, done, 0, int((node >= 0).sum()))


def arrivals(history: History) -> Floats:
    """Return when each task was added: (t,) unix seconds."""
    batches = [batch for job in history.jobs for batch in job.batches]
    return np.repeat([at for at, _ in batches], [many for _, many in batches]).astype(np.float64)


def windows(history: History) -> Ints:
    """Return the window of each task: (t,). Days, where there are enough with work; else runs of as many jobs."""
    opened = np.array([job.opened_at for job in history.jobs])
    _, window = np.unique(np.floor(opened / DAY_S), return_inverse=True)
    if window.max(initial=0) + 1 < LEAST_DAYS:
        count = max(1, min(MOST_WINDOWS, len(opened) // LEAST_JOBS))
        window = np.arange(len(opened)) * count // len(opened)
    return np.repeat(window, [job.tasks for job in history.jobs]).astype(np.int64)


def compared(history: History, outcomes: Mapping[str, Outcome]) -> Bools:
    """Return which tasks ended with a result under every policy, and are known from the history: (t,)."""
    kept = np.concatenate([np.array(job.counted, np.bool_) for job in history.jobs])
    for outcome in outcomes.values():
        kept &= (outcome.done > 0) & np.isfinite(outcome.started) & np.isfinite(outcome.ended)
    return kept


def figures(history: History, outcomes: Mapping[str, Outcome], seed: int = 0) -> list[Figures]:
    """Return the figures of each policy, over the tasks that all can be compared by."""
    kept, arrived, window = compared(history, outcomes), arrivals(history), windows(history)
    counted = np.concatenate([np.array(job.counted, np.bool_) for job in history.jobs])
    found = []
    for name, outcome in outcomes.items():
        times = Times(arrived[kept], outcome.started[kept], outcome.ended[kept], window[kept])
        wait, run = times.started - times.arrived, times.ended - times.started
        slow = np.maximum(1.0, (wait + run) / np.maximum(run, SHORT_S))
        found.append(
            Figures(
                name, _mean(times.ended - times.arrived, times.window, seed), _mean(wait, times.window, seed),
                _p95(wait, times.window, seed), _mean(slow, times.window, seed), utilisation(history, outcome),
                int((counted & (outcome.done == 0)).sum()),
            )
        )  # fmt: skip
    return found


def window_means(values: Floats, window: Ints) -> Floats:
    """Return the mean of each window that has any: (w,)."""
    counts = np.bincount(window)
    sums = np.bincount(window, weights=values)
    means: Floats = sums[counts > 0] / counts[counts > 0]
    return means


def utilisation(history: History, outcome: Outcome) -> float:
    """Return which share of the scarcest resource was held, 0 to 1, from the first task's coming to the last's end.

    Of cores, memory and GPUs (whatever their model): what tasks held, over what nodes had while they were there.
    """
    ended = outcome.ended[np.isfinite(outcome.ended)]
    begin, end = float(arrivals(history).min()), float(ended.max(initial=0.0))
    if end <= begin:
        return 0.0
    there = _present_s(history, begin, end)
    capacity = np.array([_amounts(spec.capacity) for spec in history.nodes], np.float64)
    offered = there @ capacity
    ran = np.clip(outcome.ended, begin, end) - np.clip(outcome.started, begin, end)
    ran = np.where(np.isfinite(ran), np.maximum(ran, 0.0), 0.0)
    each = np.array([_wanted(job.spec.resources) for job in history.jobs], np.float64)
    held = (np.repeat(each, [job.tasks for job in history.jobs], axis=0) * ran[:, None]).sum(axis=0)
    return float(np.max(held / np.where(offered > 0, offered, np.inf)))


def _present_s(history: History, begin: float, end: float) -> Floats:
    """Return for how long each node was there: (n,) seconds."""
    there, since = np.zeros(len(history.nodes)), np.full(len(history.nodes), np.nan)
    for change in history.changes:
        at = min(max(change.at, begin), end)
        if change.online:
            since[change.node] = at
        elif np.isfinite(since[change.node]):
            there[change.node] += at - since[change.node]
            since[change.node] = np.nan
    return there + np.where(np.isfinite(since), end - since, 0.0)


def _amounts(capacity: Capacity) -> tuple[int, int, int]:
    return capacity.cpu_milli, capacity.memory_bytes, sum(count for _, count in capacity.gpus)


def _wanted(resources: Resources) -> tuple[int, int, int]:
    return (
        resources.cpu_milli,
        resources.memory_bytes,
        resources.gpu.count if resources.gpu is not None else 0,
    )


def _mean(values: Floats, window: Ints, seed: int) -> Figure:
    """Return the mean over tasks; windows are resampled whole."""
    if not len(values):
        return Figure(np.nan, np.nan, np.nan)
    counts, sums = np.bincount(window), np.bincount(window, weights=values)
    counts, sums = counts[counts > 0], sums[counts > 0]
    drawn = _drawn(len(counts), seed)
    return _figure(float(values.mean()), None if drawn is None else sums[drawn].sum(1) / counts[drawn].sum(1))


def _p95(values: Floats, window: Ints, seed: int) -> Figure:
    if not len(values):
        return Figure(np.nan, np.nan, np.nan)
    groups = [values[window == each] for each in np.unique(window)]
    drawn = _drawn(len(groups), seed, min(RESAMPLES, 400))
    spread = (
        None
        if drawn is None
        else np.array([np.quantile(np.concatenate([groups[at] for at in row]), 0.95) for row in drawn])
    )
    return _figure(float(np.quantile(values, 0.95)), spread)


def _drawn(count: int, seed: int, resamples: int = RESAMPLES) -> Ints | None:
    if count < 2:
        return None
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _figure(value: float, drawn: Floats | None) -> Figure:
    if drawn is None:
        return Figure(value, np.nan, np.nan)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Figure(value, float(low), float(high))
