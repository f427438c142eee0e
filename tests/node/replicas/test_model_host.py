"""Real models behind a real hub: deployed on a node, asked, moved to their next version under load, and refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.demo.novelist import shipped_model, write_dialogue_version
from farlane.domain.ids import TaskId
from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceReply,
    Sampling,
)
from farlane.errors import InvalidInput
from farlane.models.serving.runtime import RuntimeOptions, installed_runtimes, open_runtime
from farlane.node.executors.port import ServeCall
from farlane.node.replicas.model_host import replica_spec
from farlane.node.replicas.port import ReplicaShare
from farlane.testing.model_world import ModelWorld, version_of
from farlane.testing.tiny_deepseek import write_deepseek_model
from farlane.testing.tiny_models import write_sentence_model
from farlane.testing.waiting import until

LIKELIEST = Sampling(max_tokens=12, temperature=0.0, seed=1)
QUESTION = GenerateRequest(prompt="Mr. Darcy", sampling=LIKELIEST)


def folders(root: Path) -> dict[str, Path]:
    """Return the models of these tests."""
    return {
        "novelist": shipped_model("novelist"),
        "dialogue": write_dialogue_version(root / "dialogue").parent,
        "sentence": write_sentence_model(root / "sentence"),
        "deepseek": write_deepseek_model(root / "deepseek"),
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ModelWorld]:
    async with ModelWorld(tmp_path, folders(tmp_path)).running() as world:
        world.names.aliases["writer@stable"] = "novelist"
        yield world


def text_of(replies: list[InferenceReply]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, GeneratePiece))


def written_by(folder: Path) -> str:
    """Return what a model writes where no hub is in between."""
    runtime = open_runtime(folder, RuntimeOptions())
    try:
        return "".join(piece.text for piece in runtime.generate(QUESTION, lambda: False))
    finally:
        runtime.close()


async def test_an_alias_moves_between_two_versions_of_a_language_model_without_a_failed_request(
    world: ModelWorld, tmp_path: Path
) -> None:
    old = written_by(shipped_model("novelist"))
    new = written_by(tmp_path / "dialogue")
    assert old != new
    world.deploy("writer", "writer@stable")
    first = await world.ask("writer", QUESTION)
    assert len(first) > 3  # it comes in pieces
    assert text_of(first) == old
    answers: list[str] = []
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            answers.append(text_of(await world.ask("writer", QUESTION)))

    callers = [asyncio.create_task(load()) for _ in range(3)]
    await until(lambda: old in answers)
    world.names.aliases["writer@stable"] = "dialogue"
    await until(lambda: answers[-1:] == [new])
    done.set()
    await asyncio.gather(*callers)  # a request that failed would raise here
    assert set(answers) == {old, new}


async def test_models_of_several_kinds_answer_on_one_node(world: ModelWorld) -> None:
    world.deploy("embed", "sentence")
    world.deploy("seek", "deepseek", context_tokens="64")
    [reply] = await world.ask("embed", EmbedRequest(("the cat sat", "a red road")))
    assert isinstance(reply, EmbedReply)
    assert len(reply.vectors) == 2 * 4 * reply.dimensions
    pieces = await world.ask("seek", GenerateRequest(prompt="a", sampling=LIKELIEST))
    assert isinstance(pieces[-1], GeneratePiece)
    assert pieces[-1].completion_tokens > 0


async def test_openai_clients_are_answered_by_real_models_over_http(world: ModelWorld) -> None:
    world.deploy("writer", "writer@stable")
    world.deploy("embed", "sentence")
    async with world.http() as http:
        asked = {"model": "writer", "prompt": "Mr. Darcy", "max_tokens": 12, "temperature": 0, "seed": 1}
        async with http.post("/v1/completions", json=asked) as answer:
            whole = await answer.json()
        assert (answer.status, whole["usage"]["completion_tokens"]) == (200, 12)
        async with http.post("/v1/completions", json=asked | {"stream": True}) as answer:
            events = [line[6:] async for line in answer.content if line.startswith(b"data: ")]
        assert events[-1].strip() == b"[DONE]"
        pieces = [json.loads(event)["choices"][0]["text"] for event in events[:-1]]
        assert len(pieces) > 3
        assert "".join(pieces) == whole["choices"][0]["text"] == text_of(await world.ask("writer", QUESTION))
        async with http.post(
            "/v1/embeddings", json={"model": "embed", "input": ["the cat", "a dog"]}
        ) as answer:
            assert [row["index"] for row in (await answer.json())["data"]] == [0, 1]
        async with http.post("/v1/embeddings", json={"model": "writer", "input": "the cat"}) as answer:
            assert answer.status == 400
        async with http.get("/v1/models") as answer:
            assert [each["id"] for each in (await answer.json())["data"]] == ["embed", "writer"]


async def test_an_option_that_there_is_not_fails_the_deployment_with_the_nearest_name(
    world: ModelWorld,
) -> None:
    world.deploy("writer", "novelist", context_token="64")
    await until(lambda: "context_tokens" in world.state("writer")[1])


@pytest.mark.parametrize(
    "option", [("streams", "0"), ("streams", "two"), ("queue", "-1"), ("max_delay_s", "nan"), ("qeue", "4")]
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, option: tuple[str, str]) -> None:
    call = ServeCall(version_of("novelist"), "lab/writer", "", (option,), 1000, TaskId(1), 1, 1)
    with pytest.raises(InvalidInput, match=option[0][:2]):
        replica_spec(tmp_path, call, ReplicaShare(1, 0))


def test_options_and_share_reach_the_process(tmp_path: Path) -> None:
    options = (("streams", "3"), ("context_tokens", "128"), ("queue", "5"), ("deadline_s", "1.5"))
    call = ServeCall(version_of("novelist"), "lab/writer", "gguf", options, 1500, TaskId(1), 1, 1)
    spec = replica_spec(tmp_path, call, ReplicaShare(2, 256 << 20))
    assert (spec.streams, spec.context_tokens, spec.threads, spec.memory_bytes) == (3, 128, 2, 256 << 20)
    assert (spec.runtime, spec.limits.queue, spec.limits.deadline_s) == ("gguf", 5, 1.5)


def test_runtimes_are_found_without_being_loaded() -> None:
    assert {"gguf", "onnx", "sentence"} <= set(installed_runtimes())
