"""Weights that equal two rules, smallest area first and best fit: what the network does before anything is learnt."""

from __future__ import annotations

import numpy as np

from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES, dump
from farlane.scheduler.learned.features import PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.manifest import Manifest
from farlane.scheduler.learned.network import Weights

NEVER_WAIT = -1e6
"""Score of waiting that no task falls below."""


def rule_equal() -> Weights:
    """Return a network whose skip connections alone score.

    Tasks by -log10(expected seconds x dominant share), nodes by what a task leaves there of the largest node's cores
    and GPUs, least first; tasks below a second count as one second.

    Sources: smallest area first (Carastan-Santos et al. 2019); best fit as the baseline of Weng et al. 2023.
    """
    arrays = {name: np.zeros(shape, np.float32) for name, shape in network.SHAPES.items()}
    arrays["skip"][TASK_FEATURES.index("expected")] = -5.0
    arrays["skip"][TASK_FEATURES.index("size")] = -3.0
    arrays["pair_skip"][PAIR_FEATURES.index("left_cpu_of_largest")] = -1.0
    arrays["pair_skip"][PAIR_FEATURES.index("left_gpus_of_largest")] = -1.0
    arrays["wait_bias"][:] = NEVER_WAIT
    return Weights(**arrays)


def rule_equal_checkpoint() -> bytes:
    """Return those weights as a checkpoint, which was trained on nothing and knows no ranges."""
    manifest = Manifest(
        members=1, network={"hidden": network.HIDDEN, "node_hidden": network.NODE_HIDDEN}, features=FEATURES, spans={},
        training=(), seeds=(), commit="", metrics={}, licence="Apache-2.0",
        note="untrained: smallest area first and best fit, written as a network",
    )  # fmt: skip
    return dump([rule_equal()], manifest)
