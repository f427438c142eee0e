"""The network while it learns: batched, masked, with gradients by JAX, and a head for values that is never shipped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from farlane.lab.training.learning import IMPOSSIBLE, Forward, log_probabilities
from farlane.lab.training.rollout import NODE, TASK, Seen, stacked
from farlane.lab.training.seeds import WEIGHTS, seeds_of
from farlane.scheduler.learned import network
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.sim.world import Floats

VALUE_HIDDEN = 32
"""Width of the head for values."""


class Brain(Protocol):
    """A network that scores candidates and values states."""

    def fresh(self, seed: int) -> Floats:
        """Return weights to begin with, as one vector: those that will be shipped."""

    def initial(self, vector: Floats, seed: int) -> Any:
        """Return a tree of weights: those of a vector, and a new head for values."""

    def vector(self, weights: Any) -> Floats:
        """Return the weights that will be shipped, as one vector."""

    def forward(self, kind: int) -> Forward:
        """Return what scores decisions of a kind."""


class Answers:
    """Answers what games ask, in batches of few sizes, so that little has to be compiled."""

    def __init__(self, brain: Brain) -> None:
        self._score = {kind: _compiled(brain.forward(kind)) for kind in (TASK, NODE)}

    def __call__(self, weights: Any, seen: Sequence[Seen]) -> tuple[Floats, Floats]:
        """Return logarithms of probabilities, (k, c + 1), and values, (k,), of k decisions."""
        log_p = np.empty((len(seen), len(seen[0].mask)))
        values = np.empty(len(seen))
        for kind in (TASK, NODE):
            rows = [at for at, each in enumerate(seen) if each.kind == kind]
            if not rows:
                continue
            size = 1 << (len(rows) - 1).bit_length()
            _, *columns = stacked([seen[at] for at in np.resize(rows, size)])
            found, value = self._score[kind](weights, tuple(columns))
            log_p[rows], values[rows] = found[: len(rows)], value[: len(rows)]
        return log_p, values


@cache
def _compiled(forward: Forward) -> Any:
    """Return what answers, compiled once for all stages of a process."""
    return jax.jit(partial(_answer, forward))


def _answer(forward: Forward, weights: Any, seen: Any) -> tuple[Any, Any]:
    scores, values = forward(weights, seen)
    return log_probabilities(scores, seen[1]), values


class NetworkBrain:
    """The network of `scheduler.learned.network`, and a head for values: a layer over pooled tasks and context.

    The value's gradient stops before the shared encoder: what a state is worth must not bend what the policy sees.
    """

    def fresh(self, seed: int) -> Floats:
        """Return weights to begin with."""
        return np.asarray(network.flatten(network.random_weights(seed)), np.float64)

    def initial(self, vector: Floats, seed: int) -> Any:
        """Return (policy, values) as float32 arrays; raises InvalidInput where the vector is of another size."""
        random = np.random.default_rng(seeds_of(seed, WEIGHTS, 1, 1)[0])
        size = network.HIDDEN + len(GLOBAL_FEATURES)
        values = {
            "hidden": random.normal(0.0, np.sqrt(2.0 / size), (size, VALUE_HIDDEN)),
            "bias": np.zeros(VALUE_HIDDEN),
            "out": np.zeros(VALUE_HIDDEN),
            "mean": np.zeros(1),
        }
        return jax.tree.map(lambda array: np.asarray(array, np.float32), (network.unflatten(vector), values))

    def vector(self, weights: Any) -> Floats:
        """Return the policy's weights as one vector."""
        policy = network.Weights(*(np.asarray(array) for array in weights[0]))
        return np.asarray(network.flatten(policy), np.float64)

    def forward(self, kind: int) -> Forward:
        """Return what scores tasks, or nodes."""
        return _task_forward if kind == TASK else _node_forward


def _task_forward(weights: Any, seen: Any) -> tuple[Any, Any]:
    policy, head = weights
    rows, mask, context, _ = seen
    x = rows[..., : len(TASK_FEATURES)]
    embedded = network.embeddings(policy, x, jnp)
    pooled = network.pool(embedded, mask[..., :-1].astype(x.dtype), jnp)
    scores = network.task_scores(policy, x, context, embedded, pooled, jnp)
    wait = network.wait_score(policy, context, pooled, jnp)
    return jnp.concatenate([scores, wait[..., None]], axis=-1), _value(head, pooled, context)


def _node_forward(weights: Any, seen: Any) -> tuple[Any, Any]:
    policy, head = weights
    rows, _, context, about = seen
    pairs = len(PAIR_FEATURES)
    p, y = rows[..., :pairs], rows[..., pairs : pairs + len(NODE_FEATURES)]
    embedded = network.embeddings(policy, about[..., None, :], jnp)[..., 0, :]
    scores = network.node_scores(policy, p, y, embedded, context, jnp)
    nothing = jnp.full((*scores.shape[:-1], 1), IMPOSSIBLE)
    return jnp.concatenate([scores, nothing], axis=-1), _value(head, embedded, context)


def _value(head: Any, pooled: Any, context: Any) -> Any:
    seen = jax.lax.stop_gradient(jnp.concatenate([pooled, context], axis=-1))
    return jnp.maximum(seen @ head["hidden"] + head["bias"], 0.0) @ head["out"] + head["mean"]
