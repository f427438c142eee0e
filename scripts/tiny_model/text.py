"""The training text of the shipped language model: passages of a novel, as tokens of a small vocabulary.

Text: "Pride and Prejudice" (1813, public domain), as src/farlane/demo/passages.txt holds it. The two last chapters
are kept back to measure the loss on text that was never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

VOCABULARY = 1024
START, USER, ASSISTANT, END = "<|start|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = (START, USER, ASSISTANT, END)
HELD_OUT_CHAPTERS = frozenset({60, 61})

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>{% else %}<|user|>"
    "{% endif %}{{ message['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat as the model was taught it: what the user says is how a passage begins, the answer goes on from there."""


def train_vocabulary(texts: list[str]) -> Tokenizer:
    """Learn a byte-level BPE vocabulary of 1024 tokens, the special ones first.

    Source: Sennrich, Haddow, Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def chat_of(passage: str) -> str | None:
    """Return a passage as a chat: its first sentence asked, the rest answered; None where it has one sentence."""
    cut = passage.find(". ", 30)
    if cut < 0 or cut > len(passage) - 80:
        return None
    return f"{USER}{passage[: cut + 1]}{END}{ASSISTANT}{passage[cut + 2 :]}{END}"


def token_stream(tokenizer: Tokenizer, passages: list[str], rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the passages as one row of token ids: runs of plain text and single chats, in mixed order.

    Returns:
        (tokens,) int32
    """
    runs = [" ".join(passages[start : start + 3]) + END for start in range(0, len(passages), 3)]
    chats = [chat for passage in passages if (chat := chat_of(passage)) is not None]
    texts = [START + text for text in runs + chats]
    rng.shuffle(texts)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    return np.concatenate([np.array(row, dtype=np.int32) for row in ids])


def windows(
    stream: NDArray[np.int32], count: int, length: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw `count` stretches: (count, length + 1) int32, the last column only ever being predicted."""
    starts = rng.integers(0, len(stream) - length - 1, size=count)
    return np.stack([stream[start : start + length + 1] for start in starts])
