"""A small world that serves: a real hub, nodes whose replicas are processes that echo, and a gateway on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.ids import NodeId
from farlane.domain.inference import GeneratePiece, GenerateRequest
from farlane.domain.resources import Resources
from farlane.errors import NotFound
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.listeners import listening
from farlane.hub.gateway.port import Caller
from farlane.hub.gateway.settings import GatewaySettings
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.settings import NodeSettings
from farlane.testing.echo_replica import EchoHost
from farlane.testing.running_gateway import KeptUsage, RunningGateway
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

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return nobody: all versions are public."""
        return ()

    def runtime_of(self, version: str) -> str:
        """Return none: whatever serves may have it."""
        return ""


class ServingWorld:
    """One hub and one node; `lab/ada` deploys `chat`."""

    def __init__(self, directory: Path) -> None:
        self.names, self.host = Names(), EchoHost(OLD, NEW)
        self.hub = RunningHub(directory / "hub", versions=self.names)
        self.settings = NodeSettings(
            directory=directory / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB"
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ServingWorld]:
        """Run both inside the block."""
        async with self.hub, self.node(self.settings, self.host):
            await until(lambda: bool(self.hub.hub.sessions.nodes))  # its start is no part of a cold start
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

    @property
    def desk(self) -> Deployments:
        """What the hub deploys."""
        assert self.hub.service.deployments is not None
        return self.hub.service.deployments

    def router(self) -> DeploymentRouter:
        """Return a router to what is deployed."""
        return DeploymentRouter(self.desk, SystemClock())

    @contextlib.asynccontextmanager
    async def gateway(self, **settings: float) -> AsyncIterator[RunningGateway]:
        """Serve what is deployed over HTTP and gRPC; callers of it are made by `RunningGateway.token`."""
        chosen = replace(GatewaySettings(), **settings)  # type: ignore[arg-type]  # numbers all of them
        usage = KeptUsage()
        made = RunningGateway(Gateway(self.router(), usage, SystemClock(), chosen), usage, "", "", {})
        async with listening(made.gateway, Access(made.known.get), None) as ports:
            made.url, made.grpc = f"http://127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}"
            yield made

    def deploy(self, replicas: int = 1, memory: int = 16 << 20, **scale: float) -> None:
        """Serve the model."""
        self.desk.set(
            Deployment(
                name="chat", model="chat@stable", organisation="lab", publisher="lab/ada",
                resources=Resources(100, memory, 0),
                scale=replace(
                    ScalePolicy(min_replicas=replicas, max_replicas=replicas, cold_start_s=30.0),
                    **scale,  # type: ignore[arg-type]
                ),
            )
        )  # fmt: skip

    @staticmethod
    def question(prompt: str) -> tuple[Caller, str, None, GenerateRequest]:
        """Return what a router is asked."""
        return ADA, "chat", None, GenerateRequest(prompt=prompt)

    async def ask(self, prompt: str = "to be or not", timeout_s: float = 30.0) -> list[GeneratePiece]:
        """Return the pieces of an answer."""
        answer = self.router().infer(
            ADA, "chat", None, GenerateRequest(prompt=prompt), request_id="r", timeout_s=timeout_s
        )
        return [piece async for piece in answer if isinstance(piece, GeneratePiece)]

    def hub_node(self, name: str) -> NodeId:
        """Return the id of a node."""
        return next(key for key, node in self.hub.hub.reactor.state.nodes.items() if node.spec.name == name)

    def ready(self, count: int) -> bool:
        """Tell whether so many replicas answer, none of them superfluous."""
        record = self.desk.record(ID)
        return record.state() is DeploymentState.READY and len(record.replicas) == count
