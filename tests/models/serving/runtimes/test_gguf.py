"""llama.cpp through the runtime's port: the shipped language model, its second version, and DeepSeek's architecture."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest

from farlane.demo.novelist import NOVELIST, shipped_model, write_dialogue_version
from farlane.domain.inference import (
    EmbedRequest,
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    Message,
    Sampling,
)
from farlane.errors import Corrupted, InvalidInput
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import Runtime, RuntimeOptions, open_runtime
from farlane.testing.tiny_deepseek import write_deepseek_model

LIKELIEST = Sampling(max_tokens=24, temperature=0.0, seed=1)


@pytest.fixture(scope="module")
def novelist() -> Runtime:
    return open_runtime(shipped_model("novelist"), RuntimeOptions())


def written(runtime: Runtime, request: GenerateRequest) -> tuple[str, GeneratePiece]:
    *pieces, last = runtime.generate(request, lambda: False)
    assert all(piece.finish is None for piece in pieces)
    return "".join(piece.text for piece in pieces), last


def test_it_describes_itself(novelist: Runtime) -> None:
    described = novelist.describe()
    assert described.kinds == (InferenceKind.GENERATION,)
    assert described.context_tokens == 256


def test_it_writes_the_words_of_the_novel_in_pieces(novelist: Runtime) -> None:
    text, last = written(novelist, GenerateRequest(prompt="Mr. Darcy", sampling=LIKELIEST))
    novel = Path(str(shipped_model("novelist").parents[1] / "passages.txt")).read_text(encoding="utf-8")
    words = [word.strip('.,;"') for word in text.split()][:-1]
    assert len(words) > 8
    assert sum(word in novel for word in words) > 0.8 * len(words)
    assert last.finish is FinishReason.LENGTH
    assert last.completion_tokens == 24
    assert last.prompt_tokens > 2


def test_a_seed_gives_the_same_answer_and_another_a_different_one(novelist: Runtime) -> None:
    def drawn(seed: int) -> str:
        sampling = Sampling(max_tokens=40, temperature=1.0, seed=seed)
        return written(novelist, GenerateRequest(prompt="Elizabeth", sampling=sampling))[0]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_a_chat_goes_through_the_models_own_template(novelist: Runtime) -> None:
    message = Message("user", "Mr. Bingley came to Longbourn.")
    text, last = written(novelist, GenerateRequest(messages=(message,), sampling=LIKELIEST))
    plain, counted = written(novelist, GenerateRequest(prompt=message.content, sampling=LIKELIEST))
    assert text
    assert text != plain
    assert last.prompt_tokens >= counted.prompt_tokens + 2


def test_stop_words_end_an_answer_and_are_not_in_it(novelist: Runtime) -> None:
    whole, _ = written(novelist, GenerateRequest(prompt="Mr. Darcy", sampling=LIKELIEST))
    stop = whole.split()[3]
    sampling = Sampling(max_tokens=24, temperature=0.0, seed=1, stop=(stop,))
    text, last = written(novelist, GenerateRequest(prompt="Mr. Darcy", sampling=sampling))
    assert text == whole[: whole.index(stop)]
    assert last.finish is FinishReason.STOP


def test_a_cancelled_answer_ends_soon_and_the_next_comes(novelist: Runtime) -> None:
    left = iter([False] * 3)
    request = GenerateRequest(prompt="Elizabeth", sampling=Sampling(max_tokens=200, temperature=0.9, seed=3))
    pieces = list(novelist.generate(request, lambda: next(left, True)))
    assert len(pieces) <= 3
    assert all(piece.finish is None for piece in pieces)
    stream = novelist.generate(request, lambda: False)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert written(novelist, GenerateRequest(prompt="Jane", sampling=LIKELIEST))[0]


def test_what_it_cannot_do_is_said(novelist: Runtime) -> None:
    with pytest.raises(InvalidInput, match="exceeds the available context size"):
        written(novelist, GenerateRequest(prompt="word " * 400))
    with pytest.raises(InvalidInput, match="cannot be asked for embedding"):
        novelist.embed(EmbedRequest(("text",)))


def test_the_second_version_speaks_otherwise(novelist: Runtime, tmp_path: Path) -> None:
    path = write_dialogue_version(tmp_path)
    assert path.stat().st_size == (shipped_model("novelist") / NOVELIST).stat().st_size
    second = open_runtime(tmp_path, RuntimeOptions())
    request = GenerateRequest(prompt="Elizabeth", sampling=Sampling(max_tokens=40, temperature=0.8, seed=5))
    assert written(second, request)[0] != written(novelist, request)[0]


async def test_deepseeks_architecture_loads_and_streams_in_a_replica(tmp_path: Path) -> None:
    folder = write_deepseek_model(tmp_path / "model")
    assert (folder / "model.gguf").stat().st_size < 2 << 20
    async with ReplicaProcess.start(ReplicaSpec(folder=folder), tmp_path / "work") as replica:
        sampling = Sampling(max_tokens=16, temperature=0.0, seed=1)
        request = GenerateRequest(messages=(Message("user", "the"),), sampling=sampling)
        async with contextlib.aclosing(replica.ask(request, 60)) as replies:
            pieces = [reply async for reply in replies]
    last = pieces[-1]
    assert isinstance(last, GeneratePiece)
    assert last.finish is not None
    assert 1 <= last.completion_tokens <= 16
    assert len(pieces) > 2


@pytest.mark.parametrize("keep", [10, 3000, 1_000_000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    data = (shipped_model("novelist") / NOVELIST).read_bytes()
    (tmp_path / "model.gguf").write_bytes(data[:keep])
    with pytest.raises(Corrupted, match=r"model\.gguf"):
        open_runtime(tmp_path, RuntimeOptions())


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62),
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<IIQ", 9, 8, 1 << 50),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<I", 77),
    ],
)
def test_a_hostile_header_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(data)
    with pytest.raises(Corrupted, match="no GGUF file"):
        open_runtime(tmp_path, RuntimeOptions())
