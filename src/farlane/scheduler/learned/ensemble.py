"""The ensemble: the members of a checkpoint as networks, run together; its score is the mean of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.learned import network
from farlane.scheduler.learned.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from farlane.scheduler.learned.confidence import Bounds, bounds
from farlane.scheduler.learned.features import (
    GLOBAL_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
    TASK_FEATURES,
)
from farlane.scheduler.learned.manifest import Manifest
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.learned.view_features import Matrix, TaskView

FEATURES = {"task": TASK_FEATURES, "global": GLOBAL_FEATURES, "node": NODE_FEATURES, "pair": PAIR_FEATURES}
"""What this program computes, in the order of the columns."""
_LARGE = 31 << 20
_ROWS = 512
"""Rows that go through a network at a time: what they need stays in the cache, and OpenBLAS does not share the products
among threads, as it does beyond 262,144 multiplications: on a busy machine waiting for another core takes ten times as
long as the arithmetic."""


@dataclass(frozen=True, slots=True)
class TaskScores:
    """What an ensemble of m members thinks of G groups.

    members: (m, G) float32, higher goes first; mean: (G,) of them; wait: mean score of starting nothing; embedded: one
    (G, H) a member.
    """

    members: Matrix
    mean: Matrix
    wait: float
    embedded: tuple[Matrix, ...]


class Ensemble:
    """Networks of one checkpoint.

    Args:
        checkpoint: of the features and shapes that this program knows (`load` checks that).
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        _keep_pages()
        self.checkpoint = checkpoint
        self.members = tuple(
            Weights(*(np.ascontiguousarray(arrays[name], np.float32) for name in Weights._fields))
            for arrays in checkpoint.members
        )
        spans = checkpoint.manifest.spans
        self.bounds: dict[str, Bounds] = {
            kind: bounds(spans.get(kind, ()), len(names)) for kind, names in FEATURES.items()
        }

    def tasks(self, seen: TaskView) -> TaskScores:
        """Score groups and waiting; of no groups there are empty scores."""
        embedded, scores, waits = [], [], []
        for weights in self.members:
            inner = _by_rows(partial(network.embeddings, weights), seen.x)
            # A mask of shares, which sum to 1, pools the tasks and not their groups.
            pooled = network.pool(inner, seen.share)
            score = partial(_task_scores, weights, seen.g, pooled)
            scores.append(_by_rows(score, seen.x, inner))
            waits.append(float(network.wait_score(weights, seen.g, pooled)))
            embedded.append(inner)
        members = np.stack(scores)
        return TaskScores(members, members.mean(axis=0), float(np.mean(waits)), tuple(embedded))

    def nodes(self, embedded: Sequence[Matrix], p: Matrix, y: Matrix, g: Matrix) -> Matrix:
        """Score places of one task: (m, q) float32.

        Args:
            embedded: the task's embedding by each member, (H,) each.
            p: (q, P) features of the task on each place.
            y: (q, N) features of their nodes.
            g: (F,) features of the whole.
        """
        return np.stack(
            [
                _by_rows(partial(_node_scores, weights, inner, g), p, y)
                for weights, inner in zip(self.members, embedded, strict=True)
            ]
        )


def _task_scores(weights: Weights, g: Matrix, pooled: Matrix, x: Matrix, embedded: Matrix) -> Matrix:
    scores: Matrix = network.task_scores(weights, x, g, embedded, pooled)
    return scores


def _node_scores(weights: Weights, embedded: Matrix, g: Matrix, p: Matrix, y: Matrix) -> Matrix:
    scores: Matrix = network.node_scores(weights, p, y, embedded, g)
    return scores


def _by_rows(function: Callable[..., Matrix], *columns: Matrix) -> Matrix:
    """Return a function of rows, computed for `_ROWS` of them at a time."""
    count = len(columns[0])
    if count <= _ROWS:
        return function(*columns)
    parts = [function(*(each[at : at + _ROWS] for each in columns)) for at in range(0, count, _ROWS)]
    return np.concatenate(parts)


def _keep_pages() -> None:
    """Have glibc keep the pages of freed arrays: it learns from the largest block that was ever freed.

    Without this, each decision on 1,000 nodes gives its arrays back to the system and faults them in again, which takes
    as long as the arithmetic (0.56 ms instead of 0.37 ms). The block is never touched; other allocators do not mind.

    Source: M_MMAP_THRESHOLD and its dynamic adjustment, mallopt(3).
    """
    np.empty(_LARGE, np.uint8)


def load(data: bytes) -> Checkpoint:
    """Return a checkpoint for this program's features and network.

    Raises:
        FarlaneError: as `read_checkpoint` does.
    """
    return read_checkpoint(data, FEATURES, network.SHAPES)


def dump(members: Sequence[Weights], manifest: Manifest) -> bytes:
    """Return networks as the bytes of a checkpoint; float64 weights are rounded to float32.

    Raises:
        FarlaneError: as `write_checkpoint` does.
    """
    arrays: list[dict[str, NDArray[np.float32]]] = [
        {name: np.asarray(array, np.float32) for name, array in zip(Weights._fields, weights, strict=True)}
        for weights in members
    ]
    return write_checkpoint(arrays, manifest)
