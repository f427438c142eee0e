"""Features: what the network sees of tasks, of the whole, of nodes and of a task on a node; ratios and logarithms only.

No identities and no absolute sizes, so that one set of weights serves any number of nodes and tasks. Every function
takes columns and is written in array expressions that numba compiles too: training and production share one source.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TASK_FEATURES = (
    "request", "expected", "trust", "size", "share", "request_area", "expected_area", "wait", "stretch",
    "request_stretch", "fits", "leftover", "opening", "rank", "known", "priority", "slack", "due", "load", "gang",
    "dependents", "options", "spare_budget", "gpus", "gpu_share", "usual", "quick", "owner_usual", "owner_quick",
    "asked_usual", "asked_quick", "runs", "crowd", "running", "elapsed", "usual_area", "held",
)  # fmt: skip
"""Columns of `task_features`."""
GLOBAL_FEATURES = (
    "free", "free_gpu", "queue", "backlog", "request_backlog", "trust", "spread", "passing", "fitting", "nodes",
    "churn", "usual_size", "usual_time", "accuracy", "request_time", "habit_time",
)  # fmt: skip
"""Columns of `global_features`."""
NODE_FEATURES = (
    "free_cpu", "free_memory", "free_gpu", "gpus", "idle", "wanted", "price", "hazard", "rtt", "reputation", "cached",
)  # fmt: skip
"""Columns of `node_features`."""
PAIR_FEATURES = (
    "fragments", "left_cpu", "left_memory", "left_gpu", "left_cpu_of_largest", "left_gpus_of_largest", "imbalance",
    "hole", "whole", "needless", "cpu_per_gpu", "load", "pace", "cost", "survives", "late", "alike",
    "soonest", "redone",
)  # fmt: skip
"""Columns of `pair_features`."""
SHORT_S = 10.0
"""Tasks shorter than this count as so long (the bound of bounded slowdown: Feitelson et al. 1997)."""
_DECADES = 5.0
_TINY = 1e-6
_NEVER = 1e-12
_SURE = 8.0
"""Departures to expect in a run, above which it is as good as never done: more would drown all other features."""


class TaskColumns(NamedTuple):
    """q tasks (or groups of like ones) that wait: (q,) float64 each.

    request_s: run time asked for; expected_s: expected by history, at most the one asked for; wait_s; share: dominant
    share of all that is online, 0 to 1; free: the share of that resource that is free; opening_s: until as much of it
    as is lacking is expected to be released, 0 where it fits; fits: 1 where it can start now; rank: 0 for the oldest to
    1 for the newest; known: 1 where there is a history; priority: 0 to 1; slack_s: deadline - now - expected_s, inf
    without deadline; load_s: to bring its model to the nearest node; gang: tasks that start together; dependents:
    tasks that wait for it; options: share of nodes that could ever run it; spare_budget: budget / expected cost - 1,
    inf where any cost will do; gpus: asked for, of the largest node's; gpu_share: of each, 0 without GPU to 1.

    By habits (`scheduler.habits`), log10 of seconds: usual, quick: of the very kind of task, else of its owner, else of
    all that ask for as long, else request_s; owner_usual, owner_quick: of its owner, else as before; asked_usual,
    asked_quick: of all that ask for as long, else request_s. runs: of its owner that were seen; crowd: its owner's
    tasks that wait, itself among them; running: those that run; elapsed_s: how long these have run, the geometric mean.
    """

    request_s: Floats
    expected_s: Floats
    wait_s: Floats
    share: Floats
    free: Floats
    opening_s: Floats
    fits: Floats
    rank: Floats
    known: Floats
    priority: Floats
    slack_s: Floats
    load_s: Floats
    gang: Floats
    dependents: Floats
    options: Floats
    spare_budget: Floats
    gpus: Floats
    gpu_share: Floats
    usual: Floats
    quick: Floats
    owner_usual: Floats
    owner_quick: Floats
    asked_usual: Floats
    asked_quick: Floats
    runs: Floats
    crowd: Floats
    running: Floats
    elapsed_s: Floats


class NodeColumns(NamedTuple):
    """n nodes: (n,) float64 each.

    cpu, memory, gpu: free share of the node's own, 0 to 1 (gpu 0 where there is none); gpus: of the largest node's;
    idle: 1 where nothing runs; wanted: share of the usual tasks' GPUs that could be of this node's model; price:
    credits an hour of the whole node; hazard: departures an hour; rtt_s; reputation: 0 to 1; cached: share of its
    cache in use.
    """

    cpu: Floats
    memory: Floats
    gpu: Floats
    gpus: Floats
    idle: Floats
    wanted: Floats
    price: Floats
    hazard: Floats
    rtt_s: Floats
    reputation: Floats
    cached: Floats


class PairColumns(NamedTuple):
    """One task on each of n nodes: (n,) float64 each.

    fragments: GPUs that usual tasks could not use, added by it (Weng et al. 2023); left_cpu, left_memory, left_gpu:
    free share of the node's own once it is there; largest_cpu, largest_gpus: what is left as a share of the largest
    node's; hole: left on the GPU of which it takes a share, 0 for whole ones; whole: GPUs left entirely free, of the
    node's; needless: 1 where the node has GPUs and the task asks for none; load_s: to bring its model; run_s: expected
    there; cost: expected, in credits; hazard: departures a second; slack_s: deadline - now, inf without; alike: tasks
    like it that are there and should stand apart.
    """

    fragments: Floats
    left_cpu: Floats
    left_memory: Floats
    left_gpu: Floats
    largest_cpu: Floats
    largest_gpus: Floats
    hole: Floats
    whole: Floats
    needless: Floats
    load_s: Floats
    run_s: Floats
    cost: Floats
    hazard: Floats
    slack_s: Floats
    alike: Floats


def task_features(of: TaskColumns) -> Floats:
    """Return what the network sees of tasks: (q, len(TASK_FEATURES)), each about -1 to 1.

    Sources: logarithms of run time, size and wait as in F1 to F4 (Carastan-Santos and de Camargo 2017) and RLScheduler
    (Zhang et al. 2020); history as in Tsafrir et al. 2007; stretch as in WFP3 and HRRN; opening as in EASY (Mu'alem and
    Feitelson 2001); the mean of logarithms as the robust one of the same. `usual_area` and `held` count what is left
    unused while a task is waited for as its work too: with the harmonic mean this is Smith's ratio (Smith 1956) where
    run times are uncertain.
    """
    x = np.empty((len(of.wait_s), 37))
    fill_asked(of, x)
    fill_habits(of, x)
    return x


def fill_asked(of: TaskColumns, x: Floats) -> None:
    """Write the features of `task_features` that need no habits: columns 0 to 24."""
    request, expected = np.maximum(of.request_s, 1.0), np.maximum(of.expected_s, 1.0)
    x[:, 0] = np.log10(request) / _DECADES
    x[:, 1] = np.log10(expected) / _DECADES
    x[:, 2] = x[:, 1] - x[:, 0]
    x[:, 3] = np.log10(np.maximum(of.share, _TINY)) / 3.0
    x[:, 4] = of.share
    x[:, 5] = x[:, 0] * of.share
    x[:, 6] = x[:, 1] * of.share
    x[:, 7] = np.log10(1.0 + of.wait_s) / _DECADES
    x[:, 8] = np.log10(1.0 + of.wait_s / np.maximum(expected, SHORT_S)) / 3.0
    x[:, 9] = np.log10(1.0 + of.wait_s / np.maximum(request, SHORT_S)) / 3.0
    x[:, 10] = of.fits
    x[:, 11] = np.minimum(np.maximum(of.free - of.share, -1.0), 1.0)
    x[:, 12] = np.log10(1.0 + of.opening_s) / _DECADES
    x[:, 13] = of.rank
    x[:, 14] = of.known
    x[:, 15] = of.priority
    bounded = np.minimum(np.maximum(of.slack_s / np.maximum(expected, SHORT_S), -1.0), 10.0)
    x[:, 16] = bounded / 10.0
    x[:, 17] = np.where(of.slack_s < np.inf, 1.0, 0.0)
    x[:, 18:22] = 0.0
    if of.load_s.any():
        x[:, 18] = np.log10(1.0 + of.load_s) / 3.0
    if (of.gang > 1.0).any():
        x[:, 19] = np.log10(np.maximum(of.gang, 1.0))
    if of.dependents.any():
        x[:, 20] = np.log10(1.0 + of.dependents) / 3.0
    if (of.options < 1.0).any():
        x[:, 21] = np.log10(np.maximum(of.options, _TINY)) / 3.0
    x[:, 22] = np.minimum(np.maximum(of.spare_budget, 0.0), 10.0) / 10.0
    x[:, 23] = np.minimum(of.gpus, 1.0)
    x[:, 24] = of.gpu_share


def fill_habits(of: TaskColumns, x: Floats) -> None:
    """Write the features of `task_features` that habits give, and what is left unused: columns 25 to 36."""
    longest = np.log10(np.maximum(of.request_s, SHORT_S))
    usual = np.minimum(of.usual, longest)
    x[:, 25] = usual / _DECADES
    x[:, 26] = np.minimum(of.quick, longest) / _DECADES
    x[:, 27] = np.minimum(of.owner_usual, longest) / _DECADES
    x[:, 28] = np.minimum(of.owner_quick, longest) / _DECADES
    x[:, 29] = np.minimum(of.asked_usual, longest) / _DECADES
    x[:, 30] = np.minimum(of.asked_quick, longest) / _DECADES
    x[:, 31] = np.log10(1.0 + of.runs) / 3.0
    x[:, 32] = np.log10(np.maximum(of.crowd, 1.0)) / 3.0
    x[:, 33] = np.log10(1.0 + of.running) / 2.0
    x[:, 34] = np.log10(1.0 + of.elapsed_s) / _DECADES
    idle = of.free * of.opening_s
    x[:, 35] = np.log10(1.0 + 10.0**usual * of.share + idle) / _DECADES
    x[:, 36] = np.log10(1.0 + idle) / _DECADES


def global_features(
    of: TaskColumns, x: Floats, free_gpu: float, passing: float, nodes: int, churn: float
) -> Floats:
    """Return what the network sees of the whole: (len(GLOBAL_FEATURES),).

    Args:
        of: the tasks that wait, at least one.
        x: their features.
        free_gpu: free share of all GPUs, 0 to 1.
        passing: 1 where small tasks may pass one that is held up (backfill), else 0.
        nodes: that are online.
        churn: departures to expect of a node in an hour.
    """
    g = np.empty(16)
    g[0] = of.free.mean()
    g[1] = free_gpu
    g[2] = np.log10(1.0 + len(of.wait_s)) / 3.0
    g[3] = np.log10(1.0 + (of.expected_s * of.share).sum()) / _DECADES
    g[4] = np.log10(1.0 + (of.request_s * of.share).sum()) / _DECADES
    g[5] = x[:, 2].mean()
    g[6] = x[:, 1].std()
    g[7] = passing
    g[8] = of.fits.mean()
    g[9] = np.log10(1.0 + nodes) / 4.0
    g[10] = min(churn, 1.0)
    g[11] = x[:, 3].mean()
    g[12] = x[:, 1].mean()
    g[13] = (x[:, 29] - np.maximum(x[:, 0], 1.0 / _DECADES)).mean()
    g[14] = x[:, 0].mean()
    g[15] = x[:, 25].mean()
    return g


def node_features(of: NodeColumns) -> Floats:
    """Return what the network sees of nodes: (n, len(NODE_FEATURES)); prices relative to the dearest node's."""
    y = np.empty((len(of.cpu), 11))
    y[:, 0] = of.cpu
    y[:, 1] = of.memory
    y[:, 2] = of.gpu
    y[:, 3] = of.gpus
    y[:, 4] = of.idle
    y[:, 5] = of.wanted
    y[:, 6] = of.price / max(of.price.max(), _TINY)
    y[:, 7] = np.minimum(of.hazard, 1.0)
    y[:, 8] = np.log10(1.0 + 1000.0 * of.rtt_s) / 3.0
    y[:, 9] = of.reputation
    y[:, 10] = of.cached
    return y


