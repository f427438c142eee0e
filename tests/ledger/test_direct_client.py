"""`farlane.DirectClient`: the example of the how-to, typed for real, and what else it promises."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import farlane
from farlane.errors import InsufficientFunds, NotFound, PermissionRefused
from farlane.ledger.deploy import deployment_to_json
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.sdk.direct_client import AsyncDirectClient
from farlane.testing.direct_world import DirectWorld, direct_world

pytestmark = pytest.mark.real
PAGE = Path(__file__).resolve().parents[2] / "docs/howto/without-a-hub.md"
app = farlane.App("direct-client")


@app.function(cpu=0.25, memory="128MB", disk="64MB", timeout=20)
def square(number: int) -> int:
    return number * number


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        (tmp_path / "net.json").write_bytes(deployment_to_json(found.deployment))
        yield found


async def test_calls_and_maps_from_a_script(world: DirectWorld, anvil_url: str) -> None:
    def use() -> None:
        with farlane.DirectClient(
            world.root / "net.json", anvil_url, world.payer, directory=world.root / "channels",
            trust=lambda node: node == world.node.address,
        ) as client:  # fmt: skip
            assert [one.entry.key for one in client.nodes()] == [world.node.address]
            assert client.call(square, (7,)).result() == 49
            assert [run.result() for run in client.map(square, range(9))] == [n * n for n in range(9)]
            assert (
                client.run("echo hi", cpu=0.25, memory="128MB", disk="64MB", timeout_s=20).stdout == b"hi\n"
            )
            assert client.map(square, []) == []
            with pytest.raises(InsufficientFunds, match="are allowed"):
                client.call(square, (1,), max_price="0.000000001")
            with pytest.raises(NotFound):
                client.call(square, (1,), node=world.payer.address)

    def ask_for_a_bond() -> None:
        with farlane.DirectClient(
            world.root / "net.json", anvil_url, world.payer, directory=world.root / "channels", min_bond="0.5"
        ) as client:
            assert client.nodes() == []

    async with world.serving():
        await asyncio.to_thread(ask_for_a_bond)
        await asyncio.to_thread(use)
        before = await world.rpc.quantity("eth_blockNumber")
        await asyncio.to_thread(use)
        assert (
            await world.rpc.quantity("eth_blockNumber") - before < 6
        )  # a deposit is made once for a whole map


async def test_no_node_is_trusted_unless_it_is_said(world: DirectWorld, anvil_url: str) -> None:
    directory = world.root / "channels"
    async with (
        world.serving(),
        AsyncDirectClient(world.root / "net.json", anvil_url, world.payer, directory=directory) as client,
    ):
        from farlane.sdk.direct_task import function_task

        run = await client.run(function_task(square, (7,)))
        with pytest.raises(PermissionRefused, match="not trusted"):
            run.result()


async def test_the_example_of_the_how_to_runs(world: DirectWorld, anvil_url: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    ring = KeyRing(world.root / "keys")
    ring.add("me", world.payer, Password(b"a sentence for tests", random=True))
    (world.root / "password").write_bytes(b"a sentence for tests")
    (world.root / "password").chmod(0o600)
    script = example.replace("http://127.0.0.1:8545", anvil_url).replace("0xNODE", world.node.address)
    assert script != example
    (world.root / "example.py").write_text(script)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(farlane.__file__).parents[1]),
        "FARLANE_KEYS": str(world.root / "keys"),
        "FARLANE_KEY_PASSWORD_FILE": str(world.root / "password"),
        "FARLANE_DIR": str(world.root / "data"),
    }
    async with world.serving():
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "example.py"], cwd=world.root, env=environment, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "49"
    assert (world.root / "receipt.json").exists()
