"""Which weights a search may change: those of the arrays that are named, where what they weigh ever varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from farlane.errors import InvalidSetting
from farlane.kit.suggestions import hint
from farlane.scheduler.learned import network
from farlane.scheduler.sim.world import Bools, Floats, Ints

AXES: dict[str, tuple[str, ...]] = {
    "encode": ("task",), "skip": ("task",), "mix": ("task", "global"), "context": ("global",),
    "wait_skip": ("global",), "node": ("node",), "node_skip": ("node",), "pair": ("pair",), "pair_skip": ("pair",),
    "around": ("global",),
}  # fmt: skip
"""What the first axes of an array stand for; those left out are hidden units."""
WAITING = frozenset({"wait", "wait_skip", "wait_bias"})
PLACING = frozenset(
    {"node", "node_bias", "pair", "at", "of", "around", "pair_bias", "pair_value", "pair_skip", "node_skip"}
)
"""Arrays of the node head: without effect where no node is ever chosen."""


def coordinates(arrays: Sequence[str], spans: Mapping[str, Floats]) -> Ints:
    """Return which entries of a vector of weights to search: rising.

    Args:
        arrays: names of `network.Weights`; none: all that can matter in what was seen, waiting left out.
        spans: of the features as they were seen; what never varies is left alone.

    Raises:
        InvalidSetting: an array is unknown, or nothing is left.
    """
    for name in arrays:
        if name not in network.SHAPES:
            raise InvalidSetting(
                f"search, arrays: no array {name!r} in the network; {hint(name, network.SHAPES)}"
            )
    kept = [_free(name, shape, arrays, spans).ravel() for name, shape in network.SHAPES.items()]
    found = np.flatnonzero(np.concatenate(kept)).astype(np.int64)
    if not len(found):
        raise InvalidSetting(
            f"search, arrays: nothing that {', '.join(arrays)} weigh ever varies in these settings"
        )
    return found


def _free(name: str, shape: tuple[int, ...], arrays: Sequence[str], spans: Mapping[str, Floats]) -> Bools:
    """Return which entries of an array to search."""
    if arrays:
        wanted = name in arrays
    else:
        wanted = name not in WAITING and (name not in PLACING or "pair" in spans)
    free = np.full(shape, wanted)
    for axis, kind in enumerate(AXES.get(name, ())):
        span = spans.get(kind)
        varies = np.zeros(shape[axis], np.bool_) if span is None else span[:, 0] < span[:, 2]
        free &= varies.reshape([-1 if at == axis else 1 for at in range(len(shape))])
    return free
