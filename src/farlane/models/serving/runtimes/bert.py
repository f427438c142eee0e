"""BERT sentence encoders in plain numpy, on one core: tokens in, unit vectors out, whatever the size in config.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from farlane.errors import Corrupted, InvalidInput
from farlane.models.serving.runtime import missing_package

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Floats: TypeAlias = NDArray[np.float32]

MAX_CONFIG_BYTES = 1 << 20
BATCH_TOKENS = 2048
"""Tokens per pass through the layers: large enough for BLAS, small enough to stay near the cache."""
GELU_ROWS = 16
"""Rows per step of the activation, so that its temporaries (16 x 1536 x 4 bytes each) stay in the cache."""


@dataclass(frozen=True, slots=True)
class Dense:
    """One linear map: `x @ weight + bias`."""

    weight: Floats
    """(inputs, outputs)"""
    bias: Floats
    """(outputs,)"""

    def __call__(self, x: Floats) -> Floats:
        """Map (tokens, inputs) to (tokens, outputs)."""
        y: Floats = x @ self.weight
        y += self.bias
        return y


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last axis, with a learned scale and shift."""

    scale: Floats
    shift: Floats
    epsilon: np.float32

    def __call__(self, x: Floats) -> Floats:
        """Normalise (tokens, dimensions) in place and return it.

        Source: Ba, Kiros, Hinton, "Layer Normalization" (2016), equation 4.
        """
        x -= x.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[-1])
        x *= np.float32(1.0) / np.sqrt(variance + self.epsilon)
        x *= self.scale
        x += self.shift
        return x


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: attention and a feed-forward block, each with a residual and a norm."""

    queries_keys_values: Dense
    """(width, 3 x width): the three projections side by side, one matrix product instead of three."""
    attention_out: Dense
    attention_norm: Norm
    expand: Dense
    contract: Dense
    out_norm: Norm
    heads: int

    def __call__(self, x: Floats, spans: Sequence[slice]) -> Floats:
        """Run (tokens, width) through the layer; each span of rows is one text and sees only itself."""
        projected = self.queries_keys_values(x)
        mixed = np.empty_like(x)
        for span in spans:
            mixed[span] = attend(projected[span], self.heads)
        x = self.attention_norm(x + self.attention_out(mixed))
        return self.out_norm(x + self.contract(gelu(self.expand(x))))


def attend(projected: Floats, heads: int) -> Floats:
    """Mix the tokens of one text: (tokens, 3 x width) queries, keys and values to (tokens, width).

    Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1.
    """
    tokens, width = len(projected), projected.shape[1] // 3
    size = width // heads
    queries, keys, values = projected.reshape(tokens, 3, heads, size).transpose(1, 2, 0, 3)
    scores: Floats = queries @ keys.transpose(0, 2, 1)
    scores *= np.float32(size**-0.5)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Floats = (scores @ values).transpose(1, 0, 2).reshape(tokens, width)
    return mixed


def gelu(x: Floats) -> Floats:
    """Apply x * Phi(x), with Phi the normal distribution function, in place.

    Computed as relu(x) - |x| * (1 - Phi(|x|)).
    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016); 1 - Phi from the error function by
    Abramowitz and Stegun, formula 7.1.26, absolute error at most 1.5e-7.
    """
    for start in range(0, len(x), GELU_ROWS):
        rows = x[start : start + GELU_ROWS]
        size = np.abs(rows)
        tail = _normal_tail(size)
        tail *= size
        rows += size
        rows *= np.float32(0.5)
        rows -= tail
    return x


def _normal_tail(size: Floats) -> Floats:
    """Return 1 - Phi(size) for size >= 0; formula 7.1.26 with erf's arguments and result scaled to Phi's."""
    t = size * np.float32(0.3275911 * 0.5**0.5)
    t += np.float32(1.0)
    np.reciprocal(t, out=t)
    tail = t * np.float32(0.5 * 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(0.5 * coefficient)
        tail *= t
    np.multiply(size, size, out=t)
    t *= np.float32(-0.5)
    np.exp(t, out=t)
    tail *= t
    return tail


@dataclass(frozen=True, slots=True)
class BertShape:
    """Sizes of an encoder, from its config.json and sentence_bert_config.json."""

    width: int
    layers: int
    heads: int
    epsilon: float
    max_tokens: int
    """Longest input the model was trained for; the rest of a longer text is left out."""
    mean: bool = True
    """Whether a text's vector is the mean of its tokens' (else it is the first token's)."""


class BertEncoder:
    """Turns text into unit vectors whose dot product is the similarity of meaning.

    Each text is computed on its own rows, without padding, so that a vector depends on its text alone; another
    batch changes it by rounding only (under 1e-6). For several workers on one machine set
    `OPENBLAS_NUM_THREADS=1` before numpy is imported.

    Args:
        folder: model.safetensors, config.json and tokenizer.json.

    Raises:
        Corrupted: the files do not hold the tensors that config.json announces.
        InvalidInput: config.json describes another architecture.
        Unavailable: tokenizers or safetensors are not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.shape = read_shape(folder)
        self._tokenizer = read_tokenizer(folder / "tokenizer.json", self.shape.max_tokens)
        weights = read_weights(folder / "model.safetensors")
        try:
            self._take(weights)
        except KeyError as error:
            raise Corrupted(
                f"model.safetensors has no tensor {error}; expected the weights that config.json announces",
                tensor=error.args[0],
            ) from error
        self._check(folder)

    def _take(self, weights: dict[str, Floats]) -> None:
        shape = self.shape
        self._words = weights["embeddings.word_embeddings.weight"]
        self._places: Floats = (
            weights["embeddings.position_embeddings.weight"][: shape.max_tokens]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm(weights, "embeddings.LayerNorm", shape)
        self._layers = [_layer(weights, f"encoder.layer.{index}", shape) for index in range(shape.layers)]

    def _check(self, folder: Path) -> None:
        width, words = self.shape.width, self._tokenizer.get_vocab_size()
        first = [layer.queries_keys_values.weight.shape for layer in self._layers]
        if self._words.shape[1:] != (width,) or any(shape != (width, 3 * width) for shape in first):
            raise Corrupted(
                f"the tensors in {folder} are not of the width {width} that config.json announces; "
                "publish the files of one model together"
            )
        if len(self._words) < words or len(self._places) < self.shape.max_tokens:
            raise Corrupted(
                f"{folder} has embeddings for {len(self._words)} words and {len(self._places)} places, its tokenizer "
                f"makes {words} words and {self.shape.max_tokens} places; publish the files of one model together"
            )

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, cut at `shape.max_tokens`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed texts: (texts, width) float32, each row of length 1, in the order given.

        Raises:
            InvalidInput: `texts` is one string instead of a list of strings.
        """
        if isinstance(texts, str):
            raise InvalidInput("encode() got one string; expected a list of strings: encode([text])")
        return self.encode_tokens(self.tokens(texts))

    def encode_tokens(self, tokens: list[list[int]]) -> Floats:
        """Embed what `tokens` returned: (texts, width) float32, each row of length 1."""
        vectors = np.empty((len(tokens), self.shape.width), dtype=np.float32)
        for batch in _batches([len(ids) for ids in tokens]):
            vectors[batch] = self._encode_batch([tokens[index] for index in batch])
        return vectors

    def _encode_batch(self, batch: list[list[int]]) -> Floats:
        ends = np.cumsum([len(ids) for ids in batch]).tolist()
        spans = [slice(end - len(ids), end) for end, ids in zip(ends, batch, strict=True)]
        x: Floats = self._words[np.concatenate(batch)]
        for span in spans:
            x[span] += self._places[: span.stop - span.start]
        x = self._norm(x)
        for layer in self._layers:
            x = layer(x, spans)
        pooled = [x[span].mean(axis=0) if self.shape.mean else x[span.start] for span in spans]
        means: Floats = np.stack(pooled)
        unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


def _batches(lengths: list[int]) -> list[list[int]]:
    """Group the indices of texts, shortest first, so that each group has at most BATCH_TOKENS tokens."""
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if lengths[index] > room:
            batches.append([])
            room = BATCH_TOKENS
        batches[-1].append(index)
        room -= lengths[index]
    return batches


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model's folder.

    Raises:
        Corrupted: it is none, or larger than a megabyte.
    """
    data = path.read_bytes()[: MAX_CONFIG_BYTES + 1]
    try:
        config = json.loads(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise Corrupted(f"{path} is no JSON object of at most a megabyte; publish the model's own file")
    return config


def read_shape(folder: Path) -> BertShape:
    """Read the sizes of an encoder.

    Raises:
        InvalidInput: another architecture than BERT with learned positions and GELU.
        Corrupted: a size is missing or impossible.
    """
    path = folder / "config.json"
    config = read_config(path)
    found = (
        config.get("model_type"),
        config.get("hidden_act", "gelu"),
        config.get("position_embedding_type", "absolute"),
    )
    if found != ("bert", "gelu", "absolute"):
        raise InvalidInput(
            f"{path} describes {found}; the sentence runtime computes ('bert', 'gelu', 'absolute'). Export the "
            "model to ONNX and serve it with runtime onnx"
        )
    sizes: list[Any] = [config.get(n) for n in ("hidden_size", "num_hidden_layers", "num_attention_heads")]
    places: Any = config.get("max_position_embeddings")
    if not all(type(size) is int and 0 < size <= 1 << 16 for size in [*sizes, places]) or sizes[0] % sizes[2]:
        raise Corrupted(
            f"{path} has impossible sizes: hidden_size, layers, heads {sizes}, positions {places}"
        )
    longest = folder / "sentence_bert_config.json"
    asked = read_config(longest).get("max_seq_length") if longest.is_file() else None
    max_tokens: int = min(places, asked) if type(asked) is int and asked > 2 else places
    return BertShape(
        sizes[0], sizes[1], sizes[2], float(config.get("layer_norm_eps", 1e-12)), max_tokens, _mean(folder)
    )


def _mean(folder: Path) -> bool:
    """Read how tokens become one vector; without a word about it, by their mean.

    Raises:
        InvalidInput: in a way that is not computed here.
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return True
    modes = {
        name for name, on in read_config(path).items() if name.startswith("pooling_mode_") and on is True
    }
    if modes == {"pooling_mode_mean_tokens"}:
        return True
    if modes == {"pooling_mode_cls_token"}:
        return False
    raise InvalidInput(
        f"{path} asks for {', '.join(sorted(modes)) or 'no pooling'}; the sentence runtime computes the mean of the "
        "tokens or takes the first: export the model to ONNX with its pooling"
    )


def read_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Read a tokenizer.json that cuts at `max_tokens` and never pads.

    Raises:
        Corrupted: it is none.
        Unavailable: tokenizers is not installed.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise missing_package("tokenizers", "serve", "sentence") from error
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise Corrupted(f"{path} is no tokenizer ({error}); publish the model's own file") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def read_weights(path: Path) -> dict[str, Floats]:
    """Read a safetensors file; half precision becomes float32.

    Raises:
        Corrupted: it is none, or cut short.
        Unavailable: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise missing_package("safetensors", "serve", "sentence") from error
    try:
        weights: dict[str, Floats] = load_file(path)
    except SafetensorError as error:
        raise Corrupted(f"{path} is not a safetensors file ({error}); fetch or publish it again") from error
    return {name: array.astype(np.float32, copy=False) for name, array in weights.items()}


def _norm(weights: dict[str, Floats], name: str, shape: BertShape) -> Norm:
    return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"], np.float32(shape.epsilon))


def _dense(weights: dict[str, Floats], *names: str) -> Dense:
    """Join the named maps side by side; files hold (outputs, inputs), products want (inputs, outputs)."""
    matrices = [weights[f"{name}.weight"].T for name in names]
    biases = [weights[f"{name}.bias"] for name in names]
    return Dense(np.ascontiguousarray(np.concatenate(matrices, axis=1)), np.concatenate(biases))


def _layer(weights: dict[str, Floats], name: str, shape: BertShape) -> Layer:
    attention = f"{name}.attention"
    return Layer(
        queries_keys_values=_dense(weights, *(f"{attention}.self.{p}" for p in ("query", "key", "value"))),
        attention_out=_dense(weights, f"{attention}.output.dense"),
        attention_norm=_norm(weights, f"{attention}.output.LayerNorm", shape),
        expand=_dense(weights, f"{name}.intermediate.dense"),
        contract=_dense(weights, f"{name}.output.dense"),
        out_norm=_norm(weights, f"{name}.output.LayerNorm", shape),
        heads=shape.heads,
    )
