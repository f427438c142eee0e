"""An ensemble merged into one network scores as its members do on average."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.evaluation.merging import merged
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import (
    SIZE,
    Weights,
    embeddings,
    node_scores,
    pool,
    task_scores,
    unflatten,
    wait_score,
)


def any_weights(seed: int) -> Weights:
    return unflatten(np.random.default_rng(seed).normal(0.0, 0.4, SIZE))


def scores(weights: Weights, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    x, g = random.normal(size=(9, len(TASK_FEATURES))), random.normal(size=len(GLOBAL_FEATURES))
    p, y = random.normal(size=(5, len(PAIR_FEATURES))), random.normal(size=(5, len(NODE_FEATURES)))
    embedded = embeddings(weights, x)
    pooled = pool(embedded, np.ones(9))
    tasks = task_scores(weights, x, g, embedded, pooled)
    return tasks, node_scores(weights, p, y, embedded[3], g), float(wait_score(weights, g, pooled))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_merged_network_scores_as_its_members_on_average(count: int) -> None:
    members = [any_weights(seed) for seed in range(count)]
    each = [scores(member, np.random.default_rng(9)) for member in members]
    whole = scores(merged(members), np.random.default_rng(9))
    for found, wanted in zip(whole, zip(*each, strict=True), strict=True):
        np.testing.assert_allclose(found, np.mean(wanted, axis=0), rtol=1e-9, atol=1e-9)


def test_nobody_cannot_be_merged() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        merged([])
