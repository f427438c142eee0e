"""One node process that works for a hub and serves direct calls, each on its own share of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest

from farlane.domain.jobs import CommandWork, JobSpec, TaskState
from farlane.domain.resources import Resources
from farlane.errors import InvalidInput, InvalidSetting
from farlane.kit.files import private_directory
from farlane.ledger.accounts import PrivateKey, parse_address
from farlane.ledger.delegations import delegation_to_json, sign_delegation
from farlane.ledger.deploy import deployment_to_json
from farlane.ledger.network_registry import EntryKind, Listing, NetworkRegistry
from farlane.ledger.typed_data import Domain
from farlane.node.agent import NodeAgent
from farlane.node.books.signing import load_head_key
from farlane.node.settings import NodeSettings
from farlane.sdk.direct_nodes import FoundNode, by_key, find_nodes
from farlane.sdk.direct_task import command_task
from farlane.testing.direct_world import ETHER, FAUCET, SMALL, DirectWorld, direct_world
from farlane.testing.scripted_hub import ORGANISATION, ScriptedHub, scripted_hub
from farlane.wire.nodes import node_spec_from_wire

pytestmark = pytest.mark.real
MIB = 1 << 20


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        (tmp_path / "net.json").write_bytes(deployment_to_json(found.deployment))
        yield found


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "hub") as found:
        yield found


@pytest.fixture
def settings(world: DirectWorld, anvil_url: str, tmp_path: Path, unused_port: int) -> NodeSettings:
    return NodeSettings(
        directory=private_directory(tmp_path / "agent"), name="both", cpu=2.0, memory="2GiB", disk="256MiB",
        cache="32MiB", gpus="none", rpc=(anvil_url,), network_file=tmp_path / "net.json",
        direct_listen=f"127.0.0.1:{unused_port}", direct_endpoint=f"https://127.0.0.1:{unused_port}",
        direct_allow=(world.payer.address,), direct_cpu=0.75, direct_memory="512MiB", direct_disk="128MiB",
    )  # fmt: skip


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(settings: NodeSettings, hub: ScriptedHub) -> AsyncIterator[NodeAgent]:
    agent = NodeAgent(settings, hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await work


async def found_node(world: DirectWorld, key: str) -> FoundNode:
    """Wait until a node has listed itself and answers."""
    async with asyncio.timeout(30):
        while True:
            nodes, _ = await find_nodes(world.rpc, world.deployment)
            if any(one.entry.key == key for one in nodes):
                return by_key(nodes, parse_address(key))
            await asyncio.sleep(0.05)


def command_job(run: str) -> JobSpec:
    return JobSpec(
        name="job", command=CommandWork(run), resources=Resources(1000, 256 * MIB, 0), timeout_ms=20_000,
        organisation=ORGANISATION, publisher="ada",
    )  # fmt: skip


async def test_one_process_serves_a_hub_and_publishers(
    settings: NodeSettings, hub: ScriptedHub, world: DirectWorld
) -> None:
    key = load_head_key(settings.directory)
    await world.ledger.pay_gas(FAUCET, key.address, ETHER)
    async with running(settings, hub):
        stream = await hub.joined()
        offered = node_spec_from_wire((await stream.receive("hello")).hello.spec).capacity
        assert (offered.cpu_milli, offered.memory_bytes) == (1250, 1536 * MIB)
        node = await found_node(world, key.address)
        share = node.terms.spec.capacity
        assert (share.cpu_milli, share.memory_bytes) == (750, 512 * MIB)
        go = world.root / "go"
        await stream.lease(1, command_job(f"until [ -e {go} ]; do :; done"), [cloudpickle.dumps(((), {}))])
        # While the hub's task runs, and although it has what is the hub's, the share of direct calls is free.
        publisher = world.publisher(node)
        run = await publisher.run(command_task("echo beside", resources=SMALL, timeout_s=20))
        assert run.stdout == b"beside\n"
        with pytest.raises(InvalidInput, match="share for direct calls"):
            await publisher.run(command_task("true", resources=replace(SMALL, cpu_milli=1000), timeout_s=5))
        go.touch()
        ((state, _, _),) = (await stream.results(1)).values()
        assert state == TaskState.DONE
    assert await world.ledger.balance(key.address) == run.leaf.amount_nano
    outboxes = [file.name for file in settings.directory.glob("*claims-*.db")]
    assert outboxes == [f"claims-{world.deployment.chain_id}.db"]  # one for the one key


async def test_the_nodes_delegation_counts_for_direct_calls_too(
    settings: NodeSettings, hub: ScriptedHub, world: DirectWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    key, cold = load_head_key(settings.directory), await world.rich(0)
    await world.ledger.pay_gas(FAUCET, key.address, ETHER)
    signed = sign_delegation(world.ledger.domain, cold, key.address, 2**40)
    (tmp_path / "delegation.json").write_bytes(delegation_to_json(signed))
    settings = replace(settings, provider=cold.address, delegation=tmp_path / "delegation.json")
    async with running(settings, hub):
        await hub.joined()
        await _list_as_told(world, cold, caplog)
        node = await found_node(world, key.address)
        run = await world.publisher(node).run(command_task("true", resources=SMALL, timeout_s=20))
        assert run.receipt.channel.provider == cold.address
    assert await world.ledger.balance(cold.address) == run.leaf.amount_nano


async def test_publishers_may_be_on_another_chain_than_the_hub(
    settings: NodeSettings, hub: ScriptedHub, world: DirectWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    key, cold = load_head_key(settings.directory), await world.rich(0)
    await world.ledger.pay_gas(FAUCET, key.address, ETHER)
    signed = sign_delegation(world.ledger.domain, cold, key.address, 2**40)
    (tmp_path / "there.json").write_bytes(delegation_to_json(signed))
    apart = replace(
        settings, rpc=None, network_file=None, direct_rpc=settings.rpc, direct_network_file=settings.network_file,
        direct_delegation=tmp_path / "there.json",
    )  # fmt: skip
    async with running(apart, hub):
        stream = await hub.joined()
        account = (await stream.receive("hello")).hello.account
        assert account.provider == key.address  # for the hub's books the delegation does not count
        await _list_as_told(world, cold, caplog)
        run = await world.publisher(await found_node(world, key.address)).run(
            command_task("true", resources=SMALL, timeout_s=20)
        )
        assert run.receipt.channel.provider == cold.address
    assert await world.ledger.balance(cold.address) == run.leaf.amount_nano


async def _list_as_told(world: DirectWorld, cold: PrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    """List the node by what its log says."""
    words = (await _until_said(caplog, "register-node")).split()
    given = {flag: words[words.index(flag) + 1].strip("`") for flag in words if flag.startswith("--")}
    registry = NetworkRegistry(world.rpc, world.deployment)
    listing = Listing(given["--endpoint"], bytes.fromhex(given["--tls-key-hash"]))
    word = bytes.fromhex(given["--node-signature"])
    await registry.list_signed(cold, EntryKind.NODE, parse_address(given["--node"]), listing, word)


async def test_two_networks_of_one_chain_are_refused(settings: NodeSettings, hub: ScriptedHub) -> None:
    twice = replace(settings, direct_rpc=settings.rpc, direct_network_file=settings.network_file)
    with pytest.raises(InvalidSetting, match="leave it"):
        await NodeAgent(twice, hub.url, hub.token()).run()


async def test_a_delegation_for_another_network_serves_nobody(
    settings: NodeSettings, hub: ScriptedHub, world: DirectWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    key, domain = load_head_key(settings.directory), world.ledger.domain
    elsewhere = Domain(domain.chain_id + 1, domain.contract, domain.network)
    signed = sign_delegation(elsewhere, PrivateKey.generate(), key.address, 2**40)
    (tmp_path / "delegation.json").write_bytes(delegation_to_json(signed))
    async with running(replace(settings, delegation=tmp_path / "delegation.json"), hub):
        await hub.joined()
        assert "is for network" in await _until_said(caplog, "direct calls are not served")


async def _until_said(caplog: pytest.LogCaptureFixture, words: str) -> str:
    async with asyncio.timeout(30):
        while True:
            for record in caplog.records:
                if words in record.getMessage():
                    return record.getMessage()
            await asyncio.sleep(0.02)


async def test_a_chain_that_is_away_does_not_keep_the_hub_waiting(
    settings: NodeSettings, hub: ScriptedHub, unused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    away = replace(settings, rpc=(f"http://127.0.0.1:{unused_port}",))
    async with running(away, hub):
        stream = await hub.joined()
        await stream.lease(1, command_job("echo hub"), [cloudpickle.dumps(((), {}))])
        ((state, _, _),) = (await stream.results(1)).values()
        assert state == TaskState.DONE
        assert json.dumps(await _until_said(caplog, "direct calls cannot be served yet"))


async def test_a_drained_node_finishes_what_runs_for_publishers(
    settings: NodeSettings, hub: ScriptedHub, world: DirectWorld, tmp_path: Path
) -> None:
    key = load_head_key(settings.directory)
    await world.ledger.pay_gas(FAUCET, key.address, ETHER)
    agent = NodeAgent(settings, hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    await hub.joined()
    node = await found_node(world, key.address)
    begun, go = asyncio.Event(), tmp_path / "go"
    run = asyncio.ensure_future(
        world.publisher(node).run(
            command_task(
                f"echo begun; until [ -e {go} ]; do :; done; echo done", resources=SMALL, timeout_s=20
            ),
            on_output=lambda stream, data: begun.set(),
        )
    )
    async with asyncio.timeout(20):
        await begun.wait()
    agent.drain()
    go.touch()
    assert (await run).stdout == b"begun\ndone\n"
    async with asyncio.timeout(30):
        await work
    assert await world.ledger.balance(key.address) == (await run).leaf.amount_nano
