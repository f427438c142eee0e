"""An ensemble scores as its networks do, however many rows there are; shipped weights by name."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import NotFound
from farlane.scheduler.learned import network
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.shipped import shipped_bytes
from farlane.scheduler.learned.view_features import TaskView


def random(*shape):
    return np.random.default_rng(4).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 512, 1100])
def test_scores_are_those_of_the_networks(networks, rows):
    ensemble = networks(1, members=2).ensemble
    seen = TaskView(
        random(rows, len(TASK_FEATURES)), random(len(GLOBAL_FEATURES)), np.full(rows, 1 / rows, np.float32)
    )
    found = ensemble.tasks(seen)
    p, y = random(rows, len(PAIR_FEATURES)), random(rows, len(NODE_FEATURES))
    nodes = ensemble.nodes([inner[0] for inner in found.embedded], p, y, seen.g)
    waits = []
    for at, weights in enumerate(ensemble.members):
        inner = network.embeddings(weights, seen.x)
        pooled = inner.mean(axis=0)
        tasks = network.task_scores(weights, seen.x, seen.g, inner, pooled)
        assert found.members[at] == pytest.approx(tasks, rel=1e-3, abs=1e-3)
        assert nodes[at] == pytest.approx(
            network.node_scores(weights, p, y, inner[0], seen.g), rel=1e-3, abs=1e-3
        )
        waits.append(float(network.wait_score(weights, seen.g, pooled)))
    assert found.wait == pytest.approx(np.mean(waits), rel=1e-3, abs=1e-3)


def test_weights_that_are_not_shipped_are_not_found():
    with pytest.raises(NotFound, match=r"no weights 'best' are shipped; expected one of default"):
        shipped_bytes("best")
