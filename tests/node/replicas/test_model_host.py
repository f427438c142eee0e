"""Real models behind a real hub: deployed on a node, asked, moved to their next version under load, and refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from farlane.demo.novelist import shipped_model, write_dialogue_version
from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.ids import TaskId
from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceReply,
    InferenceRequest,
    Sampling,
)
from farlane.domain.resources import Resources
from farlane.errors import InvalidInput, NotFound
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.http_server import serve_http
from farlane.hub.gateway.port import Caller, NoUsage
from farlane.hub.gateway.settings import GatewaySettings
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.models.serving.runtime import RuntimeOptions, installed_runtimes, open_runtime
from farlane.node.agent import NodeAgent
from farlane.node.executors.port import ServeCall
from farlane.node.replicas.model_host import ModelHost, replica_spec
from farlane.node.replicas.port import ReplicaShare
from farlane.node.settings import NodeSettings
from farlane.testing.running_hub import RunningHub
from farlane.testing.tiny_deepseek import write_deepseek_model
from farlane.testing.tiny_models import write_sentence_model
from farlane.testing.waiting import until

LIKELIEST = Sampling(max_tokens=12, temperature=0.0, seed=1)
QUESTION = GenerateRequest(prompt="Mr. Darcy", sampling=LIKELIEST)
WAIT_S = 100.0


class Folders:
    """Models in folders of this machine, by version; implements `ModelFolders`."""

    def __init__(self, root: Path) -> None:
        self.known = {
            "novelist": shipped_model("novelist"),
            "dialogue": write_dialogue_version(root / "dialogue").parent,
            "sentence": write_sentence_model(root / "sentence"),
            "deepseek": write_deepseek_model(root / "deepseek"),
        }

    @contextlib.asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """Return the folder."""
        for name, folder in self.known.items():
            if version_of(name) == version:
                yield folder
                return
        raise NotFound(f"nobody has {version}")


class Names:
    """One name for each model, and an alias that a test moves."""

    def __init__(self) -> None:
        self.aliases = {"writer@stable": "novelist"}

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return what a name means now."""
        if alias:
            raise NotFound("there is no such alias")
        return version_of(self.aliases.get(model, model))

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return nobody: all versions are public."""
        return ()


def version_of(name: str) -> str:
    """Return a version's CID."""
    return cid_of(name.encode())


class World:
    """A hub and a node that serves models."""

    def __init__(self, directory: Path) -> None:
        self.names = Names()
        self.hub = RunningHub(directory / "hub", versions=self.names)
        self._host = ModelHost(Folders(directory), directory / "replicas")
        self._settings = NodeSettings(
            directory=directory / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB"
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Run both inside the block."""
        async with self.hub:
            token = self.hub.token("node", "", "lab")
            agent = NodeAgent(self._settings, self.hub.url, token, host=self._host)
            work = asyncio.create_task(agent.run())
            try:
                yield self
            finally:
                agent.stop()
                await work

    def deploy(self, name: str, model: str, **options: str) -> None:
        """Serve a model with one replica."""
        assert self.hub.service.deployments is not None
        wanted = Deployment(
            name=name, model=model, organisation="lab", publisher="lab/ada", options=tuple(options.items()),
            resources=Resources(100, 384 << 20, 0), scale=ScalePolicy(cold_start_s=WAIT_S),
        )  # fmt: skip
        self.hub.service.deployments.set(wanted)

    async def ask(self, name: str, request: InferenceRequest = QUESTION) -> list[InferenceReply]:
        """Return all replies."""
        assert self.hub.service.deployments is not None
        router = DeploymentRouter(self.hub.service.deployments, SystemClock())
        caller = Caller("lab", "lab/ada", "k")
        answer = router.infer(caller, name, None, request, request_id="r", timeout_s=WAIT_S)
        return [reply async for reply in answer]

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Serve the deployments over HTTP; yield a client with a publisher's token."""
        assert self.hub.service.deployments is not None
        clock = SystemClock()
        router = DeploymentRouter(self.hub.service.deployments, clock)
        gateway = Gateway(router, NoUsage(), clock, GatewaySettings())
        headers = {"Authorization": f"Bearer {self.hub.token().text()}"}
        async with (
            serve_http(gateway, Access(self.hub.lookup), None) as port,
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session,
        ):
            yield session

    def state(self, name: str) -> tuple[DeploymentState, str]:
        """Return where a deployment stands, and why."""
        assert self.hub.service.deployments is not None
        record = self.hub.service.deployments.record(f"lab/{name}")
        return record.state(), record.reason()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path).running() as world:
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
    world: World, tmp_path: Path
) -> None:
    old = written_by(shipped_model("novelist"))
    new = written_by(tmp_path / "dialogue")
    assert old != new
    world.deploy("writer", "writer@stable")
    first = await world.ask("writer")
    assert len(first) > 3  # it comes in pieces
    assert text_of(first) == old
    answers: list[str] = []
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            answers.append(text_of(await world.ask("writer")))

    callers = [asyncio.create_task(load()) for _ in range(3)]
    await until(lambda: old in answers)
    world.names.aliases["writer@stable"] = "dialogue"
    await until(lambda: answers[-1:] == [new])
    done.set()
    await asyncio.gather(*callers)  # a request that failed would raise here
    assert set(answers) == {old, new}


async def test_models_of_several_kinds_answer_on_one_node(world: World) -> None:
    world.deploy("embed", "sentence")
    world.deploy("seek", "deepseek", context_tokens="64")
    [reply] = await world.ask("embed", EmbedRequest(("the cat sat", "a red road")))
    assert isinstance(reply, EmbedReply)
    assert len(reply.vectors) == 2 * 4 * reply.dimensions
    pieces = await world.ask("seek", GenerateRequest(prompt="a", sampling=LIKELIEST))
    assert isinstance(pieces[-1], GeneratePiece)
    assert pieces[-1].completion_tokens > 0


async def test_openai_clients_are_answered_by_real_models_over_http(world: World) -> None:
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
        assert "".join(pieces) == whole["choices"][0]["text"] == text_of(await world.ask("writer"))
        async with http.post(
            "/v1/embeddings", json={"model": "embed", "input": ["the cat", "a dog"]}
        ) as answer:
            assert [row["index"] for row in (await answer.json())["data"]] == [0, 1]
        async with http.post("/v1/embeddings", json={"model": "writer", "input": "the cat"}) as answer:
            assert answer.status == 400
        async with http.get("/v1/models") as answer:
            assert [each["id"] for each in (await answer.json())["data"]] == ["embed", "writer"]


async def test_an_option_that_there_is_not_fails_the_deployment_with_the_nearest_name(world: World) -> None:
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
