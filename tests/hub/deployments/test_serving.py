"""A hub, nodes and replicas with real processes: deployed, asked, killed, updated, and found again after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.ids import NodeId
from farlane.domain.inference import GeneratePiece, GenerateRequest
from farlane.domain.resources import Resources
from farlane.errors import ConnectionLost, NotFound
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.settings import NodeSettings
from farlane.testing.echo_replica import EchoHost
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

OLD, NEW = cid_of(b"old"), cid_of(b"new")
ADA = Caller("lab", "lab/ada", "k")
ID = "lab/chat"


class Names:
    """Aliases as a test sets them."""

    def __init__(self) -> None:
        self.stable = OLD

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return what the only alias names."""
        if alias:
            raise NotFound("there is no such alias")
        return self.stable


class World:
    """One hub and one node."""

    def __init__(self, directory: Path) -> None:
        self.names, self.host = Names(), EchoHost(OLD, NEW)
        self.hub = RunningHub(directory / "hub", versions=self.names)
        self.settings = NodeSettings(
            directory=directory / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB"
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        """Run both inside the block."""
        async with self.hub, self.node(self.settings, self.host):
            yield self

    @contextlib.asynccontextmanager
    async def node(self, settings: NodeSettings, host: EchoHost) -> AsyncIterator[NodeAgent]:
        """Run a node inside the block; at its end it is gone at once."""
        agent = NodeAgent(settings, self.hub.url, self.hub.token("node", "", "lab"), host=host)
        work = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            agent.stop()
            await work

    def deploy(self, replicas: int = 1, **scale: float) -> None:
        """Serve the model."""
        assert self.hub.service.deployments is not None
        self.hub.service.deployments.set(
            Deployment(
                name="chat", model="chat@stable", organisation="lab", publisher="lab/ada",
                resources=Resources(100, 16 << 20, 0),
                scale=replace(
                    ScalePolicy(min_replicas=replicas, max_replicas=replicas, cold_start_s=30.0),
                    **scale,  # type: ignore[arg-type]
                ),
            )
        )  # fmt: skip

    async def ask(self, prompt: str = "to be or not") -> list[GeneratePiece]:
        """Return the pieces of an answer."""
        assert self.hub.service.deployments is not None
        router = DeploymentRouter(self.hub.service.deployments, SystemClock())
        answer = router.infer(
            ADA, "chat", None, GenerateRequest(prompt=prompt), request_id="r", timeout_s=30.0
        )
        return [piece async for piece in answer if isinstance(piece, GeneratePiece)]

    def hub_node(self, name: str) -> NodeId:
        """Return the id of a node."""
        return next(key for key, node in self.hub.hub.reactor.state.nodes.items() if node.spec.name == name)

    def ready(self, count: int) -> bool:
        """Tell whether so many replicas answer, none of them superfluous."""
        assert self.hub.service.deployments is not None
        record = self.hub.service.deployments.record(ID)
        return record.state() is DeploymentState.READY and len(record.replicas) == count


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path).running() as world:
        yield world


async def test_a_deployed_model_answers_in_pieces(world: World) -> None:
    world.deploy()
    pieces = await world.ask()
    assert [piece.text for piece in pieces] == ["to ", "be ", "or ", "not ", OLD]
    assert (pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == (4, 4)


async def test_a_killed_replica_costs_no_request_that_had_not_begun(world: World) -> None:
    world.deploy(2)
    await until(lambda: world.ready(2))
    os.kill(world.host.replicas[0].pid, signal.SIGKILL)
    for _ in range(10):
        assert (await world.ask())[-1].text == OLD
    await until(lambda: world.ready(2))


async def test_a_replica_killed_in_the_middle_ends_its_answer_with_an_error(world: World) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    assert world.hub.service.deployments is not None
    router = DeploymentRouter(world.hub.service.deployments, SystemClock())
    request = GenerateRequest(prompt=" ".join(["word"] * 50_000))
    answer = router.infer(ADA, "chat", None, request, request_id="r", timeout_s=30.0)
    assert isinstance(await anext(answer), GeneratePiece)
    os.kill(world.host.replicas[0].pid, signal.SIGKILL)
    with pytest.raises(ConnectionLost, match="in the middle"):
        async for _ in answer:
            pass
    assert (await world.ask())[-1].text == OLD


async def test_an_alias_that_moves_under_load_fails_no_request(world: World) -> None:
    world.deploy(2)
    await until(lambda: world.ready(2))
    answers: list[str] = []
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            answers.append((await world.ask())[-1].text)

    callers = [asyncio.create_task(load()) for _ in range(4)]
    world.names.stable = NEW
    await until(lambda: answers[-1:] == [NEW] and world.ready(2))
    done.set()
    await asyncio.gather(*callers)
    assert set(answers) == {OLD, NEW}


async def test_a_version_that_nobody_has_leaves_the_old_one_serving(world: World) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    world.names.stable = cid_of(b"missing")
    for _ in range(20):
        assert (await world.ask())[-1].text == OLD


async def test_replicas_outlive_a_restart_of_the_hub(world: World) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    pids = [replica.pid for replica in world.host.replicas]
    await world.hub.restart()
    assert (await world.ask())[-1].text == OLD
    assert [replica.pid for replica in world.host.replicas] == pids


async def test_a_node_that_drains_is_left_without_a_failed_request(world: World, tmp_path: Path) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    first = world.host.replicas[0].pid
    host = EchoHost(OLD, NEW)
    settings = replace(world.settings, directory=tmp_path / "second", name="two")
    async with world.node(settings, host):
        await until(lambda: len(world.hub.hub.sessions.nodes) == 2)
        async with world.hub.client() as client:
            await client.drain(world.hub_node("one"))
        await until(lambda: bool(host.replicas) and not world.host.replicas)
        assert (await world.ask())[-1].text == OLD
        assert host.replicas[0].pid != first


async def test_an_idle_deployment_has_no_replica_until_somebody_asks(world: World) -> None:
    world.deploy(1, min_replicas=0, idle_s=0.5)
    await until(lambda: bool(world.host.replicas))
    await until(lambda: not world.host.replicas)
    assert (await world.ask())[-1].text == OLD


async def test_a_client_that_goes_away_frees_the_replica(world: World) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    deployments = world.hub.service.deployments
    assert deployments is not None
    request = GenerateRequest(prompt=" ".join(["word"] * 50_000))
    answer = DeploymentRouter(deployments, SystemClock()).infer(
        ADA, "chat", None, request, request_id="r", timeout_s=30.0
    )
    await anext(answer)
    await answer.aclose()
    assert deployments.route(ID).in_flight == 0
    assert (await world.ask("one word"))[-1].text == OLD


async def test_another_organisation_sees_nothing(world: World) -> None:
    world.deploy()
    assert world.hub.service.deployments is not None
    router = DeploymentRouter(world.hub.service.deployments, SystemClock())
    assert [model.name for model in await router.models(ADA)] == ["chat"]
    assert await router.models(Caller("other", "other/bob", "k")) == []
