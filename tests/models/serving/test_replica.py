"""The replica process: it loads, answers, streams, counts, drains, dies with a word, and outlives nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file, save_file

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    GenerateRequest,
    InferenceKind,
    InferenceReply,
    InferenceRequest,
    Tensor,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import (
    ConnectionLost,
    Corrupted,
    DeadlineExceeded,
    Exhausted,
    InvalidInput,
    TooLarge,
    Unavailable,
)
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.testing.tiny_models import write_onnx_model, write_sentence_model
from farlane.testing.waiting import until


def spec_of(folder: Path, **limits: float) -> ReplicaSpec:
    return ReplicaSpec(folder=folder, limits=ServingLimits(**limits))  # type: ignore[arg-type]


async def answer(
    replica: ReplicaProcess, request: InferenceRequest, deadline_s: float = 60
) -> InferenceReply:
    async with contextlib.aclosing(replica.ask(request, deadline_s)) as replies:
        [reply] = [reply async for reply in replies]
    return reply


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[ReplicaProcess]:
    folder = write_sentence_model(tmp_path / "model")
    async with ReplicaProcess.start(spec_of(folder), tmp_path / "work") as started:
        yield started


async def test_it_embeds_what_the_model_embeds(replica: ReplicaProcess) -> None:
    described = await replica.describe()
    assert described == replica.description
    assert described.kinds == (InferenceKind.EMBEDDING,)
    reply = await answer(replica, EmbedRequest(("the cat sat", "a red road", "the cat sat")))
    assert isinstance(reply, EmbedReply)
    vectors = np.frombuffer(reply.vectors, "<f4").reshape(3, described.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[2], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[1], atol=0.02)
    assert reply.text_tokens == (5, 5, 5)


async def test_many_requests_share_one_connection_and_batches(replica: ReplicaProcess) -> None:
    texts = [f"{'the ' * (index % 7)}cat" for index in range(40)]
    replies = await asyncio.gather(*(answer(replica, EmbedRequest((text,))) for text in texts))
    alone = await answer(replica, EmbedRequest((texts[33],)))
    assert isinstance(alone, EmbedReply)
    together = replies[33]
    assert isinstance(together, EmbedReply)
    expected = np.frombuffer(alone.vectors, "<f4")
    assert np.allclose(np.frombuffer(together.vectors, "<f4"), expected, atol=1e-5)
    assert together.prompt_tokens == alone.prompt_tokens == 33 % 7 + 3
    counted = await replica.statistics()
    assert counted.answered == 41
    assert counted.batched_requests == 41
    assert counted.queued == counted.running == 0
    assert sum(counted.latency_counts) == 41


async def test_what_the_model_cannot_do_is_said(replica: ReplicaProcess) -> None:
    with pytest.raises(InvalidInput, match=r"cannot be asked for generation.*answers embeddings"):
        await answer(replica, GenerateRequest(prompt="once"))
    with pytest.raises(InvalidInput, match="vectors have 32"):
        await answer(replica, EmbedRequest(("cat",), dimensions=33))
    with pytest.raises(InvalidInput, match="no text to embed"):
        await answer(replica, EmbedRequest(()))
    assert await replica.ready()


async def test_limits_hold(tmp_path: Path) -> None:
    folder = write_sentence_model(tmp_path / "model")
    async with ReplicaProcess.start(
        spec_of(folder, max_input_bytes=10, max_texts=2), tmp_path / "work"
    ) as replica:
        with pytest.raises(TooLarge, match="11 bytes of input; this model takes at most 10"):
            await answer(replica, EmbedRequest(("12345678901",)))
        with pytest.raises(TooLarge, match="3 texts"):
            await answer(replica, EmbedRequest(("1", "2", "3")))
        with pytest.raises(DeadlineExceeded):
            await answer(replica, EmbedRequest(("cat",)), deadline_s=0)
        assert (await replica.statistics()).refused == 2


async def test_a_drained_replica_refuses_and_ends(replica: ReplicaProcess) -> None:
    await replica.drain(deadline_s=30)
    assert not await replica.ready()
    with pytest.raises(Unavailable, match="drained"):
        await answer(replica, EmbedRequest(("cat",)))


async def test_a_killed_replica_fails_its_requests_with_a_word(replica: ReplicaProcess) -> None:
    psutil.Process(replica.pid).suspend()
    asking = [asyncio.create_task(answer(replica, EmbedRequest(("cat",)))) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(replica.pid, signal.SIGKILL)
    for task in asking:
        with pytest.raises(ConnectionLost, match="signal 9"):
            await task
    assert "signal 9" in (await replica.ended()).message
    with pytest.raises(ConnectionLost, match="ask another replica"):
        await answer(replica, EmbedRequest(("cat",)))


async def test_an_onnx_model_batches_along_its_first_axis(tmp_path: Path) -> None:
    folder = write_onnx_model(tmp_path / "model", factor=3)
    async with ReplicaProcess.start(spec_of(folder, max_delay_s=0.05), tmp_path / "work") as replica:

        async def tripled(rows: int, value: float) -> TensorsReply:
            data = np.full((rows, 3), value, "<f4").tobytes()
            reply = await answer(replica, TensorsRequest((Tensor("x", Datatype.FP32, (rows, 3), data),)))
            assert isinstance(reply, TensorsReply)
            return reply

        replies = await asyncio.gather(*(tripled(1 + index % 3, index) for index in range(12)))
        for index, reply in enumerate(replies):
            [output] = reply.outputs
            assert output.shape == (1 + index % 3, 3)
            assert set(np.frombuffer(output.data, "<f4")) == {3.0 * index}
        counted = await replica.statistics()
        assert counted.batched_requests == 12
        assert counted.batches < 12
        bad = Tensor("x", Datatype.FP32, (1, 4), bytes(16))
        with pytest.raises(InvalidInput, match=r"shape \[1, 4\]; the model takes \[-1, 3\]"):
            await answer(replica, TensorsRequest((bad,)))


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [("model.safetensors", 100, "not a safetensors file"), ("tokenizer.json", 50, "no tokenizer")],
)
async def test_a_truncated_model_says_so(tmp_path: Path, name: str, keep: int, message: str) -> None:
    folder = write_sentence_model(tmp_path / "model")
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    with pytest.raises(Corrupted, match=message):
        async with ReplicaProcess.start(spec_of(folder), tmp_path / "work"):
            pass


async def test_a_model_that_needs_more_memory_than_it_may_have_is_refused(tmp_path: Path) -> None:
    folder = write_sentence_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] = np.zeros((1 << 20, 32), np.float32)
    save_file(weights, folder / "model.safetensors")
    spec = ReplicaSpec(folder=folder, memory_bytes=128 << 20)
    # Libraries take it differently: an error, an exit, or a wait that the time limit ends.
    with pytest.raises((Exhausted, Unavailable), match=r"memory|before it had answered"):
        async with ReplicaProcess.start(spec, tmp_path / "work", start_timeout_s=15):
            pass


async def test_files_of_no_runtime_say_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InvalidInput, match="convert them to safetensors"):
        async with ReplicaProcess.start(spec_of(tmp_path / "model"), tmp_path / "work"):
            pass


async def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    folder = write_sentence_model(tmp_path / "model")
    async with ReplicaProcess.start(spec_of(folder), tmp_path / ("deep" * 30)) as replica:
        assert await replica.ready()


PARENT = """
import asyncio, sys
from pathlib import Path
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
async def main():
    async with ReplicaProcess.start(ReplicaSpec(folder=Path(sys.argv[1])), Path(sys.argv[2])) as replica:
        print(replica.pid, flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""


async def test_it_dies_with_whoever_started_it(tmp_path: Path) -> None:
    folder = write_sentence_model(tmp_path / "model")
    command = [sys.executable, "-c", PARENT, str(folder), str(tmp_path / "work")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert psutil.pid_exists(pid)
    finally:
        parent.kill()
        parent.communicate()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
