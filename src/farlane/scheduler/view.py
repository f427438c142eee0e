"""The view: a frozen snapshot of nodes and groups of like tasks, in columns, that a policy decides on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from farlane.domain.ids import JobId, NodeId
from farlane.domain.resources import GpuKind

CPU, MEMORY, DISK, FIRST_GPU = 0, 1, 2, 3
"""Columns of every resource matrix: milli-cores, bytes, bytes, then one count per GPU kind."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class NodeColumns:
    """All known nodes. n nodes, g GPU kinds.

    capacity, free: (n, 3 + g) int64; `free` is capacity minus all leases and may be negative where leases are
    queued ahead; online: (n,) bool, connected and not draining; core_second, gib_second: (n,) int64 and
    gpu_second: (n, g) int64, nano-credits; rtt_s: (n,) float64 round trip to the node; hazard: (n,) float64 departures
    to expect in a second that it is online.
    """

    ids: tuple[NodeId, ...]
    gpu_kinds: tuple[GpuKind, ...]
    capacity: Ints
    free: Ints
    online: Bools
    core_second: Ints
    gib_second: Ints
    gpu_second: Ints
    rtt_s: Floats
    hazard: Floats


@dataclass(frozen=True, slots=True)
class RunningColumns:
    """Leases in force, one row per (job, node) batch: what will be released where and by when.

    node: (r,) int64 row in NodeColumns; demand: (r, 3 + g) int64 held in all; ends_at: (r,) float64 unix
    seconds, the estimated end (bounded by the time-out).
    """

    node: Ints
    demand: Ints
    ends_at: Floats


class History(NamedTuple):
    """What past runs let expect of a group's tasks, by `scheduler.habits`; the last fields of `features.TaskColumns`.

    usual, quick: log10 of seconds, of the very kind of task; owner_usual, owner_quick: of all that its owner runs;
    asked_usual, asked_quick: of all that may last as long; runs: of its owner that were seen; crowd: its owner's tasks
    that wait; running: those that run; elapsed_s: how long these have run.
    """

    usual: float
    quick: float
    owner_usual: float
    owner_quick: float
    asked_usual: float
    asked_quick: float
    runs: float
    crowd: float
    running: float
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """Like tasks of one job, decided together.

    key: opaque, unique in the view; count: tasks ready now; demands: (k, 3 + g) int64, the alternatives of one
    task's demand (one row per GPU kind that would do; one row without GPU); eligible: (n,) bool, nodes that
    could ever run it (organisation, Python, labels, size, price), whatever is free; avoid: (n,) bool, eligible
    nodes to use only when no other is eligible and online (an earlier attempt failed there); run_time_s: estimate
    of one task, declared or learnt, None when unknown; timeout_s bounds it; since: unix seconds, when the oldest
    of these tasks was queued; affordable: how many more leases budgets and quotas admit; allowed: (k, n) bool, which
    alternative may be used on which node where a price cap or a quota tells them apart, None when all may; uses: what
    one task takes at most of limits that groups share, as (index in the view's `limits`, amount of at least 1);
    missing: (n,) int64, bytes that a node must bring before one of these tasks answers, None where nothing has to be
    brought; alike: (n,) int64, tasks like these that a node has already and that should stand apart, None for nowhere;
    history: what past runs let expect, None where nobody looked.
    """

    key: int
    job: JobId
    count: int
    demands: Ints
    eligible: Bools
    avoid: Bools | None
    priority: int
    since: float
    deadline_at: float | None
    run_time_s: float | None
    timeout_s: float
    affordable: int
    allowed: Bools | None = None
    uses: tuple[tuple[int, int], ...] = ()
    missing: Ints | None = None
    alike: Ints | None = None
    history: History | None = None


@dataclass(frozen=True, slots=True)
class View:
    """Everything a policy may look at. `now` is unix seconds.

    limits: what is left of budgets and quotas that groups share; whatever is placed takes its `uses` of them.
    """

    now: float
    nodes: NodeColumns
    running: RunningColumns
    groups: tuple[Group, ...]
    limits: tuple[int, ...] = ()


class Placement(NamedTuple):
    """`count` tasks of group `group` (its key) to node row `node`, using demand alternative `demand`.

    A named tuple, since a round may make 100,000 of them: a frozen dataclass takes twice as long to make.
    """

    group: int
    node: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks a placement for
    demand: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """A blocked group waits for a node: nothing may delay it there beyond `starts_at` (unix seconds)."""

    group: int
    node: int
    starts_at: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy decided: placements in the order in which they are to be applied, and what it waits for."""

    placements: tuple[Placement, ...]
    reservations: tuple[Reservation, ...] = ()