def pair_features(of: PairColumns) -> Floats:
    """Return what the network sees of one task on each node: (n, len(PAIR_FEATURES)).

    Pace, cost, and how soon it would end are relative to the best node's. Sources: fragments as in FGD (Weng et al.
    2023); what is left as in best fit and in alignment scores (Grandl et al. 2014); survival of a memoryless departure,
    exp(-hazard run); the end as earliest finish time (HEFT: Topcuoglu et al. 2002), with runs begun anew where the node
    goes, (exp(h s) - 1) / h for s seconds at h departures a second (Duda 1983).
    """
    p = np.empty((len(of.run_s), 19))
    fill_places(of, p)
    whole = whole_s(of.run_s, of.load_s)
    fill_ends(whole, redone_s(whole, of.hazard), p)
    return p


def fill_places(of: PairColumns, p: Floats) -> None:
    """Write the features of `pair_features` but for when it would end: columns 0 to 16."""
    p[:, 0] = of.fragments / 2.0
    p[:, 1] = of.left_cpu
    p[:, 2] = of.left_memory
    p[:, 3] = of.left_gpu
    p[:, 4] = of.largest_cpu
    p[:, 5] = of.largest_gpus
    p[:, 6] = np.abs(of.left_cpu - of.left_gpu)
    p[:, 7] = of.hole
    p[:, 8] = of.whole
    p[:, 9] = of.needless
    p[:, 10] = np.log10((of.largest_cpu + 0.01) / (of.largest_gpus + 0.01)) / 2.0
    p[:, 11] = np.log10(1.0 + of.load_s) / 3.0
    known = of.run_s < np.inf
    run = np.maximum(np.where(known, of.run_s, 1.0), 1.0)
    p[:, 12] = np.where(known, np.log10(run.min() / run), 0.0)
    p[:, 13] = np.log10(np.maximum(of.cost, _TINY) / max(of.cost.min(), _TINY))
    p[:, 14] = np.exp(-of.hazard * run)
    due = of.slack_s < np.inf
    slack = np.where(due, of.slack_s, 0.0)
    p[:, 15] = np.where(due, np.minimum(np.maximum((run + of.load_s - slack) / run, -1.0), 1.0), -1.0)
    p[:, 16] = np.log10(1.0 + of.alike)


def fill_ends(whole: Floats, redone: Floats, p: Floats) -> None:
    """Write how soon it would end, without departures and with them: columns 17 and 18 of `pair_features`."""
    p[:, 17] = np.log10(whole.min() / whole)
    p[:, 18] = np.log10(redone.min() / redone)


def whole_s(run_s: Floats, load_s: Floats) -> Floats:
    """Return how long a load and a run take, at least a second; the load alone where the run is not known: (n,)."""
    run = np.where(run_s < np.inf, np.maximum(run_s, 1.0), 0.0)
    return np.maximum(run + load_s, 1.0)


def redone_s(whole: Floats, hazard: Floats) -> Floats:
    """Return how long that takes with what is begun anew where the node goes: (n,)."""
    leaves = np.maximum(hazard, _NEVER)
    return np.expm1(np.minimum(leaves * whole, _SURE)) / leaves
