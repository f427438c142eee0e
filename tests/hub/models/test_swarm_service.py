"""SwarmService: who may join, what members hear, and the tickets that they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farlane.domain.ids import NodeId
from farlane.errors import FarlaneError, InvalidInput, NotFound, PermissionRefused, Unauthenticated
from farlane.hub import service
from farlane.hub.grpc_api import swarm_service
from farlane.hub.grpc_api.swarm_service import count_blocks
from farlane.kit.hashing import sha256
from farlane.models.adding import Description, add
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.manifest.values import Encryption, Manifest
from farlane.models.repository import Repository
from farlane.models.transfer.bitmap import pack
from farlane.models.transfer.tickets import read_ticket
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_node import SECRET
from farlane.testing.waiting import until
from farlane.wire.stream import received
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import SwarmServiceStub
from farlane.wire.versions import this_version


@pytest.fixture
def kept(hub: RunningHub) -> Repository:
    assert hub.models is not None
    return hub.models


@pytest.fixture
def version(kept: Repository, folder: Path) -> Version:
    return add(kept, folder, "lab/mini", author=Author("lab", "ada")).version


@pytest.fixture
async def node(hub: RunningHub) -> AsyncIterator[str]:
    """A node of the hub, by its id."""
    async with hub.node() as node:
        yield node.spec.node


class Member:
    """A member of a swarm that says what a test has it say."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.news: list[models_pb2.SwarmNews] = []
        self.ended: asyncio.Future[FarlaneError | None] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.ensure_future(self._read())

    async def say(self, **kind: Any) -> None:
        await self._call.write(models_pb2.SwarmMessage(**kind))

    async def hears(self, what: str) -> list[Any]:
        await until(lambda: self.ended.done() or any(getattr(news, what) for news in self.news))
        return [value for news in self.news for value in getattr(news, what)]

    async def refusal(self) -> FarlaneError | None:
        return await asyncio.wait_for(self.ended, 20)

    async def leave(self) -> None:
        self._call.cancel()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        error = None
        try:
            async for news in received(self._call, doing="a test's member"):
                self.news.append(news)
        except FarlaneError as reason:
            error = reason
        finally:
            self.ended.set_result(error)


def hello(of: Version, by: str, count: int, **changes: Any) -> models_pb2.SwarmHello:
    known: dict[str, Any] = {
        "version": this_version(), "node": by, "secret": SECRET, "version_cid": of.manifest.text,
        "blocks": count, "have": pack(np.zeros(count, np.bool_)), "address": "127.0.0.1:4001",
    }  # fmt: skip
    return models_pb2.SwarmHello(**known | changes)


@contextlib.asynccontextmanager
async def joined(hub: RunningHub, said: models_pb2.SwarmHello) -> AsyncIterator[Member]:
    async with hub.channel(hub.token("node", "", "lab")) as channel:
        member = Member(SwarmServiceStub(channel).Join())
        await member.say(hello=said)
        try:
            yield member
        finally:
            await member.leave()


@pytest.fixture
def blocks(kept: Repository, version: Version) -> int:
    return count_blocks(kept, kept.manifest(version))


async def test_members_hear_of_one_another_and_each_block_is_granted_once(
    hub: RunningHub, version: Version, blocks: int, node: str
) -> None:
    async with hub.node("n2") as other, joined(hub, hello(version, node, blocks)) as first:
        granted = list(await first.hears("granted"))
        said = hello(version, other.spec.node, blocks, address="127.0.0.1:4002")
        async with joined(hub, said) as second:
            (peer,) = await second.hears("joined")
            assert (peer.name, peer.address) == (node, "127.0.0.1:4001")
            assert [each.name for each in await first.hears("joined")] == [other.spec.node]
            await first.say(has=models_pb2.SwarmHas(blocks=granted))
            (row,) = await second.hears("has")
            assert (row.name, list(row.blocks)) == (node, granted)
            assert not set(granted) & {index for news in second.news for index in news.granted}
        assert await first.hears("left") == [other.spec.node]
    await until(lambda: len(hub.service.swarms) == 0)


