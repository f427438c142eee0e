"""Streams of a replica under faults: clients that leave, a full queue, a kill in mid-stream, frames that are none."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from farlane.demo.novelist import shipped_model
from farlane.domain.inference import GeneratePiece, GenerateRequest, Sampling
from farlane.errors import ConnectionLost, Corrupted, Exhausted, TooLarge
from farlane.kit.clock import SystemClock
from farlane.models.serving import frames
from farlane.models.serving.host import ModelHost
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.replica_server import serve_connection
from farlane.models.serving.runtime import RuntimeOptions, open_runtime
from farlane.testing.tiny_deepseek import write_deepseek_model
from farlane.testing.tiny_models import write_sentence_model
from farlane.testing.waiting import until

LONG = GenerateRequest(prompt="the", sampling=Sampling(max_tokens=30_000, temperature=0.0))
"""Many seconds of an answer, for a model that never ends by itself."""
SHORT = GenerateRequest(prompt="the", sampling=Sampling(max_tokens=4, temperature=0.0))


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[ReplicaProcess]:
    """A model with one slot that can write for long."""
    folder = write_deepseek_model(tmp_path / "model", context_tokens=32_768)
    limits = ServingLimits(max_tokens=30_000)
    spec = ReplicaSpec(folder=folder, streams=1, context_tokens=32_768, limits=limits)
    async with ReplicaProcess.start(spec, tmp_path / "work") as started:
        yield started


async def finished(replica: ReplicaProcess, request: GenerateRequest) -> GeneratePiece:
    async with aclosing(replica.ask(request, 60)) as pieces:
        *_, last = [piece async for piece in pieces]
    assert isinstance(last, GeneratePiece)
    return last


async def test_a_client_that_leaves_frees_its_slot(replica: ReplicaProcess) -> None:
    for _ in range(5):
        async with aclosing(replica.ask(LONG, 60)) as pieces:
            await anext(pieces)
    assert (await finished(replica, SHORT)).completion_tokens == 4
    counted = await replica.statistics()
    assert counted.cancelled == 5
    assert counted.answered == 1


async def test_a_drain_lets_streams_end(replica: ReplicaProcess) -> None:
    request = replace(LONG, sampling=replace(LONG.sampling, max_tokens=500))
    async with aclosing(replica.ask(request, 60)) as pieces:
        await anext(pieces)
        draining = asyncio.create_task(replica.drain(60))
        rest = [piece async for piece in pieces]
    await draining
    assert isinstance(rest[-1], GeneratePiece)
    assert rest[-1].completion_tokens == 500


async def test_a_kill_in_mid_stream_is_an_error_and_no_silence(replica: ReplicaProcess) -> None:
    async with aclosing(replica.ask(LONG, 60)) as pieces:
        await anext(pieces)
        waiting = asyncio.create_task(finished(replica, SHORT))
        await asyncio.sleep(0)
        os.kill(replica.pid, signal.SIGKILL)
        with pytest.raises(ConnectionLost, match=r"signal 9.*ask another replica"):
            [_ async for _ in pieces]
    with pytest.raises(ConnectionLost):
        await waiting


class SlowWriter:
    """A model whose every piece waits until the test lets it go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self._model = open_runtime(shipped_model("novelist"), RuntimeOptions())
        self.describe, self.tensors, self.embed = self._model.describe, self._model.tensors, self._model.embed

    def generate(self, request, cancelled):  # type: ignore[no-untyped-def]
        for piece in self._model.generate(request, cancelled):
            while not self.free.wait(0.01):
                if cancelled():
                    return
            yield piece

    def close(self) -> None:
        self._model.close()


async def test_a_full_queue_refuses_and_the_rest_is_answered() -> None:
    writer = SlowWriter()
    async with ModelHost(writer, ServingLimits(queue=2), SystemClock(), streams=1) as host:

        async def ask() -> int:
            async with aclosing(host.answer(SHORT, 60)) as pieces:
                return len([piece async for piece in pieces])

        asking = [asyncio.create_task(ask()) for _ in range(3)]
        await until(lambda: host.statistics().running == 1 and host.statistics().queued == 2)
        with pytest.raises(Exhausted, match="2 requests wait"):
            await ask()
        assert host.statistics().refused == 1
        writer.free.set()
        assert all(await asyncio.gather(*asking))
        assert host.statistics().answered == 3


async def test_a_client_that_leaves_the_queue_is_never_run() -> None:
    writer = SlowWriter()
    async with ModelHost(writer, ServingLimits(), SystemClock(), streams=1) as host:

        async def ask() -> int:
            async with aclosing(host.answer(SHORT, 60)) as pieces:
                return len([piece async for piece in pieces])

        running, waiting = asyncio.create_task(ask()), asyncio.create_task(ask())
        await until(lambda: host.statistics().queued == 1)
        waiting.cancel()
        await until(lambda: host.statistics().queued == 0)
        running.cancel()
        await until(lambda: host.statistics().running == 0)
        assert host.statistics().cancelled == 2
        writer.free.set()
        assert await ask() > 1


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[Path]:
    """A replica's server in this process."""
    runtime = open_runtime(write_sentence_model(tmp_path / "model"), RuntimeOptions())
    path = tmp_path / "s"
    async with ModelHost(runtime, ServingLimits(), SystemClock()) as host:
        server = await asyncio.start_unix_server(lambda r, w: serve_connection(host, r, w), str(path))
        async with server:
            yield path


@pytest.mark.parametrize(
    "data",
    [
        (1 << 31).to_bytes(4, "big") + b"x",
        (3).to_bytes(4, "big") + b"abc",
        (2).to_bytes(4, "big") + b"\x91\x91",
        (200).to_bytes(4, "big") + b"\x91" * 200,
        (1000).to_bytes(4, "big") + b"cut short",
        b"\x00",
    ],
)
async def test_bytes_that_are_no_frame_end_their_connection_alone(socket: Path, data: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(frames.encode(frames.Health(7)))
    assert await frames.read(reader, frames.from_replica) == frames.Healthy(7, True)
    writer.close()


async def test_a_question_that_is_none_is_answered_with_an_error(socket: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(frames.encode(frames.Ask(1, 5.0)))
    failed = await frames.read(reader, frames.from_replica)
    assert isinstance(failed, frames.Failed)
    assert isinstance(frames.error_of(failed), Corrupted)
    writer.close()


def test_an_error_keeps_its_class_and_facts_on_the_way() -> None:
    error = TooLarge("too large", size=3, where=Path("/x"))
    [data] = [frames.encode(frames.failed_frame(9, error))[4:]]
    back = frames.error_of(msgspec.msgpack.decode(data, type=frames.Failed))
    assert type(back) is TooLarge
    assert back.message == "too large"
    assert back.facts == {"size": 3, "where": "/x"}
