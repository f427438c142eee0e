"""How a whole node ends: drained, signalled, refused, or told before it began."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import TaskState
from farlane.domain.resources import Resources
from farlane.errors import Conflict, InvalidInput, Unauthenticated
from farlane.node.agent import NodeAgent, run_node
from farlane.node.settings import NodeSettings
from farlane.testing.busy_agent import (
    MIB,
    call,
    function_job,
    only_result,
    running,
)
from farlane.testing.scripted_hub import ScriptedHub, scripted_hub
from farlane.testing.waiting import until
from farlane.wire.v1 import node_pb2


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return NodeSettings(directory=tmp_path / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB")


async def test_a_drain_asked_for_by_the_hub_ends_in_a_farewell(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    agent = NodeAgent(settings, hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    stream = await hub.joined()
    await stream.lease(1, function_job(hub, time.sleep), [call(0.2)] * 8)
    await stream.send(drain=node_pb2.DrainRequest(hand_back=False))
    await stream.receive("draining")
    found = await stream.results(8)
    assert {state for state, _, _ in found.values()} == {TaskState.DONE}
    assert (await stream.receive("farewell")).farewell.reason == "drained"
    await asyncio.wait_for(work, 20)


async def test_sigterm_finishes_what_runs_and_hands_the_rest_back(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    whole = Resources(1000, 1024 * MIB, 0)

    def sleeps() -> str:
        print("begun", flush=True)
        time.sleep(0.5)
        return "done"

    work = asyncio.create_task(run_node(settings, hub.url, hub.token()))
    stream = await hub.joined()
    await stream.lease(1, function_job(hub, sleeps, resources=whole), [call()] * 3)
    await until(lambda: bool(stream.log))
    os.kill(os.getpid(), signal.SIGTERM)
    kinds = [failure.kind if failure else "done" for _, _, failure in (await stream.results(3)).values()]
    assert sorted(kinds) == ["done", FailureKind.HANDED_BACK, FailureKind.HANDED_BACK]
    await stream.receive("farewell")
    await asyncio.wait_for(work, 20)


async def test_what_outlasts_the_drain_is_handed_back(settings: NodeSettings, hub: ScriptedHub) -> None:
    async with running(replace(settings, drain_timeout_s=0.1), hub) as agent:
        stream = await hub.joined()

        def sleeps() -> None:
            print("begun", flush=True)
            time.sleep(60)

        await stream.lease(1, function_job(hub, sleeps), [call()])
        await until(lambda: bool(stream.log))
        agent.drain()
        _, _, kind, _ = await only_result(stream)
        await stream.receive("farewell")
    assert kind == FailureKind.HANDED_BACK


async def test_a_second_signal_ends_the_node_at_once(settings: NodeSettings, hub: ScriptedHub) -> None:
    work = asyncio.create_task(run_node(settings, hub.url, hub.token()))
    stream = await hub.joined()

    def sleeps() -> None:
        print("begun", flush=True)
        time.sleep(60)

    await stream.lease(1, function_job(hub, sleeps), [call()])
    await until(lambda: bool(stream.log))
    os.kill(os.getpid(), signal.SIGINT)
    await stream.receive("draining")
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(work, 20)
    await stream.ended.wait()
    assert not list((settings.directory / "scratch").iterdir())


async def test_a_node_keeps_its_identity_and_its_directory_to_itself(
    settings: NodeSettings, hub: ScriptedHub
) -> None:
    async with running(settings, hub):
        first = (await (await hub.joined()).receive("hello")).hello
        with pytest.raises(Conflict, match="only one process"):
            await NodeAgent(settings, hub.url, hub.token()).run()
    async with running(settings, hub):
        second = (await (await hub.joined()).receive("hello")).hello
    assert (first.spec.node, first.secret) == (second.spec.node, second.secret)
    assert (settings.directory / "node.json").stat().st_mode & 0o777 == 0o600


async def test_a_refused_node_ends_with_the_reason(settings: NodeSettings, hub: ScriptedHub) -> None:
    with pytest.raises(Unauthenticated, match="does not know the token"):
        await NodeAgent(settings, hub.url, hub.token(secret="x" * 40)).run()
    with pytest.raises(InvalidInput, match="not encrypted"):
        NodeAgent(settings, "http://127.0.0.1:1", hub.token())


async def test_a_stop_before_the_start_is_obeyed(settings: NodeSettings, hub: ScriptedHub) -> None:
    agent = NodeAgent(settings, hub.url, hub.token())
    agent.drain()
    await asyncio.wait_for(agent.run(), 20)


async def test_a_hub_away_does_not_hold_up_a_drain_for_ever(
    settings: NodeSettings, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.node.agent.LAST_WORD_S", 0.1)
    hub.auto_accept = False
    agent = NodeAgent(replace(settings, drain_timeout_s=0.1), hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    stream = await hub.joined()
    await stream.lease(1, function_job(hub, abs), [call(-1)])
    await stream.results(1)
    agent.drain()
    await asyncio.wait_for(work, 20)
