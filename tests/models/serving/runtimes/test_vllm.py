"""The vLLM runtime on a tiny random model and a real vLLM; skipped where that is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is missing: `pip install vllm` on a machine with a GPU")

from farlane.domain.inference import FinishReason, GeneratePiece, GenerateRequest, Message, Sampling
from farlane.errors import InvalidInput
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import Runtime, RuntimeOptions, open_runtime
from farlane.testing.tiny_transformers import CONTEXT, write_language_model

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
LIKELIEST = Sampling(max_tokens=12, temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model"), width=256)


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[Runtime]:
    opened = open_runtime(folder, RuntimeOptions(streams=4), "vllm")
    yield opened
    opened.close()


def written(runtime: Runtime, prompt: str = "hello", sampling: Sampling = LIKELIEST) -> list[GeneratePiece]:
    return list(runtime.generate(GenerateRequest(prompt=prompt, sampling=sampling), lambda: False))


def test_it_describes_itself_streams_and_counts(runtime: Runtime) -> None:
    assert runtime.describe().context_tokens == CONTEXT
    *texts, last = written(runtime)
    assert len(texts) > 1
    assert (last.finish, last.prompt_tokens, last.completion_tokens) == (FinishReason.LENGTH, 5, 12)


def test_an_answer_without_a_length_goes_to_the_end_of_the_context(runtime: Runtime) -> None:
    last = written(runtime, sampling=Sampling(max_tokens=4096, temperature=0.0))[-1]
    assert last.completion_tokens <= CONTEXT - 5


def test_a_chat_is_counted_by_the_models_own_template(runtime: Runtime) -> None:
    asked = GenerateRequest(messages=(Message("user", "hi"),), sampling=LIKELIEST)
    assert list(runtime.generate(asked, lambda: False))[-1].prompt_tokens == len("user: hi\n")


def test_a_prompt_that_does_not_fit_is_refused_and_a_cancelled_answer_ends(runtime: Runtime) -> None:
    with pytest.raises(InvalidInput, match="the prompt has"):
        written(runtime, "x" * (CONTEXT + 1))
    assert list(runtime.generate(GenerateRequest(prompt="a"), lambda: True)) == []
    assert written(runtime)[-1].completion_tokens == 12


async def test_it_streams_out_of_a_replica(folder: Path, runtime: Runtime, tmp_path: Path) -> None:
    runtime.close()  # two would not fit into the memory of one GPU
    spec = ReplicaSpec(folder=folder, runtime="vllm")
    async with ReplicaProcess.start(spec, tmp_path / "work", start_timeout_s=600) as replica:
        asked = GenerateRequest(prompt="hello", sampling=LIKELIEST)
        pieces = [piece async for piece in replica.ask(asked, 60)]
    assert isinstance(pieces[-1], GeneratePiece)
    assert pieces[-1].completion_tokens == 12
