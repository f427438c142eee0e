"""Requests counted on both sides of a replica's stream: alike, whatever becomes of them, and never more at the hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.ids import task_id
from farlane.domain.inference import GenerateRequest
from farlane.domain.resources import Resources
from farlane.domain.served import Served
from farlane.errors import ConnectionLost
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.settings import NodeSettings
from farlane.testing.echo_replica import EchoHost
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until
from farlane.wire.inference import encode_request

VERSION = cid_of(b"version")


class OneVersion:
    """Names one version."""

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return it."""
        return VERSION

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return nobody: it is public."""
        return ()

    def runtime_of(self, version: str) -> str:
        """Return none: whatever serves may have it."""
        return ""


class Counted:
    """A hub and a node with one replica of an echo model."""

    def __init__(self, hub: RunningHub, agent: NodeAgent, host: EchoHost) -> None:
        self.hub, self.agent, self.host = hub, agent, host

    def by_hub(self) -> Served:
        """Return what the hub has counted."""
        (job,) = self.hub.hub.reactor.state.jobs
        return self.hub.hub.books.served.count(task_id(job, 0), 1)

    def by_node(self) -> Served:
        """Return what the node has counted."""
        assert self.agent._live is not None  # nobody else has a node's memory
        (job,) = self.hub.hub.reactor.state.jobs
        found = self.agent._live._books._memory.find(task_id(job, 0), 1)
        assert found is not None
        return found.served

    async def ask(self, prompt: str, pieces: int = 1 << 30) -> None:
        """Ask, and go away after so many pieces."""
        assert self.hub.service.deployments is not None
        router = DeploymentRouter(self.hub.service.deployments, SystemClock())
        answer = router.infer(
            Caller("lab", "lab/ada", "k"), "chat", None, GenerateRequest(prompt=prompt), request_id="r", timeout_s=30.0
        )  # fmt: skip
        async with contextlib.aclosing(answer):
            async for _ in answer:
                pieces -= 1
                if not pieces:
                    return


@pytest.fixture
async def counted(tmp_path: Path) -> AsyncIterator[Counted]:
    hub, host = RunningHub(tmp_path / "hub", versions=OneVersion()), EchoHost(VERSION)
    settings = NodeSettings(directory=tmp_path / "node", memory="1GiB", disk="64MiB", cache="32MiB")
    async with hub:
        agent = NodeAgent(settings, hub.url, hub.token("node", "", "lab"), host=host)
        work = asyncio.create_task(agent.run())
        try:
            assert hub.service.deployments is not None
            hub.service.deployments.set(
                Deployment(
                    name="chat", model="chat", organisation="lab", publisher="lab/ada",
                    resources=Resources(100, 16 << 20, 0), scale=ScalePolicy(min_replicas=1, max_replicas=1),
                )
            )  # fmt: skip
            desk = hub.service.deployments
            await until(lambda: desk.record("lab/chat").state() is DeploymentState.READY)
            yield Counted(hub, agent, host)
        finally:
            agent.stop()
            await work


async def test_answers_are_counted_alike(counted: Counted) -> None:
    for _ in range(3):
        await counted.ask("to be or not")
    hub = counted.by_hub()
    assert hub == counted.by_node()
    assert (hub.requests, hub.failed, hub.prompt_tokens, hub.completion_tokens) == (3, 0, 12, 12)
    assert hub.request_bytes == 3 * len(encode_request(GenerateRequest(prompt="to be or not")))
    assert hub.reply_bytes > 0


async def test_requests_that_their_clients_leave_are_counted(counted: Counted) -> None:
    await counted.ask(" ".join(["word"] * 2000), pieces=5)
    await until(lambda: counted.by_hub().requests == 1)
    hub, node = counted.by_hub(), counted.by_node()
    assert (hub.failed, node.failed) == (1, 1)
    assert hub.completion_tokens >= 4
    assert hub.beyond(node) == ""


async def test_a_stream_that_breaks_loses_nothing_that_was_counted(counted: Counted) -> None:
    await counted.ask("to be")
    desk = counted.hub.service.deployments
    assert desk is not None
    (session,) = desk.route("lab/chat").sessions.values()
    session.close(ConnectionLost("cut"))
    await until(
        lambda: any(one is not session and one.open for one in desk.route("lab/chat").sessions.values())
    )
    await counted.ask("or not")
    assert counted.by_hub() == counted.by_node()
    assert counted.by_hub().requests == 2
