"""Scaling: how many replicas a deployment should have, from how busy it is."""

from __future__ import annotations

from farlane.hub.deployments.events import LoadObserved
from farlane.hub.deployments.state import Record

SETTLE_S = 60.0
"""A lull must last so long before there are fewer replicas: the largest number asked for meanwhile counts."""


def observe(record: Record, event: LoadObserved) -> None:
    """Take note of a deployment's load."""
    load = record.load
    load.queued, load.in_flight, load.p95_s = event.queued, event.in_flight, event.p95_s
    load.last_request_at = max(load.last_request_at, event.last_request_at)


def settle(record: Record, now: float) -> None:
    """Set how many replicas are wanted now: within bounds, up at once, down only after a lull."""
    scale = record.deployment.scale
    if record.removed or record.failed or record.deployment.paused:
        record.wanted = 0
        return
    asked, window = _asked(record, now), record.load.wanted
    while window and window[0][0] <= now - SETTLE_S:
        window.popleft()
    window.append((now, asked))
    if len(window) > 2 and window[-2][1] == window[-3][1] == asked:
        del window[-2]  # only changes, and the newest, need to be remembered
    steady = asked if asked == 0 else max(number for _, number in window)
    record.wanted = min(max(steady, scale.min_replicas), scale.max_replicas)


def _asked(record: Record, now: float) -> int:
    """Return what the load of this moment asks for, before bounds: 0 only after a long idle time."""
    scale, load = record.deployment.scale, record.load
    busy = load.queued + load.in_flight
    if not busy:
        idle_s = now - max(load.last_request_at, record.since)
        return 0 if idle_s >= scale.idle_s else 1
    asked = -(-busy // scale.target_in_flight)
    if scale.target_p95_s and load.p95_s > scale.target_p95_s and load.in_flight:
        asked = max(asked, len(record.ready()) + 1)
    return asked