async def test_blocks_are_counted_once_however_often_a_node_comes_and_goes(
    hub: RunningHub, version: Version, blocks: int, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[Manifest] = []

    def counting(repository: Repository, manifest: Manifest) -> int:
        counted.append(manifest)
        return count_blocks(repository, manifest)

    monkeypatch.setattr(swarm_service, "count_blocks", counting)
    for _ in range(2):
        async with joined(hub, hello(version, node, blocks)) as member:
            await member.hears("granted")
        await until(lambda: len(hub.service.swarms) == 0)
    assert len(counted) == 1


async def test_a_member_gets_a_ticket_for_its_version(
    hub: RunningHub, version: Version, blocks: int, node: str
) -> None:
    async with joined(hub, hello(version, node, blocks)) as member:
        await member.hears("ticket")
        (news,) = [news for news in member.news if news.ticket]
    ticket = read_ticket(news.ticket, news.ticket_key)
    assert (ticket.network, ticket.node, ticket.version) == (hub.store.network, node, version.manifest)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub renews tickets all the time."""
    monkeypatch.setattr(service, "SwarmService", partial(service.SwarmService, renew_s=0.05))


async def test_tickets_are_renewed_while_the_version_is_the_nodes_to_have(
    hasty: None, hub: RunningHub, kept: Repository, version: Version, blocks: int, node: str
) -> None:
    async with joined(hub, hello(version, node, blocks)) as member:
        await until(lambda: sum(bool(news.ticket) for news in member.news) >= 3)
        kept.catalog.remove(f"lab/mini@v{version.number}", Author("lab", "ada"))
        assert isinstance(await member.refusal(), NotFound)


async def test_the_key_of_tickets_stays_when_the_hub_starts_again(
    hub: RunningHub, version: Version, blocks: int
) -> None:
    keys = []
    for _ in range(2):
        async with hub.node() as node, joined(hub, hello(version, node.spec.node, blocks)) as member:
            await member.hears("ticket")
            keys.append(member.news[0].ticket_key)
        await hub.restart()
    assert keys[0] == keys[1]


WRONG: dict[str, tuple[dict[str, Any], type[FarlaneError]]] = {
    "another secret": ({"secret": b"guessed-guessed-guessed"}, PermissionRefused),
    "an unknown node": ({"node": "nobody"}, PermissionRefused),
    "no such version": (
        {"version_cid": Cid(1, DAG_CBOR, sha256(b"nothing")).text},
        NotFound,
    ),
    "a name": ({"version_cid": "lab/mini@v1"}, InvalidInput),
    "no version": ({"version_cid": ""}, InvalidInput),
    "other blocks": ({"blocks": 1, "have": b"\0"}, InvalidInput),
    "a bitmap too long": ({"have": b"\0" * 100}, InvalidInput),
    "no address": ({"address": "http://here"}, InvalidInput),
    "no such delta": ({"delta": "bafyreia"}, NotFound),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_hello_that_is_wrong_is_refused(
    hub: RunningHub, version: Version, blocks: int, node: str, wrong: str
) -> None:
    changes, kind = WRONG[wrong]
    async with joined(hub, hello(version, node, blocks, **changes)) as member:
        assert isinstance(await member.refusal(), kind)
        assert not member.news
    assert len(hub.service.swarms) == 0


async def test_blocks_that_there_are_not_end_the_stream(
    hub: RunningHub, version: Version, blocks: int, node: str
) -> None:
    async with joined(hub, hello(version, node, blocks)) as member:
        await member.hears("granted")
        await member.say(has=models_pb2.SwarmHas(blocks=[blocks]))
        assert isinstance(await member.refusal(), InvalidInput)


async def test_a_private_version_is_for_nodes_with_a_replica_of_it(
    hub: RunningHub, kept: Repository, tmp_path: Path, node: str
) -> None:
    (tmp_path / "sealed.bin").write_bytes(b"sealed")
    sealed = Description(encryption=Encryption(algorithm="test", recipients=(b"wrapped",)))
    private = add(kept, tmp_path / "sealed.bin", "lab/secret", sealed, author=Author("lab", "ada")).version
    assert not hub.hub.reactor.state.nodes[NodeId(node)].leases
    async with joined(hub, hello(private, node, 1)) as member:
        assert isinstance(await member.refusal(), NotFound)
        assert not member.news


async def test_clients_join_no_swarm(hub: RunningHub, version: Version, blocks: int, node: str) -> None:
    async with hub.channel() as channel:
        member = Member(SwarmServiceStub(channel).Join())
        with contextlib.suppress(Exception):
            await member.say(hello=hello(version, node, blocks))
        assert isinstance(await member.refusal(), PermissionRefused | Unauthenticated)
        await member.leave()
