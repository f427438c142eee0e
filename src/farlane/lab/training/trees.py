"""Trees of arrays as files keep them, and rows of them in batches of one size, so that little has to be compiled."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from farlane.errors import Corrupted
from farlane.lab.training.folder import State
from farlane.lab.training.rollout import NODE, TASK
from farlane.scheduler.sim.world import Ints


def packed(tree: Any) -> State:
    """Return the arrays of a tree, by their places in it."""
    return {f"leaf{at}": np.asarray(leaf) for at, leaf in enumerate(jax.tree.leaves(tree))}


def unpacked(state: State, like: Any) -> Any:
    """Return the tree of arrays that `packed` kept, of the form of another.

    Raises:
        Corrupted: arrays are missing or of another shape.
    """
    leaves, form = jax.tree.flatten(like)
    kept = [state.get(f"leaf{at}") for at in range(len(leaves))]
    if any(old is None or old.shape != new.shape for old, new in zip(kept, leaves, strict=True)):
        raise Corrupted(
            "the kept weights are of another network than this version of farlane trains; begin anew in another folder"
        )
    return jax.tree.unflatten(form, kept)


def batches(kind: Ints, size: int, random: np.random.Generator) -> list[tuple[int, Ints]]:
    """Return all rows in random order, in batches of one size and kind each; the last are filled up from the first."""
    found: list[tuple[int, Ints]] = []
    for one in (TASK, NODE):
        rows = random.permutation(np.flatnonzero(kind == one))
        if len(rows):
            whole = np.resize(rows, -(-len(rows) // size) * size)
            found += [(one, part) for part in whole.reshape(-1, size)]
    return [found[at] for at in random.permutation(len(found))]
