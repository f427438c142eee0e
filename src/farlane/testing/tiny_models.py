"""Tiny real models for tests, made in milliseconds with random weights: a sentence encoder and an ONNX graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

WORDS = tuple("[PAD] [UNK] [CLS] [SEP] a the cat dog sat ran on mat road red blue warm - up".split())  # noqa: SIM905
WIDTH = 32


def write_sentence_model(folder: Path, *, seed: int = 0, layers: int = 1) -> Path:
    """Write a BERT encoder of 32 dimensions with a vocabulary of 18 words, for the `sentence` runtime.

    Args:
        folder: made if it is not there.
        seed: another one is another version of the same model.
        layers: transformer layers.

    Returns:
        The folder.
    """
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(bert_weights(np.random.default_rng(seed), layers), folder / "model.safetensors")
    return folder


def bert_weights(rng: np.random.Generator, layers: int) -> dict[str, Any]:
    """Return the weights of a BERT encoder by their names in safetensors files, float32."""

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape, np.float32) * np.float32(0.3)

    weights = {
        "embeddings.word_embeddings.weight": normal(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": normal(64, WIDTH),
        "embeddings.token_type_embeddings.weight": normal(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        maps = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        maps |= {"attention.output.dense": (WIDTH, WIDTH), "intermediate.dense": (64, WIDTH)}
        maps |= {"output.dense": (WIDTH, 64)}
        for part, shape in maps.items():
            weights[f"{name}.{part}.weight"] = normal(*shape)
            weights[f"{name}.{part}.bias"] = normal(shape[0])
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for norm in norms:
        weights[f"{norm}.weight"] = np.ones(WIDTH, np.float32)
        weights[f"{norm}.bias"] = np.zeros(WIDTH, np.float32)
    return weights


def write_onnx_model(folder: Path, *, factor: float = 2.0) -> Path:
    """Write a graph that multiplies `x`, (batch, 3) FP32, by a factor into `y`, for the `onnx` runtime.

    Args:
        folder: made if it is not there.
        factor: another one is another version of the same model.

    Returns:
        The folder.
    """
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir(parents=True, exist_ok=True)
    array = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [array],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
