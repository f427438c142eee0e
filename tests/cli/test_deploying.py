"""Models served as people type it: on a real hub with a real catalog, a node, and a language model in two versions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from farlane.cli import deploying
from farlane.demo.novelist import shipped_model, write_dialogue_version
from farlane.domain.deployments import Deployment
from farlane.domain.inference import GeneratePiece, GenerateRequest, Sampling
from farlane.domain.resources import Resources
from farlane.errors import FarlaneError, InvalidInput, NotFound, PermissionRefused, Unavailable
from farlane.hub.deployments.catalog_versions import CatalogVersions
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.clock import SystemClock
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.repository import Repository
from farlane.node.agent import NodeAgent
from farlane.node.replicas.model_host import ModelHost
from farlane.node.settings import NodeSettings
from farlane.sdk.deployments import DeploymentClient
from farlane.testing.manifests import model_file, small_manifest
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

MANIFESTS = [
    encode(small_manifest(name="writer", files=(model_file("writer.gguf"),), created=number))
    for number in (1, 2, 3)
]
ONE, TWO, BROKEN = map(manifest_cid, MANIFESTS)
QUESTION = GenerateRequest(prompt="Mr. Darcy", sampling=Sampling(max_tokens=4, temperature=0.0))
SMALL = ("--cpu", "0.1", "--memory", "384MiB", "--disk", "0")


class Folders:
    """Two versions in folders; implements `ModelFolders`."""

    def __init__(self, root: Path) -> None:
        self._known = {
            ONE.text: shipped_model("novelist"),
            TWO.text: write_dialogue_version(root / "dialogue").parent,
            BROKEN.text: root / "nothing",
        }

    @contextlib.asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """Return the folder."""
        yield self._known[version]


class World:
    """A hub with a catalog, and commands typed at it."""

    def __init__(self, directory: Path) -> None:
        self.catalog = Catalog(MemoryRows())
        repository = Repository(MemoryBlockStore(), self.catalog)
        self._blocks = repository.blocks
        for raw in MANIFESTS:
            self.put("writer", raw)
        self.catalog.move("writer", "stable", ONE)
        self.hub = RunningHub(directory / "hub", versions=CatalogVersions(repository, set))

    def put(self, name: str, raw: bytes) -> None:
        """Name a manifest."""
        self._blocks.put(manifest_cid(raw), raw)
        self.catalog.add(name, manifest_cid(raw))

    async def type(self, command: click.Command, *arguments: str, publisher: str = "lab/ada") -> Result:
        """Run a command as a publisher; errors of the tree are raised."""
        env = {
            "FARLANE_URL": self.hub.url,
            "FARLANE_TOKEN": self.hub.token("client", publisher, "lab").text(),
        }

        def run() -> Result:
            # standalone_mode False: the command's number is its exit code, as in farlane.cli.main.
            return CliRunner().invoke(command, arguments, env=env, standalone_mode=False)

        found = await asyncio.to_thread(run)
        if found.exception is not None and not isinstance(found.exception, SystemExit):
            raise found.exception
        return found

    async def json(self, command: click.Command, *arguments: str) -> Any:
        """Run a command with --json and read what it wrote."""
        return json.loads((await self.type(command, "--json", *arguments)).stdout)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    settings = NodeSettings(
        directory=tmp_path / "node", name="oak", memory="1GiB", disk="64MiB", cache="32MiB", core_hour="0.01"
    )
    async with world.hub:
        host = ModelHost(Folders(tmp_path), tmp_path / "replicas")
        agent = NodeAgent(settings, world.hub.url, world.hub.token("node", "", "lab"), host=host)
        work = asyncio.create_task(agent.run())
        try:
            await until(lambda: bool(world.hub.hub.sessions.nodes))
            yield world
        finally:
            agent.stop()
            await work


async def test_a_model_is_served_updated_scaled_and_ended(world: World) -> None:
    served = await world.type(deploying.serve, "writer@stable", "--name", "chat", *SMALL, "-y")
    assert served.return_value == 0
    assert served.stdout == "chat\n"
    assert "credits an hour" in served.stderr
    assert world.hub.service.deployments is not None
    router = DeploymentRouter(world.hub.service.deployments, SystemClock())
    answer = router.infer(
        Caller("lab", "lab/ada", "k"), "chat", None, QUESTION, request_id="r", timeout_s=60.0
    )
    assert len([piece async for piece in answer if isinstance(piece, GeneratePiece)]) > 1
    [status] = await world.json(deploying.deployments)
    assert (status["state"], status["version"], status["requests"], status["failed"]) == (
        "ready",
        ONE.text,
        1,
        0,
    )
    assert [(each["state"], each["node"]) for each in status["replicas"]] == [("ready", "oak")]

    updated = await world.json(deploying.serve, "writer@v2", "--name", "chat", *SMALL, "-y")
    assert (updated["version"], updated["state"]) == (TWO.text, "ready")
    assert TWO.text[-deploying.SHORT :] in (await world.type(deploying.deployments)).stdout
    assert "oak" in (await world.type(deploying.deployments, "chat")).stdout

    scaled = await world.json(deploying.scale, "chat", "--max", "3")
    bounds = scaled["deployment"]["scale"]
    assert (bounds["min_replicas"], bounds["max_replicas"]) == (1, 3)
    assert "served no more" in (await world.type(deploying.undeploy, "chat")).stdout
    assert "no model is served" in (await world.type(deploying.deployments)).stdout


async def test_a_version_that_does_not_start_fails_the_command_and_the_old_one_serves_on(
    world: World,
) -> None:
    await world.type(deploying.serve, "writer@stable", *SMALL, "-y")
    failed = await world.type(deploying.serve, "writer@v3", *SMALL, "-y")
    assert failed.return_value == 1
    assert "expected one file .gguf" in failed.stderr
    [status] = await world.json(deploying.deployments)
    assert (status["version"], status["target"]) == (ONE.text, BROKEN.text)


async def test_what_cannot_be_is_refused_and_changes_nothing(world: World) -> None:
    async def refused(kind: type[FarlaneError], words: str, command: click.Command, *arguments: str) -> None:
        with pytest.raises(kind, match=words):
            await world.type(command, *arguments)

    serve = deploying.serve
    await refused(NotFound, "writer", serve, "wrter", "-y")
    await refused(NotFound, "champion", serve, "writer@champion", "-y")
    await refused(InvalidInput, "leave out", serve, "writer", "-y", "--replicas", "2", "--max", "3")
    await refused(InvalidInput, "expected 1 or more", serve, "writer", "-y", "--replicas", "0")
    await refused(InvalidInput, "cannot be", serve, "writer", "-y", "--min", "3", "--max", "2")
    await refused(InvalidInput, "NAME=VALUE", serve, "writer", "-y", "--option", "streams")
    await refused(InvalidInput, "canary_percent", serve, "writer", "-y", "--canary", "100")
    await refused(Unavailable, "-y", serve, "writer")
    await refused(InvalidInput, "how many", deploying.scale, "writer")
    await refused(NotFound, "writer", deploying.scale, "writer", "--replicas", "2")
    await refused(NotFound, "writer", deploying.undeploy, "writer")
    await refused(NotFound, "writer", deploying.deployments, "writer")
    assert await world.json(deploying.deployments) == []


async def test_only_who_deployed_a_model_and_administrators_change_it(world: World) -> None:
    await world.type(deploying.serve, "writer@stable", *SMALL, "-y", "-d")
    for command, arguments in ((deploying.scale, ("--replicas", "2")), (deploying.undeploy, ())):
        with pytest.raises(PermissionRefused, match="lab/ada"):
            await world.type(command, "writer", *arguments, publisher="lab/bob")
    with pytest.raises(PermissionRefused, match="lab/ada"):
        await world.type(deploying.serve, "writer@v2", "-y", "-d", publisher="lab/bob")
    async with world.hub.client("lab/carol", admin=True) as client:
        desk = DeploymentClient(client.connection)
        assert (await desk.scale("writer", 0, 2)).deployment.publisher == "lab/ada"
        assert (await desk.undeploy("writer")).state == "removed"
    async with world.hub.client("other/dan", "other") as client:
        assert await DeploymentClient(client.connection).list() == []


async def test_a_quote_names_the_version_and_what_an_hour_costs(world: World) -> None:
    async with world.hub.client() as client:
        wanted = Deployment(name="chat", model="writer@stable", resources=Resources(100, 384 << 20, 0))
        found = await DeploymentClient(client.connection).quote(wanted)
        assert found.version == ONE.text
        assert found.replicas == 1
        assert found.quote.upper_bound > 0
        assert found.quote.upper_bound <= 24 * found.hourly_upper_bound < found.quote.upper_bound + 24
        assert await DeploymentClient(client.connection).list() == []


async def test_a_model_for_a_runtime_that_no_node_has_waits_and_one_for_none_is_refused(world: World) -> None:
    raw = encode(small_manifest(name="other", files=(model_file("weights.onnx"),), runtime="elsewhere"))
    world.put("other", raw)
    told = await world.type(deploying.serve, "other", "-y", "-d")
    assert "no node can serve it now" in told.stderr
    assert "serve.elsewhere=yes" in told.stderr
    world.put("notes", encode(small_manifest(name="notes", files=(model_file("notes.txt"),))))
    with pytest.raises(InvalidInput, match=r"no runtime knows the files in notes"):
        await world.type(deploying.serve, "notes", "-y")
