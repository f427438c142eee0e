"""Experts and their gate: each is searched alone, and the gate tells their queues apart and keeps the rest away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from farlane.errors import InvalidSetting
from farlane.lab.training.config import parse_config
from farlane.lab.training.episodes import settings_of
from farlane.lab.training.gating import UNTRUSTED, Gating, fit_gate, gated, trusting
from farlane.lab.training.shipped import without_traces
from farlane.scheduler.learned.features import GLOBAL_FEATURES
from farlane.scheduler.learned.network import EXPERTS, SIZE, task_weights, unflatten

RANDOM = np.random.default_rng(4)
KINDS = [
    RANDOM.normal(0.0, 0.3, (400, len(GLOBAL_FEATURES))) + np.eye(len(GLOBAL_FEATURES))[at] for at in range(3)
]
"""Contexts of three kinds of queues, each with a feature of its own that is 1 higher."""


def test_the_gate_tells_kinds_apart_that_a_plane_keeps_apart() -> None:
    gate, bias, entropy = fit_gate(KINDS, 1e-4)
    right = [float(((kind @ gate.T + bias).argmax(axis=1) == row).mean()) for row, kind in enumerate(KINDS)]
    assert min(right) > 0.9
    assert 0.0 < entropy < 0.3


def test_it_stands_at_the_least_of_its_loss() -> None:
    gate, bias, entropy = fit_gate(KINDS, 1e-3)
    x = np.concatenate(KINDS)
    scale = np.concatenate([gate * x.std(axis=0), bias[:, None] + (gate @ x.mean(axis=0))[:, None]], axis=1)

    def loss(w: np.ndarray) -> float:
        columns = np.column_stack([(x - x.mean(axis=0)) / x.std(axis=0), np.ones(len(x))])
        scores = columns @ w.T
        log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        label = np.repeat(np.arange(3), 400)
        return -float(log_p[np.arange(len(x)), label].mean()) + 0.5e-3 * float((w**2).sum())

    here = loss(scale)
    assert here > entropy
    for _ in range(20):
        assert loss(scale + RANDOM.normal(0.0, 0.05, scale.shape)) > here


def test_a_feature_that_never_varies_has_no_say() -> None:
    still = [kind.copy() for kind in KINDS]
    for kind in still:
        kind[:, 5] = 0.25
    gate, _, _ = fit_gate(still, 1e-4)
    assert not gate[:, 5].any()


def test_one_alone_has_all_the_say_and_places_without_an_expert_have_none() -> None:
    vector = RANDOM.normal(0.0, 1.0, SIZE)
    weights = unflatten(trusting(vector, 2))
    g = KINDS[0][0]
    np.testing.assert_allclose(task_weights(weights, g), weights.skip + weights.experts[2])
    known = unflatten(gated(vector, *fit_gate(KINDS, 1e-4)[:2]))
    assert (known.gate_bias[3:] == UNTRUSTED).all()
    seen = task_weights(known, g) - known.skip
    low, high = known.experts[:3].min(axis=0), known.experts[:3].max(axis=0)
    assert ((seen >= low - 1e-9) & (seen <= high + 1e-9)).all()


def test_its_only_step_can_be_kept() -> None:
    stage, again = Gating(KINDS, 1e-4, np.zeros(SIZE)), Gating(KINDS, 1e-4, np.zeros(SIZE))
    row = stage.step()
    assert row["right"] > 0.9  # type: ignore[operator]
    again.restore(stage.state() | {"steps": np.array(stage.steps)})
    assert again.steps == 1
    np.testing.assert_array_equal(again.result, stage.result)


TWO = b"""
settings:
  - {source: lublin, processors: 64, length: 200, load: 400, requests: false}
  - {source: openb, trace: nowhere}
  - {source: lublin, processors: 64, length: 200, load: 400, backfill: true, typed: true}
experts:
  - {name: one, of: [0]}
  - {name: packing-too, of: [2, 0]}
"""


def test_contexts_are_those_of_the_decisions_under_weights() -> None:
    config = without_traces(parse_config(TWO, "two"))
    assert [expert.of for expert in config.experts] == [[0], [1, 0]]
    settings, _ = settings_of(config, Path("nowhere"))
    assert [each.name for each in settings] == ["lublin-64-400-exact", "lublin-typed-64-400+backfill"]
    found = settings[1].contexts(5, np.zeros(SIZE))
    assert found.shape[1] == len(GLOBAL_FEATURES)
    assert len(found) > 10
    assert (found[:, GLOBAL_FEATURES.index("passing")] == 1.0).all()
    exact = settings[0].contexts(5, np.zeros(SIZE))
    assert len(exact) > 10
    assert not exact[:, GLOBAL_FEATURES.index("accuracy")].any()  # who asks for what it needs uses all of it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TWO.replace(b"of: [0]", b"of: [1]"), "setting 1 has no queue"),
        (TWO.replace(b"of: [0]", b"of: [7]"), "from 0 to 2"),
        (TWO.replace(b"name: one", b"name: gate"), "names of their own"),
        (TWO + b"".join(b"  - {name: e%d}\n" % at for at in range(EXPERTS)), f"room for {EXPERTS}"),
    ],
)
def test_experts_that_cannot_be_are_told(text: bytes, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        parse_config(text, "two")
