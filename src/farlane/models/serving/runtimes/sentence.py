"""The runtime for sentence embeddings: BERT encoders, in numpy from safetensors or through onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farlane.domain.inference import EmbedReply, EmbedRequest, InferenceKind, ModelDescription
from farlane.errors import InvalidInput
from farlane.models.serving.runtime import NoGeneration, NoTensors, RuntimeOptions
from farlane.models.serving.runtimes.bert import BertEncoder

if TYPE_CHECKING:
    from farlane.models.serving.runtimes.bert import Floats

MAX_BATCH = 64
"""Texts of one batch: beyond it the matrix products get no quicker."""


class SentenceRuntime(NoTensors, NoGeneration):
    """An encoder behind the runtime's port.

    Args:
        folder: tokenizer.json beside model.safetensors and config.json, or beside one .onnx file.
        options: threads; numpy's own are set when its process starts.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        self._tokens: Callable[[list[str]], list[list[int]]]
        self._encode: Callable[[list[list[int]]], Floats]
        if (folder / "model.safetensors").is_file():
            encoder = BertEncoder(folder)
            self._tokens, self._encode = encoder.tokens, encoder.encode_tokens
            width, max_tokens = encoder.shape.width, encoder.shape.max_tokens
        else:
            from farlane.models.serving.runtimes.sentence_onnx import OnnxEncoder

            exported = OnnxEncoder(folder, options)
            self._tokens, self._encode = exported.tokens, exported.encode_tokens
            width, max_tokens = exported.width, exported.max_tokens
        self._description = ModelDescription(
            runtime="sentence",
            kinds=(InferenceKind.EMBEDDING,),
            context_tokens=max_tokens,
            max_batch=MAX_BATCH,
            dimensions=width,
        )

    def describe(self) -> ModelDescription:
        """Say what the model is."""
        return self._description

    def embed(self, request: EmbedRequest) -> EmbedReply:
        """Turn each text into a unit vector.

        Raises:
            InvalidInput: more dimensions than the model has.
        """
        tokens = self._tokens(list(request.texts))
        vectors = cut(self._encode(tokens), request.dimensions)
        counts = tuple(map(len, tokens))
        return EmbedReply(vectors.astype("<f4", copy=False).tobytes(), vectors.shape[1], sum(counts), counts)

    def close(self) -> None:
        """Nothing is held beyond the object."""


def cut(vectors: Floats, dimensions: int | None) -> Floats:
    """Return the first `dimensions` of each vector, of length 1 again: (texts, dimensions) float32.

    Raises:
        InvalidInput: not between 1 and what the model has.
    """
    width = vectors.shape[1]
    if dimensions is None or dimensions == width:
        return vectors
    if not 1 <= dimensions < width:
        raise InvalidInput(
            f"{dimensions} dimensions were asked for; this model's vectors have {width}: ask for 1 to {width}",
            dimensions=dimensions,
        )
    part = vectors[:, :dimensions]
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    shorter: Floats = part / np.maximum(lengths, np.float32(1e-12))
    return shorter
