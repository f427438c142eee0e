"""Sentence encoders exported to ONNX: the transformer through onnxruntime, mean of the tokens, length 1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farlane.errors import InvalidInput
from farlane.models.serving.runtime import RuntimeOptions, only_file
from farlane.models.serving.runtimes.bert import read_config, read_tokenizer
from farlane.models.serving.runtimes.onnx import open_session

if TYPE_CHECKING:
    from farlane.models.serving.runtimes.bert import Floats

BATCH = 16
"""Texts of one run: each is padded to the longest of them."""
DEFAULT_MAX_TOKENS = 512


class OnnxEncoder:
    """A text encoder whose graph gives a vector for each token.

    Args:
        folder: one .onnx file, tokenizer.json, and sentence_bert_config.json with the longest input.
        options: threads of one computation.

    Raises:
        InvalidInput: the graph does not take token ids, or gives no vectors.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        path = only_file(folder, ".onnx")
        self._session = open_session(path, options)
        self._takes = [argument.name for argument in self._session.get_inputs()]
        output = self._session.get_outputs()[0]
        fits = (
            {"input_ids", "attention_mask"}
            <= set(self._takes)
            <= {
                "input_ids",
                "attention_mask",
                "token_type_ids",
            }
        )
        if not fits or len(output.shape) != 3 or not isinstance(output.shape[2], int):
            raise InvalidInput(
                f"{path.name} takes {self._takes} and gives {output.shape}; a sentence encoder takes input_ids and "
                "attention_mask and gives (batch, tokens, dimensions). Serve it with runtime onnx"
            )
        longest = folder / "sentence_bert_config.json"
        asked = read_config(longest).get("max_seq_length") if longest.is_file() else None
        self.max_tokens = asked if type(asked) is int and asked > 2 else DEFAULT_MAX_TOKENS
        self.width: int = output.shape[2]
        self._tokenizer = read_tokenizer(folder / "tokenizer.json", self.max_tokens)

    def tokens(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of each text, cut at `max_tokens`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def encode_tokens(self, tokens: list[list[int]]) -> Floats:
        """Embed what `tokens` returned: (texts, width) float32, each row of length 1."""
        vectors = np.empty((len(tokens), self.width), np.float32)
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            vectors[batch] = self._run([tokens[index] for index in batch])
        return vectors

    def _run(self, batch: list[list[int]]) -> Floats:
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        [states, *_] = self._session.run(None, {name: arrays[name] for name in self._takes})
        weights = mask[:, :, None].astype(np.float32)
        means = (np.asarray(states, np.float32) * weights).sum(axis=1) / weights.sum(axis=1)
        unit: Floats = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.float32(1e-12))
        return unit
