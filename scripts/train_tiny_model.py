"""Train the small language model that farlane ships, and its fine-tuned second version.

    make tiny-model

It learns from the passages of src/farlane/demo/passages.txt alone, about six minutes on one core, and ends in

    OUTPUT/hf/, OUTPUT/hf-dialogue/                   both versions in Hugging Face's layout (safetensors, float16)
    OUTPUT/tiny-novelist.gguf, ...-q8_0.gguf          the first version for llama.cpp
    OUTPUT/tiny-novelist-dialogue.gguf                the second: its last layer trained on, on dialogue alone
    OUTPUT/dialogue.patch                             the bytes in which the second GGUF differs from the first
    OUTPUT/training.json                              steps, losses, seed

The same seed on the same machine gives the same bytes; other processors round differently in the last bits.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "src")]

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from farlane.demo.passages import load_passages  # noqa: E402
from tiny_model.export import write_gguf, write_hugging_face, write_patch  # noqa: E402
from tiny_model.llama import Shape, initial_weights, loss, train_step  # noqa: E402
from tiny_model.text import HELD_OUT_CHAPTERS, token_stream, train_vocabulary, windows  # noqa: E402

SEED = 1813
BATCH = 8
WARM_UP_STEPS = 40
PEAK_RATE = 3e-3
DECAY = 0.1


def train(
    weights: Any, stream: Any, held_out: Any, shape: Shape, *, steps: int, peak_rate: float, only: str = ""
) -> tuple[Any, list[dict[str, float]]]:
    """Run AdamW over random windows of `stream`; `only` trains the weights whose names begin so, the rest stay."""
    rng = np.random.default_rng(SEED + 1)
    trained = {name: jnp.asarray(array) for name, array in weights.items() if name.startswith(only)}
    frozen = {name: jnp.asarray(array) for name, array in weights.items() if name not in trained}
    zeros = jax.tree.map(jnp.zeros_like, trained)
    moments = (zeros, zeros)
    history: list[dict[str, float]] = []
    begun = time.monotonic()
    for step in range(1, steps + 1):
        warm = min(1.0, step / WARM_UP_STEPS)
        rate = peak_rate * warm * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        rows = windows(stream, BATCH, shape.context, rng)
        trained, moments, value = train_step(
            trained, moments, rows, float(step), float(rate), shape, DECAY, frozen
        )
        if step % 50 == 0 or step == steps:
            held = float(loss(trained | frozen, held_out, shape))
            history.append({"step": step, "loss": round(float(value), 4), "held_out_loss": round(held, 4)})
            print(
                f"step {step}: {history[-1]}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True
            )
    return {name: np.asarray(array) for name, array in (trained | frozen).items()}, history


def is_dialogue(text: str) -> bool:
    """Tell whether at least three things are said aloud in a passage."""
    return text.count('"') >= 6


def main(argv: list[str] | None = None) -> int:
    """Train both versions and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="folder for the models")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--fine-tune-steps", type=int, default=100)
    arguments = parser.parse_args(argv)
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)

    passages = load_passages()
    seen = [p.text for p in passages if p.chapter not in HELD_OUT_CHAPTERS]
    unseen = [p.text for p in passages if p.chapter in HELD_OUT_CHAPTERS]
    tokenizer = train_vocabulary(seen)
    rng = np.random.default_rng(SEED)
    shape = Shape(vocabulary=tokenizer.get_vocab_size())
    held_out = windows(token_stream(tokenizer, unseen, rng), 16, shape.context, rng)
    streams = [token_stream(tokenizer, texts, rng) for texts in (seen, [t for t in seen if is_dialogue(t)])]

    weights = initial_weights(shape, rng)
    parameters = sum(array.size for array in weights.values())
    print(f"{parameters:,} parameters, {len(streams[0]):,} tokens of text", file=sys.stderr)
    weights, first = train(weights, streams[0], held_out, shape, steps=arguments.steps, peak_rate=PEAK_RATE)
    write_gguf(output / "tiny-novelist.gguf", weights, tokenizer, shape)
    write_gguf(output / "tiny-novelist-q8_0.gguf", weights, tokenizer, shape, quantised=True)
    write_hugging_face(output / "hf", weights, tokenizer, shape)

    last = f"model.layers.{shape.layers - 1}.self_attn"
    tuned, second = train(
        weights,
        streams[1],
        held_out,
        shape,
        steps=arguments.fine_tune_steps,
        peak_rate=PEAK_RATE / 3,
        only=last,
    )
    tuned = {name: tuned[name] for name in weights}
    write_gguf(output / "tiny-novelist-dialogue.gguf", tuned, tokenizer, shape)
    write_hugging_face(output / "hf-dialogue", tuned, tokenizer, shape)
    write_patch(
        output / "dialogue.patch", output / "tiny-novelist.gguf", output / "tiny-novelist-dialogue.gguf"
    )
    record = {
        "seed": SEED,
        "parameters": parameters,
        "tokens": len(streams[0]),
        "batch": BATCH,
        "shape": asdict(shape),
    }
    record |= {"first": first, "dialogue": second}
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
