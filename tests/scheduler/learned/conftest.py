"""Small ensembles and their manifests."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.learned.manifest import Manifest, Source, Span

FEATURES = {"task": ("work", "wait"), "pair": ("left",)}


@pytest.fixture
def manifest():
    """Two members on three features."""
    return Manifest(
        members=2, network={"hidden": 3}, features=FEATURES,
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
