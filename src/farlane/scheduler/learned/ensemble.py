"""The ensemble: the members of a checkpoint as networks, run together; its score is the mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
            inner = network.embeddings(weights, seen.x)
            # A mask of shares, which sum to 1, pools the tasks and not their groups.
            pooled = network.pool(inner, seen.share)
            scores.append(network.task_scores(weights, seen.x, seen.g, inner, pooled))
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
                network.node_scores(weights, p, y, inner, g)
                for weights, inner in zip(self.members, embedded, strict=True)
            ]
        )


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
