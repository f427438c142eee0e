"""A tiny model of the DeepSeek architecture with random weights: latent attention and routed experts, as GGUF.

It writes nonsense; what it proves is that the family's tensors and metadata load and stream.
Source: DeepSeek-AI, "DeepSeek-V2" (2024), sections 2.1 and 2.2; names as llama.cpp's architecture `deepseek2` has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, HEADS, LAYERS, DENSE_LAYERS = 64, 4, 3, 1
QUERY_RANK, KEY_RANK = 32, 32
PLAIN, ROTARY, VALUE = 16, 16, 16
"""Sizes of one head: the key's part without place, its part with, and the value."""
EXPERTS, USED_EXPERTS, EXPERT_INNER, DENSE_INNER = 4, 2, 32, 96
CONTEXT = 256


def write_deepseek_model(folder: Path, *, seed: int = 0, context_tokens: int = CONTEXT) -> Path:
    """Write model.gguf, about half a megabyte, for the `gguf` runtime.

    Args:
        folder: made if it is not there.
        seed: another one is another version of the same model.
        context_tokens: longest prompt and answer; at temperature 0 an answer never ends before that.

    Returns:
        The folder.
    """
    import gguf

    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / "model.gguf", "deepseek2")
    _add_metadata(writer, context_tokens)
    words = _add_vocabulary(writer)
    rng = np.random.default_rng(seed)
    for name, shape in _shapes(words).items():
        if name.endswith(("norm.weight",)):
            writer.add_tensor(name, np.ones(shape, np.float32))
        elif name.endswith((".bias", "ffn_gate_inp.weight")):
            writer.add_tensor(name, rng.standard_normal(shape).astype(np.float32))
        else:
            array = (rng.standard_normal(shape) * 0.2).astype(np.float16)
            if name == "output.weight":
                array[-1] = 0  # the end is never the likeliest token
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def _add_metadata(writer: Any, context_tokens: int) -> None:
    import gguf

    writer.add_context_length(context_tokens)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_leading_dense_block_count(DENSE_LAYERS)
    writer.add_feed_forward_length(DENSE_INNER)
    writer.add_expert_feed_forward_length(EXPERT_INNER)
    writer.add_expert_count(EXPERTS)
    writer.add_expert_used_count(USED_EXPERTS)
    writer.add_expert_shared_count(1)
    writer.add_expert_weights_scale(1.0)
    writer.add_expert_weights_norm(True)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(QUERY_RANK)
    writer.add_kv_lora_rank(KEY_RANK)
    writer.add_key_length(KEY_RANK + ROTARY)
    writer.add_value_length(KEY_RANK)
    writer.add_key_length_mla(PLAIN + ROTARY)
    writer.add_value_length_mla(VALUE)
    writer.add_rope_dimension_count(ROTARY)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_vocabulary(writer: Any) -> int:
    """Add the 256 byte tokens of GPT-2's alphabet and an end; return how many there are."""
    import gguf
    from tokenizers import pre_tokenizers

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th", "<|end|>"]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - 1) + [gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    writer.add_vocab_size(len(tokens))
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    return len(tokens)


def _shapes(words: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (words, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (words, WIDTH),
    }
    for layer in range(LAYERS):
        parts = _attention_shapes() | (_dense_shapes() if layer < DENSE_LAYERS else _expert_shapes())
        shapes |= {f"blk.{layer}.{part}": shape for part, shape in parts.items()}
    return shapes


def _attention_shapes() -> dict[str, tuple[int, ...]]:
    return {
        "attn_norm.weight": (WIDTH,),
        "attn_q_a.weight": (QUERY_RANK, WIDTH),
        "attn_q_a_norm.weight": (QUERY_RANK,),
        "attn_q_b.weight": (HEADS * (PLAIN + ROTARY), QUERY_RANK),
        "attn_kv_a_mqa.weight": (KEY_RANK + ROTARY, WIDTH),
        "attn_kv_a_norm.weight": (KEY_RANK,),
        "attn_k_b.weight": (HEADS, KEY_RANK, PLAIN),
        "attn_v_b.weight": (HEADS, VALUE, KEY_RANK),
        "attn_output.weight": (WIDTH, HEADS * VALUE),
        "ffn_norm.weight": (WIDTH,),
    }


def _dense_shapes() -> dict[str, tuple[int, ...]]:
    inner = DENSE_INNER
    return {
        "ffn_gate.weight": (inner, WIDTH),
        "ffn_up.weight": (inner, WIDTH),
        "ffn_down.weight": (WIDTH, inner),
    }


def _expert_shapes() -> dict[str, tuple[int, ...]]:
    inner = EXPERT_INNER
    return {
        "ffn_gate_inp.weight": (EXPERTS, WIDTH),
        "exp_probs_b.bias": (EXPERTS,),
        "ffn_gate_exps.weight": (EXPERTS, inner, WIDTH),
        "ffn_up_exps.weight": (EXPERTS, inner, WIDTH),
        "ffn_down_exps.weight": (EXPERTS, WIDTH, inner),
        "ffn_gate_shexp.weight": (inner, WIDTH),
        "ffn_up_shexp.weight": (inner, WIDTH),
        "ffn_down_shexp.weight": (WIDTH, inner),
    }
