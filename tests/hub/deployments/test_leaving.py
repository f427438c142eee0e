"""Nodes that serve and leave: with real agents and processes, under load, alone or beside others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.inference import GeneratePiece, GenerateRequest
from farlane.domain.resources import Resources
from farlane.errors import ConnectionLost, NotFound
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.settings import NodeSettings
from farlane.testing.echo_replica import EchoHost
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

VERSION = cid_of(b"version")


class OneVersion:
    """Names one version, whatever the alias."""

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return it; there is no canary."""
        if alias:
            raise NotFound("there is no such alias")
        return VERSION

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return nobody: all versions are public."""
        return ()

    def runtime_of(self, version: str) -> str:
        """Return none: whatever serves may have it."""
        return ""


class Network:
    """A hub, and nodes that come and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hub = RunningHub(directory / "hub", versions=OneVersion())

    @property
    def desk(self) -> Deployments:
        assert self.hub.service.deployments is not None
        return self.hub.service.deployments

    @contextlib.asynccontextmanager
    async def node(self, name: str, memory: str = "1GiB", **changes: float) -> AsyncIterator[Leaver]:
        """Run a node inside the block; it must have left by itself before the end."""
        settings = NodeSettings(
            directory=self.directory / name, name=name, memory=memory, disk="64MiB", cache="32MiB",
            drain_timeout_s=300.0,
        )  # fmt: skip
        host = EchoHost(VERSION)
        token = self.hub.token("node", "", "lab")
        agent = NodeAgent(replace(settings, **changes), self.hub.url, token, host=host)  # type: ignore[arg-type]
        node = Leaver(agent, host, asyncio.create_task(agent.run()))
        known = len(self.hub.hub.sessions.nodes)
        await until(lambda: len(self.hub.hub.sessions.nodes) > known)
        try:
            yield node
            assert node.work.done()
        finally:
            agent.stop()
            await node.work

    async def deploy(self, replicas: int = 1) -> None:
        """Serve the model and wait until it answers."""
        self.desk.set(
            Deployment(
                name="chat", model="chat@stable", organisation="lab", publisher="lab/ada",
                resources=Resources(100, 400 << 20, 0),
                scale=ScalePolicy(min_replicas=replicas, max_replicas=replicas, cold_start_s=30.0),
            )
        )  # fmt: skip
        await until(lambda: self.desk.record("lab/chat").state() is DeploymentState.READY)

    async def ask(self) -> str:
        """Return an answer."""
        answer = DeploymentRouter(self.desk, SystemClock()).infer(
            Caller("lab", "lab/ada", "k"), "chat", None, GenerateRequest(prompt="to be or not"),
            request_id="r", timeout_s=30.0,
        )  # fmt: skip
        return "".join([piece.text async for piece in answer if isinstance(piece, GeneratePiece)])

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[list[str]]:
        """Ask without a pause inside the block; an error fails the test."""
        answers: list[str] = []
        done = asyncio.Event()

        async def ask() -> None:
            while not done.is_set():
                answers.append(await self.ask())

        callers = [asyncio.create_task(ask()) for _ in range(4)]
        try:
            yield answers
        finally:
            done.set()
            await asyncio.gather(*callers)


class Leaver:
    """A node's agent with the replicas that it runs."""

    def __init__(self, agent: NodeAgent, host: EchoHost, work: asyncio.Task[None]) -> None:
        self.agent, self.host, self.work = agent, host, work

    async def leave(self) -> None:
        """Drain it, and wait until it is gone by itself."""
        self.agent.drain()
        await self.work


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    network = Network(tmp_path)
    async with network.hub:
        yield network


async def test_the_only_node_hands_its_replicas_back_and_leaves(network: Network) -> None:
    async with network.node("one") as node:
        await network.deploy(2)
        await node.leave()
    async with network.node("again") as node:
        assert await network.ask() == f"to be or not {VERSION}"
        await node.leave()


async def test_the_only_node_answers_what_it_was_asked_before_it_leaves(network: Network) -> None:
    async with network.node("one") as node:
        await network.deploy()
        replica = node.host.replicas[0]
        replica.paused.clear()
        asked = asyncio.create_task(network.ask())
        await until(lambda: network.desk.route("lab/chat").in_flight == 1)
        node.agent.drain()
        await until(lambda: network.desk.record("lab/chat").state() is DeploymentState.STARTING)
        replica.paused.set()
        assert await asked == f"to be or not {VERSION}"
        await node.work


async def test_the_only_node_does_not_wait_for_an_answer_that_does_not_end(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.deployments.desk.LAST_DRAIN_S", 0.1)
    monkeypatch.setattr("farlane.node.replicas.executor.ANSWER_S", 0.1)
    async with network.node("one") as node:
        await network.deploy()
        node.host.replicas[0].paused.clear()
        asked = asyncio.create_task(network.ask())
        await until(lambda: network.desk.route("lab/chat").in_flight == 1)
        await node.leave()
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionLost):
            await asked


async def test_one_of_two_nodes_leaves_under_load_and_no_request_fails(network: Network) -> None:
    async with network.node("one") as first:
        await network.deploy()
        async with network.node("two") as second:
            async with network.load() as answers:
                await first.leave()
                before = len(answers)
                await until(lambda: len(answers) > before + 8)
            assert len(second.host.replicas) == 1
            await second.leave()
    assert set(answers) == {f"to be or not {VERSION}"}


async def test_a_node_does_not_wait_for_others_that_are_full(network: Network) -> None:
    async with network.node("one") as first, network.node("two", "500MiB") as second:
        await network.deploy(3)
        async with network.load() as answers:
            await first.leave()
        assert len(second.host.replicas) == 1
        await second.leave()
    assert set(answers) == {f"to be or not {VERSION}"}


async def test_what_a_node_hands_back_late_fails_no_request_either(network: Network) -> None:
    async with network.node("one", drain_timeout_s=0.0) as first:
        await network.deploy()
        async with network.node("two") as second:
            async with network.load() as answers:
                await first.leave()
                before = len(answers)
                await until(lambda: len(answers) > before + 8)
            await second.leave()
    assert set(answers) == {f"to be or not {VERSION}"}
