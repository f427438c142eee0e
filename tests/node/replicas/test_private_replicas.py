"""A private model on nodes that fetch it from the hub: one reads it, and nowhere else does it lie in clear."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from farlane.app.shared_models import models_of
from farlane.demo.novelist import shipped_model
from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.inference import GeneratePiece, GenerateRequest, Sampling
from farlane.domain.resources import Resources
from farlane.hub.deployments.desk import Deployments
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.clock import SystemClock
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import DAG_PB, RAW, Cid
from farlane.models.private.recipients import new_recipient_key, recipient_key
from farlane.models.private.versions import add_private, revoke, share
from farlane.models.repository import Repository
from farlane.models.version_blocks import digests_of
from farlane.node.agent import NodeAgent
from farlane.node.replicas.opening import OPENED
from farlane.node.settings import NodeSettings
from farlane.testing.in_clear import in_clear
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")
QUESTION = GenerateRequest(prompt="It is", sampling=Sampling(max_tokens=4, temperature=0.0))
OWN = new_recipient_key()
LAB = Author("lab", "ada")
NAME = "lab/secret"


class World:
    """A hub with a private model, and nodes that have nothing in common with it but the network."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.ports = directory, {"oak": free_port(), "elm": free_port()}
        self.kept = Repository(DiskBlockStore(directory / "blocks"), Catalog(MemoryRows()))
        self.hub = RunningHub(directory / "hub", models=self.kept)

    @property
    def desk(self) -> Deployments:
        assert self.hub.service.deployments is not None
        return self.hub.service.deployments

    def publish(self, *nodes: str) -> Version:
        """Add the model, for these nodes to read."""
        readers = [recipient_key(self.directory / name).recipient for name in nodes]
        return add_private(self.kept, shipped_model("novelist"), NAME, readers, OWN, author=LAB).version

    @contextlib.asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[None]:
        """Run a node with a cache of its own inside the block."""
        settings = NodeSettings(
            directory=self.directory / name, name=name, memory="1GiB", disk="64MiB", cache="32MiB",
            blocks_listen=f"127.0.0.1:{self.ports[name]}",
        )  # fmt: skip
        host, models = models_of(settings)
        agent = NodeAgent(settings, self.hub.url, self.hub.token("node", "", "lab"), host=host, models=models)
        work = asyncio.create_task(agent.run())
        try:
            before = len(self.hub.hub.sessions.nodes)
            await until(lambda: len(self.hub.hub.sessions.nodes) > before)
            yield
        finally:
            agent.stop()
            await work

    def deploy(self) -> None:
        self.desk.set(
            Deployment(
                name="secret", model=NAME, organisation="lab", publisher="lab/ada",
                resources=Resources(100, 384 << 20, 0), scale=ScalePolicy(cold_start_s=100),
            )
        )  # fmt: skip

    async def served(self) -> str:
        """Wait until the model answers; return on which node."""
        await until(lambda: self.desk.record("lab/secret").state() is DeploymentState.READY)
        return await self.asked()

    async def asked(self) -> str:
        """Ask the model something; return the only node that answers."""
        router = DeploymentRouter(self.desk, SystemClock())
        answer = router.infer(
            Caller("lab", "lab/ada", "k"), "secret", None, QUESTION, request_id="r", timeout_s=60
        )
        assert any([isinstance(reply, GeneratePiece) async for reply in answer])
        await until(
            lambda: len(self.desk.route("lab/secret").sessions) == 1
        )  # an old one may still say goodbye
        (session,) = self.desk.route("lab/secret").sessions.values()
        return self.hub.hub.reactor.state.nodes[session.node].spec.name

    def in_clear(self) -> set[str]:
        """Return the folders of which some file has what the model's largest file has in its middle."""
        found = in_clear(self.directory, shipped_model("novelist"))
        return {"/".join(path.parts[:2]) for path in found}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    async with world.hub:
        yield world


async def test_the_node_that_reads_it_fetches_and_serves_it_and_no_other_gets_a_block(world: World) -> None:
    version = world.publish("elm")
    async with world.node("oak"), world.node("elm"):
        world.deploy()
        assert await world.served() == "elm"
        assert world.in_clear() == {f"elm/{OPENED}"}
        digests = digests_of(world.kept.blocks, version.manifest, world.kept.manifest(version))
        await refused_by("127.0.0.1", world.ports["elm"], digests)
        held = DiskBlockStore(world.directory / "oak" / "models" / "blocks")
        assert not any(held.has(Cid(1, RAW, digest)) for digest in digests)
        held.close()
        world.desk.remove("lab/secret")
        await until(lambda: world.in_clear() == set())


async def refused_by(host: str, port: int, digests: frozenset[bytes]) -> None:
    """Ask a block server for everything without a ticket, in every way there is."""
    async with aiohttp.ClientSession(f"http://{host}:{port}") as http:
        for digest in digests:
            for codec, kind in ((RAW, "raw"), (DAG_PB, "raw"), (DAG_PB, "car")):
                cid = Cid(1, codec, digest).text
                for ticket in ({}, {"Authorization": "Bearer nonsense"}):
                    async with http.get(f"/ipfs/{cid}?format={kind}", headers=ticket) as reply:
                        assert reply.status == 401


async def test_a_version_that_no_node_reads_leaves_the_old_one_serving_and_says_why(world: World) -> None:
    world.publish("elm")
    async with world.node("elm"):
        world.deploy()
        assert await world.served() == "elm"
        revoke(world.kept, NAME, [recipient_key(world.directory / "elm").recipient], OWN, author=LAB)
        await until(lambda: "no node can read it" in world.desk.record("lab/secret").reason())
        assert await world.asked() == "elm"


async def test_an_alias_that_moves_to_a_version_for_another_node_moves_the_replica_there(
    world: World,
) -> None:
    world.publish("elm")
    async with world.node("oak"), world.node("elm"):
        world.deploy()
        assert await world.served() == "elm"
        oak = recipient_key(world.directory / "oak").recipient
        elm = recipient_key(world.directory / "elm").recipient
        share(world.kept, NAME, [oak], OWN, author=LAB)
        newest = revoke(world.kept, NAME, [elm], OWN, author=LAB).version
        await until(lambda: world.desk.record("lab/secret").serving == newest.manifest.text)
        assert await world.served() == "oak"
        await until(lambda: world.in_clear() == {f"oak/{OPENED}"})
