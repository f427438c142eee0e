"""The transformers runtime on tiny random models; skipped where transformers and torch are not installed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip(
    "transformers", reason="transformers and torch are missing: `pip install transformers torch`"
)
pytest.importorskip("torch", reason="torch is missing: `pip install torch`")

from farlane.domain.inference import (
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    Message,
    Sampling,
)
from farlane.errors import InvalidInput
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import Runtime, RuntimeOptions, open_runtime
from farlane.testing.tiny_transformers import CONTEXT, write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["llama", "gpt2"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    folder = write_language_model(tmp_path, request.param)
    opened = open_runtime(folder, RuntimeOptions(threads=1), "transformers")
    yield opened
    opened.close()


def written(runtime: Runtime, prompt: str = "hello", **sampling: object) -> tuple[str, GeneratePiece]:
    """Return a whole answer and its last piece."""
    asked = GenerateRequest(prompt=prompt, sampling=Sampling(**({"max_tokens": 12} | sampling)))  # type: ignore[arg-type]
    pieces = list(runtime.generate(asked, lambda: False))
    return "".join(piece.text for piece in pieces), pieces[-1]


def test_it_describes_itself_and_counts(runtime: Runtime) -> None:
    assert runtime.describe().kinds == (InferenceKind.GENERATION,)
    assert runtime.describe().context_tokens == CONTEXT
    last = written(runtime, temperature=0.0)[1]
    assert (last.finish, last.prompt_tokens, last.completion_tokens) == (FinishReason.LENGTH, 5, 12)


def test_a_seed_gives_the_same_answer_whoever_else_is_answered(runtime: Runtime) -> None:
    alone = written(runtime, seed=7)[0]
    others = [threading.Thread(target=written, args=(runtime,), kwargs={"seed": seed}) for seed in range(3)]
    for other in others:
        other.start()
    assert written(runtime, seed=7)[0] == alone
    for other in others:
        other.join()
    assert written(runtime, seed=8)[0] != alone


def test_penalties_and_top_p_change_what_is_drawn(runtime: Runtime) -> None:
    plain = written(runtime, temperature=0.0)[0]
    assert written(runtime, temperature=1.0, top_p=1e-6)[0] == plain
    varied = written(runtime, temperature=0.0, frequency_penalty=2.0, presence_penalty=2.0)[0]
    assert len(set(varied)) >= len(set(plain))


def test_a_stop_sequence_ends_an_answer_and_is_not_in_it(runtime: Runtime) -> None:
    whole = written(runtime, seed=3, max_tokens=40)[0]
    stop = whole[4:6]
    cut, last = written(runtime, seed=3, max_tokens=40, stop=(stop,))
    assert cut == whole[: whole.index(stop)]
    assert last.finish is FinishReason.STOP


def test_a_chat_goes_through_the_models_own_template(runtime: Runtime, tmp_path: Path) -> None:
    asked = GenerateRequest(messages=(Message("user", "hi"),), sampling=Sampling(max_tokens=2))
    assert list(runtime.generate(asked, lambda: False))[-1].prompt_tokens == len("user: hi\n")
    plain = open_runtime(
        write_language_model(tmp_path / "plain", template=""), RuntimeOptions(), "transformers"
    )
    with pytest.raises(InvalidInput, match="no chat template"):
        list(plain.generate(asked, lambda: False))


def test_a_prompt_that_does_not_fit_is_refused_and_a_cancelled_answer_ends(runtime: Runtime) -> None:
    for prompt in ("x" * (CONTEXT + 1), ""):
        with pytest.raises(InvalidInput, match="the prompt has"):
            written(runtime, prompt)
    pieces = runtime.generate(GenerateRequest(prompt="a"), lambda: True)
    assert list(pieces) == []
    left = runtime.generate(GenerateRequest(prompt="a", sampling=Sampling(seed=1)), lambda: False)
    next(iter(left))
    left.close()  # type: ignore[attr-defined]
    assert written(runtime)[1].completion_tokens == 12


async def test_it_streams_out_of_a_replica(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model")
    async with ReplicaProcess.start(
        ReplicaSpec(folder=folder, runtime="transformers"), tmp_path / "work"
    ) as replica:
        asked = GenerateRequest(prompt="hello", sampling=Sampling(max_tokens=12, temperature=0.0))
        pieces = [piece async for piece in replica.ask(asked, 60)]
    assert isinstance(pieces[-1], GeneratePiece)
    assert pieces[-1].completion_tokens == 12
