"""Queue-ahead: how many short tasks a node may be leased beyond what is free, so that it never waits for the hub."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.view import Bools, Floats, NodeColumns, RunningColumns

HORIZON_S = 0.1
"""A node is given work for this long beyond one round trip; tasks longer than that gain nothing from it."""
MAX_AHEAD = 1024.0
"""At most this many tasks queue ahead for each slot, whatever their run time."""
LONG_HOLD = 2.0
"""What is held for longer than this many windows is no slot that short tasks could be waiting for."""
_SHORTEST_S = 1e-6


def window_s(nodes: NodeColumns) -> Floats:
    """Return for how long each node should have work at hand: (n,) seconds, horizon + round trip."""
    return HORIZON_S + nodes.rtt_s


def ahead(run_time_s: float, window: Floats) -> Floats:
    """Return how many tasks may queue for each slot: window / run time, none where that is below one.

    (n,) float64 in [0, MAX_AHEAD]. Tasks as long as the window get none: only what fits now is leased.

    Source: slots x (1 + RTT / mean task time) keeps a link busy (bandwidth-delay product); the horizon is added
    because the hub decides in rounds.
    """
    ratio = window / max(run_time_s, _SHORTEST_S)
    return np.where(ratio > 1.0, np.minimum(ratio, MAX_AHEAD), 0.0)


def long_running(running: RunningColumns, now: float, window: Floats) -> Bools:
    """Return which leases in force will hold their resources for long: (r,) bool.

    A lease that is overdue by x seconds is expected to take x more (Tsafrir et al. 2007 correct expired
    predictions likewise).
    """
    return remaining_s(running, now) > LONG_HOLD * window[running.node]


def remaining_s(running: RunningColumns, now: float) -> Floats:
    """Return how much longer each lease is expected to last: (r,) seconds, at least 0."""
    left: Floats = np.abs(running.ends_at - now)
    return left
