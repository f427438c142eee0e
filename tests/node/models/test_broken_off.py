"""Fetches that are broken off: what came is kept, and later the rest alone is fetched."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from farlane.errors import DiskFull
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.catalog.values import Version
from farlane.models.cid import parse_cid
from farlane.testing.model_nodes import ModelNode, read_folder
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

MakeNode = Callable[..., ModelNode]
Publish = Callable[..., Version]
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 16 MiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(mount)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted (needs root): {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def blocks_written(directory: Path) -> int:
    """Return how many blocks lie in files that are not whole, below a node's directory."""
    bits = (path.read_bytes()[DIGEST_BYTES:] for path in directory.glob("blocks/partial/*.done"))
    return sum(int.from_bytes(one).bit_count() for one in bits)


@pytest.mark.real
async def test_a_full_disk_keeps_what_came_and_later_the_rest_is_fetched(
    hub: RunningHub, publish: Publish, small_disk: Path
) -> None:
    # Small files are cut every MiB.
    content = {f"part-{number}": Random(number).randbytes(3 * MIB) for number in range(4)}
    version = publish(content).manifest.text
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 * MIB))
    directory = small_disk / "models"
    async with ModelNode(hub, directory) as node:
        with pytest.raises(DiskFull):
            await node.fetch(version)
        kept = blocks_written(directory)
        assert 1 <= kept < 12
        before = node.cache.figures.hub
        ballast.unlink()
        assert await node.fetch(version) == content
        assert (12 - kept) * MIB <= node.cache.figures.hub - before < (12 - kept) * MIB + MIB


async def test_a_budget_that_a_version_does_not_fit_into_is_said_so(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node(max_bytes=8 * MIB) as one:
        with pytest.raises(DiskFull, match="raise its budget"):
            await one.fetch(version)
        assert one.held[-1] == ()


async def test_versions_make_room_for_one_another(node: MakeNode, publish: Publish) -> None:
    versions = [publish({"weights.bin": Random(seed).randbytes(3 * MIB)}).manifest.text for seed in range(3)]
    async with node(max_bytes=7 * MIB) as one, one.cache.hold(versions[0]) as folder:
        for version in versions[1:]:
            await one.fetch(version)
        assert set(one.held[-1]) == {versions[0], versions[2]}
        assert read_folder(folder)["weights.bin"] == Random(0).randbytes(3 * MIB)


async def test_a_fetch_that_nobody_wants_any_more_keeps_what_came(
    node: MakeNode, version: str, content: dict[str, bytes], tmp_path: Path
) -> None:
    directory = tmp_path / "nodes" / "n1"
    async with node() as one:
        fetching = asyncio.ensure_future(one.fetch(version))
        await until(lambda: blocks_written(directory) >= 2)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        before, size = one.cache.figures.hub, sum(map(len, content.values()))
        assert not list((directory / "folders").glob("*"))
        assert await one.fetch(version) == content
        assert one.cache.figures.hub - before < size


async def test_a_node_leaves_a_swarm_that_nobody_uses(hub: RunningHub, node: MakeNode, version: str) -> None:
    members = hub.service.swarms.members
    async with node(idle_s=0.2) as one:
        await one.fetch(version)
        await until(lambda: not members(parse_cid(version)))
        async with one.cache.hold(version):
            await until(lambda: members(parse_cid(version)) == {"id-n1"})
