"""A hub, nodes and replicas with real processes: deployed, asked, killed, updated, and found again after a restart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.inference import GeneratePiece, GenerateRequest
from farlane.errors import ConnectionLost, Unavailable
from farlane.hub.deployments import scaling
from farlane.hub.deployments.routing import DeploymentRouter
from farlane.hub.gateway.port import Caller
from farlane.kit.cid import cid_of
from farlane.kit.clock import SystemClock
from farlane.testing.echo_replica import EchoHost
from farlane.testing.serving_world import ADA, ID, NEW, OLD, ServingWorld
from farlane.testing.waiting import until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ServingWorld]:
    async with ServingWorld(tmp_path).running() as world:
        yield world


async def test_a_deployed_model_answers_in_pieces(world: ServingWorld) -> None:
    world.deploy()
    pieces = await world.ask()
    assert [piece.text for piece in pieces] == ["to ", "be ", "or ", "not ", OLD]
    assert (pieces[-1].prompt_tokens, pieces[-1].completion_tokens) == (4, 4)


async def test_a_killed_replica_costs_no_request_that_had_not_begun(world: ServingWorld) -> None:
    world.deploy(2)
    await until(lambda: world.ready(2))
    os.kill(world.host.replicas[0].pid, signal.SIGKILL)
    for _ in range(10):
        assert (await world.ask())[-1].text == OLD
    await until(lambda: world.ready(2))


async def test_a_replica_killed_in_the_middle_ends_its_answer_with_an_error(world: ServingWorld) -> None:
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


async def test_an_alias_that_moves_under_load_fails_no_request(world: ServingWorld) -> None:
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


async def test_a_version_that_nobody_has_leaves_the_old_one_serving(world: ServingWorld) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    world.names.stable = cid_of(b"missing")
    for _ in range(20):
        assert (await world.ask())[-1].text == OLD


async def test_a_replica_that_fits_nowhere_says_why_to_owner_and_clients(world: ServingWorld) -> None:
    world.deploy(memory=1 << 40, cold_start_s=0.2)
    await until(lambda: "waits for a node" in world.desk.record(ID).reason())
    with pytest.raises(Unavailable, match=r"waits for a node: .*memory"):
        await world.ask()


async def test_replicas_outlive_a_restart_of_the_hub(world: ServingWorld) -> None:
    world.deploy()
    await until(lambda: world.ready(1))
    pids = [replica.pid for replica in world.host.replicas]
    await world.hub.restart()
    assert (await world.ask())[-1].text == OLD
    assert [replica.pid for replica in world.host.replicas] == pids


async def test_a_node_that_drains_is_left_without_a_failed_request(
    world: ServingWorld, tmp_path: Path
) -> None:
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


async def test_an_idle_deployment_has_no_replica_until_somebody_asks(world: ServingWorld) -> None:
    world.deploy(1, min_replicas=0, idle_s=0.5)
    assert (await world.ask())[-1].text == OLD
    await until(lambda: not world.host.replicas)
    assert (await world.ask())[-1].text == OLD


async def test_a_queue_brings_replicas_and_a_lull_takes_them_away_without_a_failure(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "SETTLE_S", 0.5)
    world.deploy(1, max_replicas=3, target_in_flight=1)
    await until(lambda: world.ready(1))
    world.host.replicas[0].paused.clear()
    asking = [asyncio.create_task(world.ask()) for _ in range(3)]
    await until(lambda: world.ready(3))
    world.host.replicas[0].paused.set()
    assert [(await each)[-1].text for each in asking] == [OLD] * 3
    await until(lambda: world.ready(1) and len(world.host.replicas) == 1)
    assert (await world.ask())[-1].text == OLD
    assert world.desk.route(ID).counts.failed == 0


async def test_a_client_that_goes_away_frees_the_replica(world: ServingWorld) -> None:
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


async def test_another_organisation_sees_nothing(world: ServingWorld) -> None:
    world.deploy()
    assert world.hub.service.deployments is not None
    router = DeploymentRouter(world.hub.service.deployments, SystemClock())
    assert [model.name for model in await router.models(ADA)] == ["chat"]
    assert await router.models(Caller("other", "other/bob", "k")) == []
