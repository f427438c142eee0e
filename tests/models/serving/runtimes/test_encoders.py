"""One sentence encoder in three shapes (safetensors, ONNX, GGUF): each runtime gives the same vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farlane.domain.inference import EmbedReply, EmbedRequest
from farlane.errors import InvalidInput
from farlane.models.serving.runtime import RuntimeOptions, choose_runtime, open_runtime
from farlane.testing.tiny_encoders import write_gguf_encoder, write_onnx_encoder
from farlane.testing.tiny_models import write_sentence_model

TEXTS = ("the cat sat on a mat", "a red road", "up", "the warm dog ran - a blue cat sat up")


def vectors(folder: Path, texts: tuple[str, ...] = TEXTS) -> np.ndarray:
    """Return the rows that a model gives, (texts, dimensions) float32."""
    runtime = open_runtime(folder, RuntimeOptions())
    try:
        reply = runtime.embed(EmbedRequest(texts))
    finally:
        runtime.close()
    assert isinstance(reply, EmbedReply)
    return np.frombuffer(reply.vectors, "<f4").reshape(len(texts), reply.dimensions)


@pytest.mark.parametrize(
    ("write", "runtime", "least"),
    [(write_onnx_encoder, "sentence", 0.999999), (write_gguf_encoder, "gguf", 0.999)],
)
def test_a_meaning_does_not_depend_on_the_shape_of_its_model(
    tmp_path: Path, write: Callable[[Path], Path], runtime: str, least: float
) -> None:
    plain = vectors(write_sentence_model(tmp_path / "plain"))
    folder = write(tmp_path / "other")
    assert choose_runtime(folder) == runtime
    assert ((plain * vectors(folder)).sum(axis=1) > least).all()
    assert plain[0] @ plain[1] < 0.99


def test_a_text_beyond_the_longest_input_is_cut_alike(tmp_path: Path) -> None:
    long = ("the cat " * 200,)
    plain = vectors(write_sentence_model(tmp_path / "plain"), long)
    assert (plain * vectors(write_onnx_encoder(tmp_path / "other"), long)).sum() > 0.999999


def test_a_graph_that_is_no_encoder_is_refused_with_a_word(tmp_path: Path) -> None:
    from farlane.testing.tiny_models import write_onnx_model

    folder = write_onnx_encoder(tmp_path / "model")
    write_onnx_model(folder)
    with pytest.raises(InvalidInput, match="sentence encoder takes input_ids"):
        open_runtime(folder, RuntimeOptions())
