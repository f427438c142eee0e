"""Which weights a search may change: those of the arrays that are named, where what they weigh ever varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from farlane.errors import InvalidSetting
from farlane.kit.suggestions import hint
from farlane.scheduler.learned import network
from farlane.scheduler.learned.ensemble import FEATURES
from farlane.scheduler.sim.world import Bools, Floats, Ints

AXES: dict[str, tuple[str, ...]] = {
    "encode": ("task",), "skip": ("task",), "experts": ("", "task"), "gate": ("", "global"), "context": ("global",),
    "wait_skip": ("global",), "node": ("node",), "node_skip": ("node",), "pair": ("pair",), "pair_skip": ("pair",),
    "pair_mix": ("pair", "global"), "around": ("global",),
}  # fmt: skip
"""What the first axes of an array stand for; those left out, and nameless ones, are hidden units and experts."""
WAITING = frozenset({"wait", "wait_skip", "wait_bias"})
PLACING = frozenset(
    {
        "node",
        "node_bias",
        "pair",
        "at",
        "of",
        "around",
        "pair_bias",
        "pair_mix",
        "pair_value",
        "pair_skip",
        "node_skip",
    }
)
"""Arrays of the node head: without effect where no node is ever chosen."""
GUARDED = "priority"
"""The task feature that no search weighs: a guard does (`scheduler.learned.choices.PRIORITY_SPREADS`), and weights that
count against it would undo what a user was promised."""


def features_of(array: str) -> tuple[str, ...]:
    """Return the names of an array's last axis that stands for features, none where there is no such axis.

    Raises:
        InvalidSetting: the network has no such array.
    """
    if array not in network.SHAPES:
        raise InvalidSetting(f"no array {array!r} in the network; {hint(array, network.SHAPES)}")
    return FEATURES[AXES[array][-1]] if array in AXES else ()


def coordinates(arrays: Mapping[str, Sequence[str]], spans: Mapping[str, Floats] | None) -> Ints:
    """Return which entries of a vector of weights to search: rising.

    Args:
        arrays: of `network.Weights`, by name, with the features to which the last axis that stands for some is kept,
            none for all; no array: all that can matter in what was seen, waiting left out.
        spans: of the features as they were seen; what never varies is left alone. None where nothing was recorded: then
            arrays have to be named, and all of them is searched.

    Raises:
        InvalidSetting: an array or a feature is unknown, or nothing is left.
    """
    for name, kept in arrays.items():
        known = features_of(name)
        for feature in kept:
            if feature not in known:
                raise InvalidSetting(f"{name} has no feature {feature!r}; {hint(feature, known)}")
    if spans is None and not arrays:
        raise InvalidSetting(
            "fleets record nothing: name the arrays that a search of them may change, and features"
        )
    entries = [_free(name, shape, arrays, spans).ravel() for name, shape in network.SHAPES.items()]
    found = np.flatnonzero(np.concatenate(entries)).astype(np.int64)
    if not len(found):
        raise InvalidSetting(f"nothing that {', '.join(arrays)} weigh ever varies in these settings")
    return found


def of_expert(found: Ints, expert: int) -> Ints:
    """Return those of the entries that are one expert's, rising."""
    mine = np.zeros(network.SHAPES["experts"], np.bool_)
    mine[expert] = True
    parts = [
        mine.ravel() if name == "experts" else np.zeros(int(np.prod(shape)), np.bool_)
        for name, shape in network.SHAPES.items()
    ]
    own: Ints = found[np.concatenate(parts)[found]]
    return own


def _free(
    name: str, shape: tuple[int, ...], arrays: Mapping[str, Sequence[str]], spans: Mapping[str, Floats] | None
) -> Bools:
    """Return which entries of an array to search."""
    if arrays:
        wanted = name in arrays
    else:
        wanted = name not in WAITING and (name not in PLACING or "pair" in (spans or {}))
    free = np.full(shape, wanted)
    kinds = AXES.get(name, ())
    for axis, kind in enumerate(kinds):
        if not kind:
            continue
        varies = _varies(shape[axis], kind, spans)
        if kind == "task":
            varies &= np.array([feature != GUARDED for feature in FEATURES[kind]])
        if axis == len(kinds) - 1 and arrays.get(name):
            varies = varies & np.isin(FEATURES[kind], arrays[name])
        free &= varies.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    return free


def _varies(size: int, kind: str, spans: Mapping[str, Floats] | None) -> Bools:
    """Return which features of a kind were seen to vary; all where nothing was recorded."""
    if spans is None:
        return np.ones(size, np.bool_)
    span = spans.get(kind)
    return np.zeros(size, np.bool_) if span is None else span[:, 0] < span[:, 2]
