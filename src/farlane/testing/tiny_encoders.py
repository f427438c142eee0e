"""The tiny sentence encoder of `tiny_models` in its other shapes: an ONNX graph, and GGUF for llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from farlane.testing.tiny_models import WIDTH, WORDS, bert_weights, write_sentence_model

HEADS, INNER, PLACES, EPSILON = 4, 64, 64, 1e-12


def write_onnx_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write the encoder of the same seed as model.onnx with tokenizer.json and modules.json.

    Args:
        folder: made if it is not there.
        seed: of `write_sentence_model`.

    Returns:
        The folder.
    """
    import onnx
    from onnx import TensorProto, helper

    write_sentence_model(folder, seed=seed)
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": PLACES}), encoding="utf-8"
    )
    graph = _Graph(bert_weights(np.random.default_rng(seed), 1))
    ids = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph.add_bert()
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    made = helper.make_graph(graph.nodes, "bert", ids, [out], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


class _Graph:
    """Nodes of a graph as they are added; weights are constants by their names."""

    def __init__(self, weights: dict[str, Any]) -> None:
        from onnx import numpy_helper

        self.nodes: list[Any] = []
        self.constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
        self._numpy = numpy_helper

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(self._numpy.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = to or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def dense(self, states: str, name: str) -> str:
        turned = self.node("Transpose", f"{name}.weight", perm=[1, 0])
        return self.node("Add", self.node("MatMul", states, turned), f"{name}.bias")

    def norm(self, states: str, name: str, to: str = "") -> str:
        return self.node(
            "LayerNormalization", states, f"{name}.weight", f"{name}.bias", to=to, axis=-1, epsilon=EPSILON
        )

    def add_bert(self) -> None:
        """Add one layer between embeddings and `last_hidden_state`."""
        layer = "encoder.layer.0"
        states = self.norm(self._embedded(), "embeddings.LayerNorm")
        mixed = self.dense(
            self._attended(states, f"{layer}.attention.self"), f"{layer}.attention.output.dense"
        )
        states = self.norm(self.node("Add", mixed, states), f"{layer}.attention.output.LayerNorm")
        inner = self.dense(states, f"{layer}.intermediate.dense")
        root = self.node("Div", inner, self.constant("root2", np.float32(np.sqrt(2))))
        share = self.node("Add", self.node("Erf", root), self.constant("one", np.float32(1)))
        gelu = self.node("Mul", self.node("Mul", inner, share), self.constant("half", np.float32(0.5)))
        outer = self.dense(gelu, f"{layer}.output.dense")
        self.norm(self.node("Add", outer, states), f"{layer}.output.LayerNorm", to="last_hidden_state")

    def _embedded(self) -> str:
        words = self.node("Gather", "embeddings.word_embeddings.weight", "input_ids")
        axis = self.constant("second", np.array([1]))
        tokens = self.node(
            "Slice", self.node("Shape", "input_ids"), axis, self.constant("third", np.array([2]))
        )
        places = self.node(
            "Slice", "embeddings.position_embeddings.weight", self.constant("zero", np.array([0])), tokens
        )
        kind = self.node(
            "Gather", "embeddings.token_type_embeddings.weight", self.constant("kind", np.int64(0))
        )
        return self.node("Add", self.node("Add", words, places), kind)

    def _attended(self, states: str, name: str) -> str:
        split = self.constant("split", np.array([0, 0, HEADS, WIDTH // HEADS]))
        parts = {
            part: self.node("Reshape", self.dense(states, f"{name}.{part}"), split)
            for part in ("query", "key", "value")
        }
        query, value = (self.node("Transpose", parts[part], perm=[0, 2, 1, 3]) for part in ("query", "value"))
        scores = self.node("MatMul", query, self.node("Transpose", parts["key"], perm=[0, 2, 3, 1]))
        scores = self.node("Div", scores, self.constant("scale", np.float32(np.sqrt(WIDTH // HEADS))))
        weights = self.node("Softmax", self.node("Add", scores, self._mask()), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.node("Reshape", mixed, self.constant("join", np.array([0, 0, WIDTH])))

    def _mask(self) -> str:
        """Return -1e9 for padding: (batch, 1, 1, tokens)."""
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT))
        padding = self.node("Sub", self.constant("ones", np.float32(1)), "mask")
        far = self.node("Mul", padding, self.constant("far", np.float32(-1e9)))
        return self.node("Unsqueeze", far, self.constant("axes", np.array([1, 2])))


def write_gguf_encoder(folder: Path, *, seed: int = 0) -> Path:
    """Write the encoder of the same seed as model.gguf, architecture `bert`.

    Args:
        folder: made if it is not there.
        seed: of `write_sentence_model`.

    Returns:
        The folder.
    """
    import gguf

    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / "model.gguf", "bert")
    writer.add_context_length(PLACES)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_words(writer)
    for name, array in bert_weights(np.random.default_rng(seed), 1).items():
        writer.add_tensor(_gguf_name(name), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _add_words(writer: Any) -> None:
    """Add the vocabulary as llama.cpp has that of BERT: words begin with a mark."""
    import gguf

    special = [word.startswith("[") for word in WORDS]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(
        [
            word if known else f"\N{LOWER ONE EIGHTH BLOCK}{word}"
            for word, known in zip(WORDS, special, strict=True)
        ]
    )
    writer.add_token_types([gguf.TokenType.CONTROL if known else gguf.TokenType.NORMAL for known in special])
    writer.add_token_type_count(2)
    for add, word in (
        (writer.add_pad_token_id, "[PAD]"), (writer.add_unk_token_id, "[UNK]"), (writer.add_bos_token_id, "[CLS]"),
        (writer.add_sep_token_id, "[SEP]"), (writer.add_eos_token_id, "[SEP]"),
    ):  # fmt: skip
        add(WORDS.index(word))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


_GGUF = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}  # fmt: skip


def _gguf_name(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    part = stem.removeprefix("encoder.layer.0.")
    return f"{'' if part == stem else 'blk.0.'}{_GGUF[part]}.{kind}"
