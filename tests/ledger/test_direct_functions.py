"""Python functions by direct calls: same pickles as through a hub, opened here only where the node is trusted."""

from __future__ import annotations

import pickle
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.resources import GpuKind, GpuRequest, Resources
from farlane.errors import InvalidInput, InvalidJob, NotFound, PermissionRefused, TaskError, TooLarge
from farlane.ledger.accounts import Address
from farlane.ledger.leaf import gpu_digest
from farlane.ledger.receipt import from_json, to_json, verify
from farlane.sdk.direct_nodes import cheapest
from farlane.sdk.direct_task import command_task, function_task
from farlane.sdk.functions import App
from farlane.testing.direct_world import SMALL, DirectWorld, direct_world

pytestmark = pytest.mark.real
MIB = 1 << 20
app = App("direct-tests")


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        yield found


def power(base: int, *, exponent: int) -> int:
    print("at work")
    return int(base**exponent)


def fails(words: str) -> None:
    raise KeyError(words)


async def test_a_function_runs_on_a_node_and_its_value_needs_trust(world: DirectWorld) -> None:
    def trusted(node: Address) -> bool:
        return node == world.node.address

    async with world.serving() as node:
        publisher = world.publisher(node)
        run = await publisher.run(function_task(power, (3,), {"exponent": 4}, resources=SMALL, timeout_s=20))
        assert (run.failure, run.stdout, run.node) == (None, b"at work\n", world.node.address)
        with pytest.raises(PermissionRefused, match="not trusted"):
            run.result()
        assert run.result(trusted) == 81
        assert pickle.loads(run.value) == 81
        receipt = from_json(to_json(run.receipt))
        assert [one.message for one in verify(receipt) if not one.ok] == []
        assert receipt.leaf.input != bytes(32)
        again = await publisher.run(
            function_task(power, (2,), {"exponent": 3}, resources=SMALL, timeout_s=20)
        )
        assert again.result(trusted) == 8
        assert again.leaf.input != run.leaf.input


async def test_what_a_function_raises_is_raised_here_where_the_node_is_trusted(world: DirectWorld) -> None:
    async with world.serving() as node:
        run = await world.publisher(node).run(
            function_task(fails, ("no such thing",), resources=SMALL, timeout_s=20)
        )
    assert run.leaf.amount_nano > 0
    with pytest.raises(TaskError, match="blame: publisher") as stranger:
        run.result()
    assert "no such thing" in stranger.value.facts["traceback"]  # type: ignore[operator]
    with pytest.raises(KeyError, match="no such thing"):
        run.result(lambda node: True)


async def test_a_decorated_function_brings_its_options(world: DirectWorld) -> None:
    @app.function(cpu=0.5, memory="200MB", disk="50MB", timeout=7, env={"COLOUR": "green"})
    def colour() -> str | None:
        import os

        return os.environ.get("COLOUR")

    task = function_task(colour)
    assert task.spec.resources.cpu_milli == 500
    assert (task.spec.timeout_ms, task.spec.name) == (7000, colour.name)
    async with world.serving() as node:
        run = await world.publisher(node).run(task)
    assert run.result(lambda node: True) == "green"


async def test_what_cannot_be_sent_or_installed_is_refused(world: DirectWorld) -> None:
    @app.function(requires=["numpy"])
    def needs() -> None:
        """Need a package."""

    with pytest.raises(InvalidJob, match="install no packages"):
        function_task(needs)
    with pytest.raises(InvalidJob, match="cannot be pickled"):
        function_task(len, (threading.Lock(),))
    async with world.serving() as node:
        publisher = world.publisher(node)
        with pytest.raises(TooLarge, match="through a hub"):
            await publisher.run(function_task(len, (bytes(5 * MIB),), resources=SMALL, timeout_s=20))
        large = await publisher.run(function_task(bytes, (5 * MIB,), resources=SMALL, timeout_s=20))
        assert large.failure is not None
        assert large.failure.kind == "result-too-large"
        task = function_task(len, ("x",), resources=SMALL, timeout_s=20)
        assert task.spec.function is not None
        old = replace(task, spec=replace(task.spec, function=replace(task.spec.function, python="3.2")))
        with pytest.raises(InvalidInput, match=r"Python 3\.2"):
            await publisher.run(old)
        with pytest.raises(NotFound, match="fits on none"):
            cheapest([node], old.spec)
        forged = replace(task, function=b"another pickle")
        with pytest.raises(InvalidInput, match="not the one"):
            await publisher.run(forged)
        medium = await publisher.run(function_task(len, (bytes(MIB),), resources=SMALL, timeout_s=20))
        assert medium.result(lambda node: True) == MIB


async def test_a_task_gets_gpus_of_the_nodes_share_and_pays_for_them(world: DirectWorld) -> None:
    kinds = (GpuKind("T4", 16 << 30), GpuKind("A100", 80 << 30), GpuKind("A100", 80 << 30))
    wanted = Resources(250, 128 * MIB, 64 * MIB, GpuRequest(2, "A100"))
    task = command_task("echo $CUDA_VISIBLE_DEVICES", resources=wanted, timeout_s=20)
    async with world.serving(devices=tuple(enumerate(kinds))) as node:
        assert cheapest([node], task.spec) is node
        run = await world.publisher(node).run(task)
        assert run.stdout == b"1,2\n"
        assert (run.leaf.gpu, run.leaf.gpu_count) == (gpu_digest("A100"), 2)
        plain = command_task("true", resources=SMALL, timeout_s=20)
        publisher = world.publisher(node)
        assert publisher.quote_ceiling(task) == publisher.quote_ceiling(plain) + 20 * 2 * 2_000_000
        assert all(one.ok for one in verify(run.receipt))
        again = await publisher.run(task)  # the devices were given back
        assert again.stdout == run.stdout
    async with world.serving() as node:
        with pytest.raises(InvalidInput, match="offers no such devices"):
            world.publisher(node).quote_ceiling(task)
