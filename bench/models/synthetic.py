"""Synthetic models: a Llama-shaped safetensors file of bfloat16 weights, and versions of it as training leaves them.

Weights are Gaussian with standard deviation 0.02. Real weights are more regular, so real savings differ; what matters
is that all schemes are given the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

HIDDEN, INNER, VOCABULARY, LAYERS = 768, 2048, 25_320, 14
SPREAD = 0.02
_TO_NAME = str.maketrans({" ": "_", "-": "_", ",": None})
Shapes = dict[str, tuple[int, ...]]
Change = Callable[[str, np.ndarray, np.random.Generator], np.ndarray]


def shapes(layers: int = LAYERS, vocabulary: int = VOCABULARY) -> Shapes:
    """Return the shape of each tensor, in the order of the file."""
    found: Shapes = {"model.embed_tokens.weight": (vocabulary, HIDDEN)}
    for number in range(layers):
        at = f"model.layers.{number}."
        for name in ("q", "k", "v", "o"):
            found[f"{at}self_attn.{name}_proj.weight"] = (HIDDEN, HIDDEN)
        found[f"{at}mlp.gate_proj.weight"] = (INNER, HIDDEN)
        found[f"{at}mlp.up_proj.weight"] = (INNER, HIDDEN)
        found[f"{at}mlp.down_proj.weight"] = (HIDDEN, INNER)
        found[f"{at}input_layernorm.weight"] = (HIDDEN,)
        found[f"{at}post_attention_layernorm.weight"] = (HIDDEN,)
    found["model.norm.weight"] = (HIDDEN,)
    found["lm_head.weight"] = (vocabulary, HIDDEN)
    return found


def write_safetensors(
    path: Path, tensors: Iterator[tuple[str, np.ndarray]], all_shapes: Shapes, metadata: dict[str, str]
) -> None:
    """Write bfloat16 tensors, given as uint16 patterns in the order of `all_shapes`."""
    header: dict[str, object] = {"__metadata__": metadata}
    at = 0
    for name, shape in all_shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, values in tensors:
            if values.shape != all_shapes[name]:
                raise SystemExit(f"{name} has shape {values.shape}, not {all_shapes[name]}")
            stream.write(values.tobytes())


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16 patterns, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(patterns: np.ndarray) -> np.ndarray:
    """Return bfloat16 patterns as float32."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)


class Model:
    """The base and its versions; each version is made when it is asked for."""

    def __init__(self, directory: Path, *, layers: int = LAYERS, vocabulary: int = VOCABULARY) -> None:
        self.directory = directory
        self._shapes = shapes(layers, vocabulary)
        self._last = tuple(f"model.layers.{number}." for number in range(layers - 2, layers))
        generator = np.random.default_rng(1)
        self._base = {
            name: to_bf16(SPREAD * generator.standard_normal(shape, dtype=np.float32))
            for name, shape in self._shapes.items()
        }

    def write(self, version: str) -> Path:
        """Write a version and return its path.

        Args:
            version: `base`, or one of VERSIONS.
        """
        path = self.directory / f"{version.translate(_TO_NAME)}.safetensors"
        tensors, found = dict(self._base), dict(self._shapes)
        metadata = {"format": "pt"}
        if version == "header edit":
            metadata["title"] = "the same weights under another title"
        elif version == "reordered tensors":
            order = np.random.default_rng(5).permutation(list(found))
            found = {str(name): found[str(name)] for name in order}
        elif version == "8 vocabulary rows more":
            added = to_bf16(SPREAD * np.random.default_rng(6).standard_normal((8, HIDDEN), dtype=np.float32))
            for name in ("model.embed_tokens.weight", "lm_head.weight"):
                tensors[name] = np.concatenate((tensors[name], added))
                found[name] = tensors[name].shape
        elif version != "base":
            generator = np.random.default_rng(7)
            change = getattr(self, f"_{version.translate(_TO_NAME)}")
            tensors = {name: change(name, values, generator) for name, values in tensors.items()}
        write_safetensors(path, ((name, tensors[name]) for name in found), found, metadata)
        return path

    def _partial_fine_tune(self, name: str, values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The last two layers and the head move by 2 % of the weights' spread."""
        return moved(values, 0.02, generator) if name.startswith((*self._last, "lm_head")) else values

    def _merged_LoRA(self, name: str, values: np.ndarray, generator: np.random.Generator) -> np.ndarray:  # noqa: N802
        """q and v of all layers get a product of rank 8, of 10 % of the weights' spread."""
        if not name.endswith(("q_proj.weight", "v_proj.weight")):
            return values
        left, right = (generator.standard_normal((HIDDEN, 8), dtype=np.float32) for _ in "ab")
        return to_bf16(from_bf16(values) + 0.1 * SPREAD / np.sqrt(8) * (left @ right.T))

    def _full_fine_tune_small_rate(
        self, name: str, values: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Every weight moves so little that about 9 % of the elements round to another value."""
        return moved(values, 0.0004, generator)

    def _full_fine_tune_large_rate(
        self, name: str, values: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Every weight moves by 0.6 % of the spread: about 71 % of the elements change."""
        return moved(values, 0.006, generator)


VERSIONS = (
    "partial fine-tune",
    "merged LoRA",
    "full fine-tune, small rate",
    "full fine-tune, large rate",
    "8 vocabulary rows more",
    "header edit",
    "reordered tensors",
)


def moved(values: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """Return weights with Gaussian noise of that share of their spread."""
    noise = generator.standard_normal(values.shape, dtype=np.float32)
    return to_bf16(from_bf16(values) + share * SPREAD * noise)
