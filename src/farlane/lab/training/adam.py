"""Adam, over any tree of arrays (Kingma and Ba 2015, algorithm 1), with the gradient's norm bounded."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FIRST, SECOND, TINY = 0.9, 0.999, 1e-8
"""Decay of the two moments, and what keeps the division finite: the values of the paper."""


class Moments(NamedTuple):
    """steps: () taken so far; first, second: moments, of the weights' shapes."""

    steps: Any
    first: Any
    second: Any


def no_moments(weights: Any) -> Moments:
    """Return the moments before the first step."""
    zeros = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), weights)
    return Moments(np.zeros((), np.int32), zeros, zeros)


def descend(
    weights: Any, gradient: Any, moments: Moments, step: float, bound: float = 1.0
) -> tuple[Any, Moments]:
    """Take a step down a gradient.

    Args:
        weights: a tree of arrays.
        gradient: of the same shapes.
        moments: so far.
        step: size of it.
        bound: of the gradient's norm over all arrays; a longer one is shortened to it.

    Returns:
        Weights and moments after it.
    """
    norm = jnp.sqrt(sum(jnp.sum(each**2) for each in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda each: each * jnp.minimum(1.0, bound / (norm + TINY)), gradient)
    steps = moments.steps + 1
    first = jax.tree.map(lambda m, g: FIRST * m + (1 - FIRST) * g, moments.first, gradient)
    second = jax.tree.map(lambda v, g: SECOND * v + (1 - SECOND) * g * g, moments.second, gradient)
    scale = step * jnp.sqrt(1 - SECOND**steps) / (1 - FIRST**steps)
    weights = jax.tree.map(lambda w, m, v: w - scale * m / (jnp.sqrt(v) + TINY), weights, first, second)
    return weights, Moments(steps, first, second)
