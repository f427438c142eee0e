"""One network that scores as several do on average: an ensemble, run by loops that know one network only.

The members' hidden units stand side by side and do not see each other; the last layers are divided by their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.learned.network import Weights
from farlane.scheduler.sim.world import Floats

_APART = ("own", "pooled", "at", "of")
"""From hidden units to hidden units: each member has a block of its own."""
_SIDE_BY_SIDE = (
    "encode", "encode_bias", "context", "bias", "node", "node_bias", "pair", "around", "pair_bias",
)  # fmt: skip
"""Into hidden units."""
_ONE_BELOW_THE_OTHER = ("experts", "gate", "gate_bias")
"""Experts: each member's are trusted as its own gate says."""
_SHARED_OUT = ("value", "wait", "pair_value")
"""From hidden units to a score."""


def merged(members: Sequence[Weights]) -> Weights:
    """Return one network, float64, whose scores are the mean of the members'.

    Raises:
        InvalidInput: there are none.
    """
    if not members:
        raise InvalidInput("an ensemble of no networks scores nothing; expected at least one")
    if len(members) == 1:
        return Weights(*(np.asarray(array, np.float64) for array in members[0]))
    arrays = []
    for name in Weights._fields:
        each = [np.asarray(getattr(member, name), np.float64) for member in members]
        if name in _APART:
            arrays.append(_blocks(each))
        elif name in _SIDE_BY_SIDE:
            arrays.append(np.concatenate(each, axis=-1))
        elif name in _ONE_BELOW_THE_OTHER:
            arrays.append(np.concatenate(each))
        elif name in _SHARED_OUT:
            arrays.append(np.concatenate(each) / len(members))
        else:  # straight from features to a score
            arrays.append(np.mean(each, axis=0))
    return Weights(*arrays)


def _blocks(arrays: Sequence[Floats]) -> Floats:
    """Return matrices along the diagonal of one."""
    rows, columns = sum(array.shape[0] for array in arrays), sum(array.shape[1] for array in arrays)
    whole: Floats = np.zeros((rows, columns))
    row = column = 0
    for array in arrays:
        whole[row : row + array.shape[0], column : column + array.shape[1]] = array
        row, column = row + array.shape[0], column + array.shape[1]
    return whole
