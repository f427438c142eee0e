"""A replica goes where its version is: real nodes, of which one has fetched it, on a real hub."""

from __future__ import annotations

import asyncio
from pathlib import Path

from farlane.domain.deployments import Deployment, DeploymentState, ScalePolicy
from farlane.domain.resources import Resources
from farlane.kit.clock import SystemClock
from farlane.node.agent import NodeAgent
from farlane.node.models.cache_settings import CacheSettings
from farlane.node.models.model_cache import ModelCache
from farlane.node.settings import NodeSettings
from farlane.testing.echo_replica import EchoHost
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until


class Machine:
    """A node like every other one."""

    def __init__(self, hub: RunningHub, directory: Path, name: str, version: str) -> None:
        settings = NodeSettings(
            directory=directory / name, name=name, cpu=1.0, memory="512MiB", disk="64MiB", cache="32MiB"
        )
        self.host = EchoHost(version)
        self.cache = ModelCache(
            CacheSettings(directory / name / "models", 1 << 30, None, None), KeyedHashSigner.recover, SystemClock()
        )  # fmt: skip
        token = hub.token("node", "", "lab")
        self.agent = NodeAgent(settings, hub.url, token, host=self.host, models=self.cache)


async def test_of_two_equal_nodes_the_one_that_has_the_model_gets_the_replica(
    hub: RunningHub, version: str, tmp_path: Path
) -> None:
    first, second = (Machine(hub, tmp_path, name, version) for name in ("first", "second"))
    work = []
    for machine in (first, second):
        joined = len(hub.hub.sessions.nodes)
        work.append(asyncio.create_task(machine.agent.run()))
        await until(lambda joined=joined: len(hub.hub.sessions.nodes) > joined)
    try:
        async with second.cache.hold(version):
            pass
        nodes = hub.hub.reactor.state.nodes
        await until(lambda: any(node.held_versions == (version,) for node in nodes.values()))
        desk = hub.service.deployments
        assert desk is not None
        desk.set(
            Deployment(
                name="chat", model=version, organisation="lab", publisher="lab/ada", runtime="echo",
                resources=Resources(100, 16 << 20, 0), scale=ScalePolicy(min_replicas=1, max_replicas=1),
            )
        )  # fmt: skip
        await until(lambda: desk.record("lab/chat").state() is DeploymentState.READY)
        assert (len(first.host.replicas), len(second.host.replicas)) == (0, 1)
    finally:
        for machine in (first, second):
            machine.agent.stop()
        await asyncio.gather(*work)
