"""Ablations: the same weights without one thing they look at, to see what it is worth. No loop has to know of it.

A feature that is taken away always has its mean in training (0 where that is not known): the same for every candidate,
it tells nothing any more. Since features enter through weights alone, that is other weights and not other features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.evaluation.rivals import FEATURES, LearnedPolicy
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim.world import Floats

HISTORY = ("expected", "expected_area", "trust", "known")
WAITING = ("wait", "stretch", "request_stretch", "rank")
ROOM = ("fits", "leftover", "opening")
SIZE_OF_TASK = ("size", "share", "request_area", "expected_area")
FRAGMENTS = ("fragments", "hole", "whole")
LEFT_OVER = (
    "left_cpu", "left_memory", "left_gpu", "left_cpu_of_largest", "left_gpus_of_largest", "imbalance", "cpu_per_gpu",
)  # fmt: skip
_INTO_HIDDEN = {
    "task": ("encode", "encode_bias"),
    "node": ("node", "node_bias"),
    "pair": ("pair", "pair_bias"),
}
_DIRECT = {"task": ("skip",), "node": ("node_skip",), "pair": ("pair_skip", "pair_mix")}
_CONTEXT = (("context", "bias"), ("around", "pair_bias"))
_CONTEXT_DIRECT = (("gate", "gate_bias"), ("pair_mix", "pair_skip"))
Means = Mapping[str, Sequence[float]]
"""What training saw of each feature on average, by kind of features."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """Something that is taken away: name; about: for people; kind and features of it, none for parts of the network."""

    name: str
    about: str
    kind: str = ""
    features: tuple[str, ...] = ()


ABLATIONS = (
    Ablation("history", "what a user's last run times were", "task", HISTORY),
    Ablation("waiting", "how long tasks have waited", "task", WAITING),
    Ablation("room", "whether and when a task fits", "task", ROOM),
    Ablation("size", "how large a task is", "task", SIZE_OF_TASK),
    Ablation("context", "load, queue and free room of the whole", "global", FEATURES["global"]),
    Ablation("pooled", "the mean of all tasks that wait"),
    Ablation("hidden", "the hidden layer: a linear scorer is left"),
    Ablation("fragments", "GPUs that usual tasks could not use", "pair", FRAGMENTS),
    Ablation("left over", "what a node would have left", "pair", LEFT_OVER),
    Ablation("nodes", "what a node is like by itself", "node", FEATURES["node"]),
)
ONE_MEMBER = "one member"
"""An ensemble's first network alone."""


def ablated(name: str, members: Sequence[Weights], means: Means) -> tuple[LearnedPolicy, ...]:
    """Return a policy for each ablation, named `NAME without WHAT`, and the first member alone where there are more."""
    policies = [
        LearnedPolicy.of(
            f"{name} without {each.name}", [without(weights, each, means) for weights in members]
        )
        for each in ABLATIONS
    ]
    if len(members) > 1:
        policies.append(LearnedPolicy.of(f"{name}, {ONE_MEMBER}", members[:1]))
    return tuple(policies)


def without(weights: Weights, ablation: Ablation, means: Means) -> Weights:
    """Return weights to which something is invisible.

    Raises:
        InvalidInput: a feature that is not there.
    """
    arrays = {name: np.array(array, np.float64) for name, array in weights._asdict().items()}
    if ablation.name == "pooled":
        arrays["pooled"][:] = 0.0
    elif ablation.name == "hidden":
        for name in ("value", "wait", "pair_value"):
            arrays[name][:] = 0.0
    for feature in ablation.features:
        if feature not in FEATURES[ablation.kind]:
            raise InvalidInput(f"no {ablation.kind} feature {feature!r}")
        row = FEATURES[ablation.kind].index(feature)
        known = means.get(ablation.kind, ())
        mean = float(known[row]) if row < len(known) else 0.0
        if ablation.kind == "global":
            _hide_context(arrays, row, mean)
        else:
            _hide(arrays, ablation.kind, row, mean)
    return Weights(**arrays)


def _hide(arrays: dict[str, Floats], kind: str, row: int, mean: float) -> None:
    matrix, bias = _INTO_HIDDEN[kind]
    arrays[bias] += mean * arrays[matrix][row]
    arrays[matrix][row] = 0.0
    for name in _DIRECT[kind]:  # the same for all candidates: no choice depends on it
        arrays[name][row] = 0.0
    if kind == "task":
        arrays["experts"][:, row] = 0.0


def _hide_context(arrays: dict[str, Floats], row: int, mean: float) -> None:
    for matrix, bias in _CONTEXT:
        arrays[bias] += mean * arrays[matrix][row]
        arrays[matrix][row] = 0.0
    for mixed, direct in _CONTEXT_DIRECT:
        arrays[direct] += mean * arrays[mixed][:, row]
        arrays[mixed][:, row] = 0.0
    arrays["wait_bias"] += mean * arrays["wait_skip"][row]
    arrays["wait_skip"][row] = 0.0
