"""The architecture of the shipped language model: Llama's, small, and one step of its training in jax.

Source: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models" (2023), section 2.2: RMSNorm before each
block, SwiGLU, rotary positions. Weights have the names and layout of Hugging Face's `LlamaForCausalLM`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model; `width / heads` is the size of a head and even."""

    vocabulary: int = 1024
    width: int = 160
    layers: int = 4
    heads: int = 5
    inner: int = 512
    context: int = 256
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


def initial_weights(shape: Shape, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Draw weights: normal with deviation 0.02, those that write into the residual smaller by sqrt(2 layers).

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.3.
    """

    def normal(*size: int, deviation: float = 0.02) -> NDArray[np.float32]:
        return (rng.standard_normal(size) * deviation).astype(np.float32)

    small = 0.02 / (2 * shape.layers) ** 0.5
    weights = {"model.embed_tokens.weight": normal(shape.vocabulary, shape.width)}
    for layer in range(shape.layers):
        name = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj"):
            weights[f"{name}.self_attn.{part}.weight"] = normal(shape.width, shape.width)
        weights[f"{name}.self_attn.o_proj.weight"] = normal(shape.width, shape.width, deviation=small)
        for part in ("gate_proj", "up_proj"):
            weights[f"{name}.mlp.{part}.weight"] = normal(shape.inner, shape.width)
        weights[f"{name}.mlp.down_proj.weight"] = normal(shape.width, shape.inner, deviation=small)
        for part in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{name}.{part}.weight"] = np.ones(shape.width, np.float32)
    weights["model.norm.weight"] = np.ones(shape.width, np.float32)
    return weights


def rotate(x: Any, shape: Shape) -> Any:
    """Turn (batch, tokens, heads, size) by each token's place.

    Source: Su et al., "RoFormer" (2021), equation 15, with the halves paired as Hugging Face does.
    """
    half = x.shape[-1] // 2
    frequencies = shape.rope_base ** (-jnp.arange(half) / half)
    angles = jnp.arange(x.shape[1])[:, None] * frequencies
    cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
    left, right = x[..., :half], x[..., half:]
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def normed(x: Any, scale: Any, shape: Shape) -> Any:
    """Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019), equation 4."""
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + shape.norm_epsilon) * scale


def logits(weights: Weights, ids: Any, shape: Shape) -> Any:
    """Return (batch, tokens, vocabulary) for (batch, tokens) ids; the output shares the embedding's matrix."""
    batch, tokens = ids.shape
    causal = jnp.tril(jnp.ones((tokens, tokens), bool))
    x = weights["model.embed_tokens.weight"][ids]
    for layer in range(shape.layers):
        name = f"model.layers.{layer}"
        h = normed(x, weights[f"{name}.input_layernorm.weight"], shape)
        q, k, v = (
            (h @ weights[f"{name}.self_attn.{part}.weight"].T).reshape(batch, tokens, shape.heads, -1)
            for part in ("q_proj", "k_proj", "v_proj")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", rotate(q, shape), rotate(k, shape)) * q.shape[-1] ** -0.5
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(jnp.where(causal, scores, -1e9)), v)
        x = x + mixed.reshape(batch, tokens, -1) @ weights[f"{name}.self_attn.o_proj.weight"].T
        h = normed(x, weights[f"{name}.post_attention_layernorm.weight"], shape)
        gate = jax.nn.silu(h @ weights[f"{name}.mlp.gate_proj.weight"].T)
        x = (
            x
            + (gate * (h @ weights[f"{name}.mlp.up_proj.weight"].T))
            @ weights[f"{name}.mlp.down_proj.weight"].T
        )
    return normed(x, weights["model.norm.weight"], shape) @ weights["model.embed_tokens.weight"].T


@partial(jax.jit, static_argnums=2)
def loss(weights: Weights, rows: Any, shape: Shape) -> Any:
    """Return the mean cross-entropy in nats per token of predicting each token of (batch, tokens + 1) rows."""
    scores = jax.nn.log_softmax(logits(weights, rows[:, :-1], shape))
    return -jnp.mean(jnp.take_along_axis(scores, rows[:, 1:, None], axis=-1))


@partial(jax.jit, static_argnums=(5, 6))
def train_step(
    trained: Weights,
    moments: Any,
    rows: Any,
    step: Any,
    rate: Any,
    shape: Shape,
    decay: float,
    frozen: Weights,
) -> Any:
    """Take one step of AdamW with gradients clipped at norm 1; returns (weights, moments, loss).

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2.
    """
    value, gradient = jax.value_and_grad(lambda w: loss(w | frozen, rows, shape))(trained)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / norm), gradient)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
    second = jax.tree.map(lambda v, g: 0.98 * v + 0.02 * g * g, moments[1], gradient)
    scale = jnp.sqrt(1 - 0.98**step) / (1 - 0.9**step)

    def moved(w: Any, m: Any, v: Any) -> Any:
        return w - rate * (scale * m / (jnp.sqrt(v) + 1e-8) + (decay * w if w.ndim > 1 else 0.0))

    return jax.tree.map(moved, trained, first, second), (first, second), value
