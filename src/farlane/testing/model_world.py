"""A world of real models: a hub, a node that serves models from folders of this machine, and a gateway on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.inference import InferenceReply, InferenceRequest
from farlane.domain.resources import Resources
from farlane.errors import NotFound
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.http_server import serve_http
from farlane.hub.gateway.port import Caller, NoUsage
from farlane.hub.gateway.settings import GatewaySettings
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.replicas.model_host import ModelHost
from farlane.node.settings import NodeSettings
from farlane.testing.running_hub import RunningHub

WAIT_S = 100.0


class Folders:
    """Models in folders of this machine, by version; implements `ModelFolders`."""

    def __init__(self, known: Mapping[str, Path]) -> None:
        self.known = known

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
        self.aliases: dict[str, str] = {}

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """Return what a name means now."""
        if alias:
            raise NotFound("there is no such alias")
        return version_of(self.aliases.get(model, model))

    def readers_of(self, version: str) -> tuple[str, ...]:
        """Return nobody: all versions are public."""
        return ()

    def runtime_of(self, version: str) -> str:
        """Return none: whatever serves may have it."""
        return ""


def version_of(name: str) -> str:
    """Return a version's CID."""
    return cid_of(name.encode())


class ModelWorld:
    """A hub and a node that serves models.

    Args:
        directory: of both.
        folders: the models by name; a name is also what a version is made of, see `version_of`.
    """

    def __init__(self, directory: Path, folders: Mapping[str, Path]) -> None:
        self.names = Names()
        self.hub = RunningHub(directory / "hub", versions=self.names)
        self._host = ModelHost(Folders(folders), directory / "replicas")
        self._settings = NodeSettings(
            directory=directory / "node", name="one", memory="2GiB", disk="64MiB", cache="32MiB"
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ModelWorld]:
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

    async def ask(self, name: str, request: InferenceRequest) -> list[InferenceReply]:
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
