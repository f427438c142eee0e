"""The network: two heads, which task next and which node for it, over shared encoders; a few thousand weights.

Each head is a linear scorer that the context shifts, plus a hidden layer for what is not linear. Whom to take next is a
mixture of experts (Jacobs et al. 1991): each is a linear scorer, as good as any rule of the literature, for one kind of
queue, and a gate tells from the context how far to trust which. Where to put it leans with the context itself
(`pair_mix`). The same functions run on numpy in production and on JAX in training (`xp`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farlane.errors import InvalidInput
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES

HIDDEN = 16
"""Width of the encoder of tasks and of both heads."""
NODE_HIDDEN = 8
"""Width of the encoder of nodes."""
EXPERTS = 12
"""Linear scorers of tasks among which the context chooses."""
UNWILLING = -100.0
"""Score of waiting before training has found a use for it: below that of any task."""
_T, _G, _N, _P = len(TASK_FEATURES), len(GLOBAL_FEATURES), len(NODE_FEATURES), len(PAIR_FEATURES)


class Weights(NamedTuple):
    """Arrays of one network, float32 or float64; T, G, N, P features, H and K hidden.

    encode (T, H), encode_bias (H,): of tasks. own (H, H), pooled (H, H), context (G, H), bias (H,), value (H,), skip
    (T,), experts (E, T), gate (E, G), gate_bias (E,): the task head, with E = `EXPERTS`. wait (H,), wait_skip (G,),
    wait_bias (1,): of waiting. node (N, K), node_bias
    (K,): of nodes. pair (P, H), at (K, H), of (H, H), around (G, H), pair_bias (H,), pair_value (H,), pair_skip (P,),
    pair_mix (P, G), node_skip (N,): the node head.
    """

    encode: NDArray[Any]
    encode_bias: NDArray[Any]
    own: NDArray[Any]
    pooled: NDArray[Any]
    context: NDArray[Any]
    bias: NDArray[Any]
    value: NDArray[Any]
    skip: NDArray[Any]
    experts: NDArray[Any]
    gate: NDArray[Any]
    gate_bias: NDArray[Any]
    wait: NDArray[Any]
    wait_skip: NDArray[Any]
    wait_bias: NDArray[Any]
    node: NDArray[Any]
    node_bias: NDArray[Any]
    pair: NDArray[Any]
    at: NDArray[Any]
    of: NDArray[Any]
    around: NDArray[Any]
    pair_bias: NDArray[Any]
    pair_value: NDArray[Any]
    pair_skip: NDArray[Any]
    pair_mix: NDArray[Any]
    node_skip: NDArray[Any]


SHAPES: dict[str, tuple[int, ...]] = {
    "encode": (_T, HIDDEN), "encode_bias": (HIDDEN,), "own": (HIDDEN, HIDDEN), "pooled": (HIDDEN, HIDDEN),
    "context": (_G, HIDDEN), "bias": (HIDDEN,), "value": (HIDDEN,), "skip": (_T,),
    "experts": (EXPERTS, _T), "gate": (EXPERTS, _G), "gate_bias": (EXPERTS,), "wait": (HIDDEN,),
    "wait_skip": (_G,), "wait_bias": (1,), "node": (_N, NODE_HIDDEN), "node_bias": (NODE_HIDDEN,),
    "pair": (_P, HIDDEN), "at": (NODE_HIDDEN, HIDDEN), "of": (HIDDEN, HIDDEN), "around": (_G, HIDDEN),
    "pair_bias": (HIDDEN,), "pair_value": (HIDDEN,), "pair_skip": (_P,), "pair_mix": (_P, _G), "node_skip": (_N,),
}  # fmt: skip
"""Shape of each array of `Weights`, in the order of its fields."""
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())
"""How many weights a network has."""


def flatten(weights: Weights) -> NDArray[Any]:
    """Return all weights in one vector, (SIZE,), in the order of the fields."""
    return np.concatenate([np.ravel(array) for array in weights])


def unflatten(vector: NDArray[Any]) -> Weights:
    """Return the arrays of a vector of weights.

    Raises:
        InvalidInput: it has another length.
    """
    if vector.shape != (SIZE,):
        raise InvalidInput(f"expected {SIZE} weights in one vector, found an array of shape {vector.shape}")
    arrays, start = [], 0
    for shape in SHAPES.values():
        size = int(np.prod(shape))
        arrays.append(vector[start : start + size].reshape(shape))
        start += size
    return Weights(*arrays)


def random_weights(seed: int) -> Weights:
    """Return a start for training: hidden layers random by He et al. 2015, no effect on scores, waiting far below."""
    random = np.random.default_rng(seed)
    silent = {
        "value", "skip", "experts", "gate", "wait", "wait_skip", "pair_value", "pair_skip", "pair_mix", "node_skip",
    }  # fmt: skip
    arrays = []
    for name, shape in SHAPES.items():
        if name == "wait_bias":
            arrays.append(np.full(shape, UNWILLING))
        elif name in silent or name.endswith("bias"):
            arrays.append(np.zeros(shape))
        else:
            arrays.append(random.normal(0.0, np.sqrt(2.0 / shape[0]), shape))
    return Weights(*arrays)


def embeddings(weights: Weights, x: Any, xp: Any = np) -> Any:
    """Return tasks' embeddings, (..., q, H), from their features (..., q, T)."""
    return xp.maximum(x @ weights.encode + weights.encode_bias, 0.0)


