"""How long the network takes to score candidates in numpy, as production runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import Weights, embeddings, node_scores, pool, task_scores

CANDIDATES = (32, 256, 1_000, 8_192)


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds to score so many tasks, and one task on so many nodes: the median and the 99th percentile."""

    candidates: int
    tasks_p50_us: float
    tasks_p99_us: float
    nodes_p50_us: float
    nodes_p99_us: float


def latencies(
    members: Sequence[Weights], candidates: Sequence[int] = CANDIDATES, rounds: int = 300
) -> list[Latency]:
    """Measure all members of an ensemble, one after the other, on random float32 features.

    The thread's own time, which other work on the machine does not stretch.
    """
    single = [Weights(*(np.asarray(array, np.float32) for array in weights)) for weights in members]
    random = np.random.default_rng(0)
    measured = []
    for count in candidates:
        x, p, y, g = (
            random.random(shape, np.float32)
            for shape in (
                (count, len(TASK_FEATURES)), (count, len(PAIR_FEATURES)), (count, len(NODE_FEATURES)),
                (len(GLOBAL_FEATURES),),
            )
        )  # fmt: skip
        spent = np.array([_round(single, x, p, y, g) for _ in range(rounds + 5)])[5:] / 1e3
        tasks, nodes = np.quantile(spent, [0.5, 0.99], axis=0).T
        measured.append(Latency(count, *(round(float(value), 1) for value in (*tasks, *nodes))))
    return measured


def _round(members: Sequence[Weights], x: object, p: object, y: object, g: object) -> tuple[int, int]:
    """Return nanoseconds to score tasks and nodes once."""
    begun = time.thread_time_ns()
    embedded = [embeddings(weights, x) for weights in members]
    for weights, each in zip(members, embedded, strict=True):
        task_scores(weights, x, g, each, pool(each, np.ones(len(each), np.float32))).argmax()
    between = time.thread_time_ns()
    for weights, each in zip(members, embedded, strict=True):
        node_scores(weights, p, y, each[0], g).argmax()
    return between - begun, time.thread_time_ns() - between
