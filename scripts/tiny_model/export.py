"""Writes the trained model as GGUF (what llama.cpp reads) and in Hugging Face's layout (safetensors)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_model.text import CHAT_TEMPLATE, END, SPECIAL, START

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from tiny_model.llama import Shape

    Arrays = dict[str, NDArray[np.float32]]

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Source: the tensor names of llama.cpp's architecture `llama`."""


def gguf_tensor(name: str, array: NDArray[np.float32], shape: Shape) -> tuple[str, NDArray[np.float32]]:
    """Return a weight as llama.cpp wants it: its name, and the rotary halves of q and k interleaved."""
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[
            name
        ], array
    _, _, layer, *rest, _ = name.split(".")
    part = ".".join(rest)
    if part in {"self_attn.q_proj", "self_attn.k_proj"}:
        halves = array.reshape(shape.heads, 2, -1, shape.width)
        array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
    return f"blk.{layer}.{GGUF_NAMES[part]}.weight", array


def write_gguf(
    path: Path, weights: Arrays, tokenizer: Tokenizer, shape: Shape, *, quantised: bool = False
) -> None:
    """Write the model with its vocabulary and chat template; float16, or q8_0 where `quantised`."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("farlane tiny novelist")
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.MOSTLY_F16)
    _add_vocabulary(writer, tokenizer)
    for name, array in weights.items():
        target, values = gguf_tensor(name, array, shape)
        if values.ndim == 1:
            writer.add_tensor(target, values.astype(np.float32))
        elif quantised:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(target, values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, tokenizer: Tokenizer) -> None:
    import gguf

    tokens = [tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())]
    kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.token_to_id(START))
    writer.add_eos_token_id(tokenizer.token_to_id(END))
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_patch(path: Path, old: Path, new: Path) -> None:
    """Write where two files of one size differ: offset and length, 8 bytes little-endian each, then the new bytes.

    Ranges that lie closer together than a tensor's alignment are one.
    """
    before, after = (np.frombuffer(file.read_bytes(), np.uint8) for file in (old, new))
    changed = np.flatnonzero(before != after)
    cuts = np.flatnonzero(np.diff(changed) > 32) + 1
    ranges = [(int(part[0]), int(part[-1]) + 1) for part in np.split(changed, cuts) if len(part)]
    parts = [struct.pack("<QQ", start, end - start) + after[start:end].tobytes() for start, end in ranges]
    path.write_bytes(b"".join(parts))


def write_hugging_face(folder: Path, weights: Arrays, tokenizer: Tokenizer, shape: Shape) -> None:
    """Write model.safetensors (float16), config.json, tokenizer.json and tokenizer_config.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    halves = {name: array.astype(np.float16) for name, array in weights.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_base,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.token_to_id(START),
        "eos_token_id": tokenizer.token_to_id(END),
        "torch_dtype": "float16",
    }
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": START, "eos_token": END}
    words["chat_template"] = CHAT_TEMPLATE
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(words, indent=2) + "\n", encoding="utf-8")
