"""Ordering: which group of like tasks is served first, and how waiting raises its turn."""

from __future__ import annotations

import math
from collections.abc import Callable

from farlane.scheduler.view import Group, View

MAX_PRIORITY = 100
AGEING_S = 60.0
"""Waiting this many seconds is worth one point of priority."""
BAND_POINTS = 10
"""Shortest-first compares sizes only within a band of this many points, so that ageing lifts what is large."""

PATIENCE_S = 6 * 3600.0
"""Under any policy, work that has waited so long goes before all that its policy would rather have first."""

Order = Callable[[View], list[Group]]
"""Returns the view's groups, the one to serve first in front."""


def effective_priority(priority: int, since: float, now: float) -> float:
    """Return the priority that waiting has earned: min(100, priority + waited_s / 60).

    One point a minute up to the cap of 100, so that work of any priority reaches the front in bounded time
    (at most 100 minutes) unless everything before it has priority 100 too and is older or has a deadline.

    Source: linear ageing as in Slurm's multifactor plugin (age factor), with a slope of our own choice.
    """
    return min(float(MAX_PRIORITY), priority + max(0.0, now - since) / AGEING_S)


def fifo_order(view: View) -> list[Group]:
    """Return groups by effective priority in whole points, then earliest deadline, oldest, lowest key.

    Whole points make ties, and with them deadlines count among work of like priority and age.

    Source: earliest deadline first for the ties (Liu and Layland 1973); oldest first is FCFS.
    """
    return sorted(view.groups, key=lambda group: (-_points(group, view.now), *_ties(group)))


def shortest_order(view: View) -> list[Group]:
    """Return groups by band of effective priority, then least work (see `work`), then the ties of `fifo_order`.

    A group that waits is a band ahead of fresh work of its own priority after at most ten minutes.

    Source: smallest area first (Carastan-Santos et al. 2019): requested time x requested resources.
    """
    largest = view.nodes.capacity.max(axis=0, initial=1).tolist()

    def place_in_order(group: Group) -> tuple[float, ...]:
        return (-(_points(group, view.now) // BAND_POINTS), work(group, largest), *_ties(group))

    return sorted(view.groups, key=place_in_order)


def work(group: Group, largest: list[int]) -> float:
    """Return one task's work: seconds x dominant share of the largest node, the least over its alternatives.

    Seconds are the estimated run time, or the time-out while it is unknown. `largest` is the greatest capacity
    of each resource on any node.

    Source: the dominant share is that of Ghodsi et al. 2011 (DRF), taken of one node instead of the cluster.
    """
    shares = (
        max(amount / most for amount, most in zip(row, largest, strict=True) if amount)
        for row in group.demands.tolist()
    )
    return duration_bound(group) * min(shares, default=math.inf)


def duration_bound(group: Group) -> float:
    """Return how long one task is taken to run, in seconds: its estimate, else its time-out."""
    return group.timeout_s if group.run_time_s is None else group.run_time_s


def _points(group: Group, now: float) -> int:
    return int(effective_priority(group.priority, group.since, now))


def _ties(group: Group) -> tuple[float, float, int]:
    return (math.inf if group.deadline_at is None else group.deadline_at, group.since, group.key)
