"""What is learned from choices among masked candidates: probabilities, advantages, the losses of copying and of PPO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from farlane.lab.training.config import Ppo
from farlane.scheduler.sim.world import Floats

IMPOSSIBLE = -1e30
"""A logit so low that its probability is exactly 0 in float32, while 0 x its logarithm is 0 and not nan."""

Forward = Callable[[Any, Any], tuple[Any, Any]]
"""Weights and what b decisions saw -> scores (b, c) of the candidates and values (b,) of the states."""


class Taken(NamedTuple):
    """b decisions that were made.

    seen: tree of arrays, (b, ...) each, as a `Forward` takes it; mask: (b, c) bool, which candidates could be chosen;
    action: (b,) int, which was; log_probability: (b,) of it when it was; advantage, target: (b,) of it, and of the
    value.
    """

    seen: Any
    mask: Any
    action: Any
    log_probability: Any
    advantage: Any
    target: Any


def log_probabilities(scores: Any, mask: Any) -> Any:
    """Return the logarithms of a softmax over the candidates that can be chosen: (b, c), IMPOSSIBLE for the others.

    The mask is applied before the softmax (Huang and Ontanon 2022): what cannot be chosen has probability 0 and
    gradient 0.
    """
    return jnp.where(mask, jax.nn.log_softmax(jnp.where(mask, scores, IMPOSSIBLE), axis=-1), IMPOSSIBLE)


def entropy(log_p: Any) -> Any:
    """Return the entropy of each decision, in nats: (b,)."""
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def of_action(log_p: Any, action: Any) -> Any:
    """Return the logarithm of each action's probability: (b,)."""
    return jnp.take_along_axis(log_p, action[:, None], axis=-1)[:, 0]


def advantages(rewards: Floats, values: Floats, discount: float, trace: float) -> tuple[Floats, Floats]:
    """Return the advantages of a whole episode's decisions, (t,), and what their values should have been, (t,).

    Generalised advantage estimation: A_t = sum over k of (discount trace)^k (r_t+k + discount V_t+k+1 - V_t+k), with
    V = 0 behind the end. Source: Schulman et al., ICLR 2016, equation 16.
    """
    after = np.append(values[1:], 0.0)
    errors = rewards + discount * after - values
    found, running = np.empty(len(errors)), 0.0
    for at in range(len(errors) - 1, -1, -1):
        running = errors[at] + discount * trace * running
        found[at] = running
    return found, found + values


def imitation_loss(forward: Forward, weights: Any, seen: Any, mask: Any, action: Any) -> tuple[Any, Any]:
    """Return the cross-entropy with a teacher's choices, and the share of them that would be made too."""
    scores, _ = forward(weights, seen)
    log_p = log_probabilities(scores, mask)
    return -jnp.mean(of_action(log_p, action)), jnp.mean(jnp.argmax(log_p, axis=-1) == action)


def ppo_loss(forward: Forward, weights: Any, taken: Taken, config: Ppo, heads: Any) -> tuple[Any, Any]:
    """Return the loss of PPO, and how far the policy has moved: the estimated KL divergence from what acted.

    L = -min(q A, clip(q, 1 - c, 1 + c) A) + (V - target)^2 / 2 - e H, with q the ratio of probabilities. Source:
    Schulman et al. 2017, equations 7 and 9; the divergence as mean((q - 1) - log q), which is never negative
    (Schulman 2020, "Approximating KL divergence").

    Args:
        forward: the network.
        weights: of it.
        taken: decisions.
        config: clip c and weight of the entropy e.
        heads: (2,) weights of the policy's and of the value's part.
    """
    scores, values = forward(weights, taken.seen)
    log_p = log_probabilities(scores, taken.mask)
    moved = of_action(log_p, taken.action) - taken.log_probability
    ratio = jnp.exp(moved)
    bounded = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
    gain = jnp.minimum(ratio * taken.advantage, bounded * taken.advantage)
    policy = -jnp.mean(gain) - config.entropy * jnp.mean(entropy(log_p))
    value = 0.5 * jnp.mean((values - taken.target) ** 2)
    return heads[0] * policy + heads[1] * value, jnp.mean(ratio - 1.0 - moved)
