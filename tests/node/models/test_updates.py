"""Updates of a version that a node has: by a delta, which nodes fetch from one another too, or else block by block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from safetensors.numpy import save

from farlane.models.adding import Added
from farlane.models.catalog.values import DeltaRow
from farlane.models.cid import Cid
from farlane.models.deltas import block_list, make_for
from farlane.testing.model_nodes import ModelNode
from farlane.testing.running_hub import RunningHub
from farlane.testing.tensor_files import Tensors, moved, weights
from farlane.testing.waiting import until

MakeNode = Callable[..., ModelNode]
BASE: Tensors = {"embed": weights(2000, seed=1), "layer": weights(24_000, seed=2)}
TUNED: Tensors = {**BASE, "layer": moved(BASE["layer"])}
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Update:
    """A version, its successor, and the delta between them, all at the hub."""

    first: Added
    second: Added
    delta: DeltaRow

    @property
    def versions(self) -> tuple[str, str]:
        return self.first.version.manifest.text, self.second.version.manifest.text


@pytest.fixture
def update(hub: RunningHub, publish_added: Callable[..., Added]) -> Update:
    assert hub.models is not None
    first, second = (publish_added({MODEL: save(dict(tensors))}, "lab/tuned") for tensors in (BASE, TUNED))
    delta = make_for(hub.models, second.version, second.manifest, first.version, first.manifest, threads=2)
    assert delta is not None
    return Update(first, second, delta)


async def test_an_update_comes_by_a_delta(node: MakeNode, update: Update) -> None:
    first, second = update.versions
    async with node() as one:
        await one.fetch(first)
        before = one.cache.figures.hub
        assert await one.fetch(second) == {MODEL: save(dict(TUNED))}
        figures = one.cache.figures
        assert figures.hub - before <= update.delta.size_bytes + 50_000
        assert figures.delta >= 11_000_000
        assert set(one.held[-1]) == {first, second}


async def test_nodes_that_update_together_take_one_delta_from_the_hub(node: MakeNode, update: Update) -> None:
    first, second = update.versions
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(f"n{number}")) for number in range(4)]
        for one in nodes:
            await one.fetch(first)
        before = sum(one.cache.figures.hub for one in nodes)
        fetched = await asyncio.gather(*(one.fetch(second) for one in nodes))
        assert all(files == {MODEL: save(dict(TUNED))} for files in fetched)
        assert sum(one.cache.figures.hub for one in nodes) - before <= 1.5 * update.delta.size_bytes + 200_000


async def test_a_delta_whose_base_is_not_here_is_left_alone(node: MakeNode, update: Update) -> None:
    async with node() as one:
        assert await one.fetch(update.versions[1]) == {MODEL: save(dict(TUNED))}
        assert one.cache.figures.delta == 0


async def test_a_delta_that_is_damaged_does_no_harm(hub: RunningHub, node: MakeNode, update: Update) -> None:
    assert hub.models is not None
    payload = [cid for cid in block_list(hub.models.blocks, update.delta.root) if cid.codec == 0x55]
    first, second = update.versions
    async with node() as one:
        await one.fetch(first)
        hub.models.blocks.delete(payload[0])
        assert await one.fetch(second) == {MODEL: save(dict(TUNED))}


async def test_a_node_leaves_the_swarm_of_a_delta(hub: RunningHub, node: MakeNode, update: Update) -> None:
    roots: list[Cid] = [update.delta.root, update.second.version.manifest]
    async with node(idle_s=0.2) as one:
        await one.fetch(update.versions[0])
        await one.fetch(update.versions[1])
        await until(lambda: not any(hub.service.swarms.members(root) for root in roots))
