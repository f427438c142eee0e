"""Small ensembles and their manifests."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.learned.ensemble import FEATURES, Ensemble, dump, load
from farlane.scheduler.learned.features import TASK_FEATURES
from farlane.scheduler.learned.manifest import Manifest, Source, Span
from farlane.scheduler.learned.network import SHAPES, Weights
from farlane.scheduler.learned.policy import LearnedPolicy

SMALL = {"task": ("work", "wait"), "pair": ("left",)}


@pytest.fixture
def manifest():
    """Two members on three features."""
    return Manifest(
        members=2, network={"hidden": 3}, features=SMALL,
        spans={"task": (Span(0.0, 0.5, 1.0), Span(-1.0, 0.0, 2.0)), "pair": (Span(0.0, 0.1, 0.2),)},
        training=(Source("made up", "ab" * 32),), seeds=(1, 2), commit="c" * 40, metrics={"bsld": 1.5},
        licence="Apache-2.0", note="for tests",
    )  # fmt: skip


@pytest.fixture
def members():
    """Weights of two networks of three arrays."""
    rng = np.random.default_rng(5)
    return [
        {"w": rng.normal(size=(2, 3)).astype(np.float32), "b": rng.normal(size=3).astype(np.float32),
         "scale": np.array(1.5, np.float32)}
        for _ in range(2)
    ]  # fmt: skip


def random_network(seed):
    """Weights of which all are random: any policy the network can be."""
    rng = np.random.default_rng(seed)
    return Weights(**{name: rng.normal(0.0, 1.0, shape).astype(np.float32) for name, shape in SHAPES.items()})


@pytest.fixture(scope="session")
def networks():
    """A maker of policies with random members: `wait` scores waiting alone; `blind` ones do not see priority."""

    def make(seed, members=1, wait=None, spans=None, blind=False):
        weights = [random_network(seed + at) for at in range(members)]
        if blind:
            at = TASK_FEATURES.index("priority")
            for each in weights:
                each.encode[at] = each.skip[at] = each.experts[:, at] = 0.0
        if wait is not None:
            silent = {
                "wait": np.zeros(SHAPES["wait"], np.float32),
                "wait_skip": np.zeros(SHAPES["wait_skip"], np.float32),
            }
            weights = [each._replace(wait_bias=np.full(1, wait, np.float32), **silent) for each in weights]
        manifest = Manifest(members, {}, FEATURES, spans or {}, (), (seed,), "", {}, "Apache-2.0")
        return LearnedPolicy(Ensemble(load(dump(weights, manifest))))

    return make