def pool(embedded: Any, mask: Any, xp: Any = np) -> Any:
    """Return the mean embedding of the tasks that a mask, (..., q), admits: (..., H)."""
    kept = mask[..., None]
    return (embedded * kept).sum(axis=-2) / xp.maximum(kept.sum(axis=-2), 1.0)


def task_scores(weights: Weights, x: Any, g: Any, embedded: Any, pooled: Any, xp: Any = np) -> Any:
    """Return the score of each task, (..., q); the highest goes next.

    Args:
        weights: of the network.
        x: (..., q, T) their features.
        g: (..., G) features of the whole.
        embedded: (..., q, H) by `embeddings`.
        pooled: (..., H) by `pool`.
        xp: numpy or a module like it.
    """
    around = pooled @ weights.pooled + g @ weights.context + weights.bias
    hidden = xp.maximum(embedded @ weights.own + around[..., None, :], 0.0)
    linear = task_weights(weights, g, xp)
    return hidden @ weights.value + (x * linear[..., None, :]).sum(axis=-1)


def task_weights(weights: Weights, g: Any, xp: Any = np) -> Any:
    """Return what each task feature counts for in a context, (..., T): the experts' mean, as the gate trusts them.

    The gate is a softmax, so that between contexts that it knows apart one expert has all the say. Networks that were
    made one of several have a softmax for each `EXPERTS` of theirs, and the mean of what these say.
    """
    asked = g @ weights.gate.T + weights.gate_bias
    each = asked.reshape(*asked.shape[:-1], -1, EXPERTS)
    trust = xp.exp(each - each.max(axis=-1, keepdims=True))
    trust = trust / (trust.sum(axis=-1, keepdims=True) * each.shape[-2])
    return weights.skip + trust.reshape(asked.shape) @ weights.experts


def wait_score(weights: Weights, g: Any, pooled: Any, xp: Any = np) -> Any:
    """Return the score of starting nothing until something happens: (...,)."""
    hidden = xp.maximum(pooled @ weights.pooled + g @ weights.context + weights.bias, 0.0)
    return hidden @ weights.wait + g @ weights.wait_skip + weights.wait_bias[..., 0]


def node_scores(weights: Weights, p: Any, y: Any, embedded: Any, g: Any, xp: Any = np) -> Any:
    """Return the score of each node for a task, (..., n); the highest gets it.

    Args:
        weights: of the network.
        p: (..., n, P) features of the task on each node.
        y: (..., n, N) features of the nodes.
        embedded: (..., H) the task's embedding.
        g: (..., G) features of the whole.
        xp: numpy or a module like it.
    """
    nodes = xp.maximum(y @ weights.node + weights.node_bias, 0.0)
    around = embedded @ weights.of + g @ weights.around + weights.pair_bias
    hidden = xp.maximum(p @ weights.pair + nodes @ weights.at + around[..., None, :], 0.0)
    linear = weights.pair_skip + g @ weights.pair_mix.T
    return hidden @ weights.pair_value + (p * linear[..., None, :]).sum(axis=-1) + y @ weights.node_skip
