"""Tiny language models in Hugging Face's layout with random weights, made by the transformers library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

END = "<|end|>"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
CONTEXT = 64


def write_language_model(
    folder: Path, architecture: str = "llama", *, seed: int = 0, template: str = TEMPLATE, width: int = 32
) -> Path:
    """Write config.json, tokenizer.json and model.safetensors for the runtimes `transformers` and `vllm`.

    Args:
        folder: made if it is not there.
        architecture: llama or gpt2.
        seed: another one is another version of the same model.
        template: of chats; empty for none.
        width: of a llama's token vectors, for its 4 heads: kernels of GPUs want 32 or 64 for each.

    Returns:
        The folder.
    """
    import torch
    import transformers

    torch.manual_seed(seed)
    words = _tokenizer(folder, template)
    config: Any
    if architecture == "llama":
        config = transformers.LlamaConfig(
            hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=words,
            max_position_embeddings=CONTEXT, bos_token_id=None, eos_token_id=words - 1,
        )  # fmt: skip
    else:
        config = transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, vocab_size=words,
            bos_token_id=None, eos_token_id=words - 1,
        )  # fmt: skip
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(str(folder))
    return folder


def _tokenizer(folder: Path, template: str) -> int:
    """Write the 256 bytes of GPT-2's alphabet and an end; return how many tokens there are."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)
    if template:
        fast.chat_template = template
    fast.save_pretrained(str(folder))
    return made.get_vocab_size()
