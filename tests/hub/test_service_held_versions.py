"""Which versions of models nodes say they have whole: kept by the hub, capped, and said anew on a new stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import InvalidInput
from farlane.testing.running_hub import RunningHub
from farlane.wire.nodes import MAX_HELD_VERSIONS
from farlane.wire.v1 import node_pb2


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
        yield running


def held(*versions: str) -> node_pb2.NodeMessage:
    return node_pb2.NodeMessage(held_versions=node_pb2.VersionsHeld(versions=versions))


async def test_the_hub_knows_what_a_node_has_until_its_next_stream(hub: RunningHub) -> None:
    async with hub.node() as node:
        await node.say(held("bafyone", "bafytwo", "bafyone"))
        await node.beat()
        assert hub.hub.reactor.state.nodes[node.spec.node].held_versions == ("bafyone", "bafytwo")
    async with hub.node() as node:
        assert hub.hub.reactor.state.nodes[node.spec.node].held_versions == ()


@pytest.mark.parametrize(
    "versions",
    [["bafy"] * (MAX_HELD_VERSIONS + 1), ["not a cid"], [""], ["b" * 200]],
    ids=["too many", "spaces", "empty", "long"],
)
async def test_what_cannot_be_is_refused(hub: RunningHub, versions: list[str]) -> None:
    async with hub.node() as node:
        await node.say(held(*versions))
        assert isinstance(await node.ended, InvalidInput)
        assert hub.hub.reactor.state.nodes[node.spec.node].held_versions == ()
