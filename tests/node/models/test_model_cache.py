"""The model cache on a real hub: what is lent, what is fetched, and what is not fetched again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from safetensors.numpy import save

from farlane.errors import InvalidInput, NotFound
from farlane.models.catalog.values import Version
from farlane.testing.model_nodes import ModelNode, read_folder
from farlane.testing.running_hub import RunningHub
from farlane.testing.tensor_files import weights
from farlane.testing.waiting import until

MakeNode = Callable[..., ModelNode]
Publish = Callable[..., Version]


async def test_a_version_is_fetched_and_lent_as_a_folder(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node() as one:
        async with one.cache.hold(version) as folder:
            assert read_folder(folder) == content
        assert not folder.exists()
        assert one.held[-1] == (version,)


async def test_what_was_fetched_is_there_for_the_next_time(
    hub: RunningHub, node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node() as one:
        await one.fetch(version)
    async with node() as again:
        assert again.held[-1] == (version,)
        assert await again.fetch(version) == content
        assert again.cache.figures.hub == again.cache.figures.peers == 0


async def test_two_replicas_of_a_version_fetch_it_once(
    node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node() as one:
        async with one.cache.hold(version) as first, one.cache.hold(version) as second:
            assert first == second
        size = sum(map(len, content.values()))
        assert size <= one.cache.figures.hub <= 1.01 * size


async def test_a_folder_stays_until_its_last_replica_is_gone(node: MakeNode, version: str) -> None:
    async with node() as one, one.cache.hold(version) as folder:
        async with one.cache.hold(version):
            pass
        assert folder.is_dir()


async def test_versions_that_share_files_and_blocks_fetch_them_once(
    node: MakeNode, publish: Publish, version: str, content: dict[str, bytes]
) -> None:
    data = content["weights.bin"]
    other = publish(content | {"weights.bin": data[:-5] + b"other", "more": b"more"}).manifest.text
    async with node() as one:
        await asyncio.gather(one.fetch(version), one.fetch(other))
        assert one.cache.figures.local >= 8 << 20
        assert one.cache.figures.hub <= 1.01 * (len(data) + (1 << 20))


async def test_one_content_that_is_cut_in_two_ways_is_fetched_once(node: MakeNode, publish: Publish) -> None:
    data = save({"layer": weights(12_000, seed=1)})
    once = publish({"layer.bin": data}).manifest.text
    both = publish({"model.safetensors": data, "copy.bin": data}, "lab/both").manifest.text
    async with node("n1") as first, node("n2") as second:
        assert await first.fetch(both) == {"model.safetensors": data, "copy.bin": data}
        assert first.cache.figures.hub <= 1.01 * len(data) + 50_000
        assert await first.fetch(once) == {"layer.bin": data}
        # What others ask for, by either cut, comes from it.
        assert await second.fetch(once) == {"layer.bin": data}
        assert await second.fetch(both) == {"model.safetensors": data, "copy.bin": data}
        assert second.cache.figures.peers >= len(data)


async def test_a_version_nobody_published_is_not_found(node: MakeNode, version: str) -> None:
    async with node() as one:
        with pytest.raises(NotFound):
            await one.fetch(version[:-4] + "aaaa")
        with pytest.raises(InvalidInput):
            await one.fetch("lab/mini")


async def test_a_node_that_is_called_by_nobody_fetches_too(
    hub: RunningHub, node: MakeNode, version: str, content: dict[str, bytes]
) -> None:
    async with node(listen=None) as one:
        assert await one.fetch(version) == content
        await until(lambda: len(hub.service.swarms) == 0)
