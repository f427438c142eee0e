"""The door of a node's block server: on every route, only the hub's tickets open it, and only for their version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from farlane.errors import Unauthenticated
from farlane.kit.clock import ManualClock
from farlane.kit.hashing import sha256
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.transfer.block_server import BlockServer
from farlane.models.transfer.gateway import Admit
from farlane.models.transfer.http_carrier import HttpCarrier
from farlane.models.transfer.tickets import Ticket, sign_ticket
from farlane.models.trees import tree
from farlane.node.models.block_door import BlockDoor
from farlane.testing.block_serving import Kept, Serve, keep_file

HUB = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_HUB = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
VERSION = Cid(1, DAG_CBOR, sha256(b"manifest"))
OTHER_VERSION = Cid(1, DAG_CBOR, sha256(b"another"))
"""Of this one the node has blocks too, other ones."""


class Door:
    """A door with a real server behind it, that has a directory with one file of a version."""

    def __init__(self, kept: Kept, serve: Serve, clock: ManualClock) -> None:
        self.clock = clock
        self.door = BlockDoor(clock)
        plain = kept.file.dags[-1]
        made = tree([("weights.bin", plain.root, plain.size_bytes)])
        kept.store.put_many(made.nodes.items())
        digests = {cid.digest for cid in (*plain.nodes, *made.nodes)}
        digests |= {plain.leaves.digest(at) for at in range(len(plain.leaves))}
        self.door.open(VERSION, frozenset(digests))
        self.door.open(OTHER_VERSION, frozenset({sha256(b"something else")}))
        self.server = serve(kept.store, self.door.admit)
        self.leaf, self.inner, self.root = plain.leaves.cid(0), plain.root, made.root
        self.ticket = Ticket("net", "n1", VERSION, int(clock.now()) + 900)

    def learn(self) -> None:
        self.door.learn(HUB.public_key().public_bytes_raw(), sign_ticket(self.ticket, HUB))

    @property
    def routes(self) -> list[str]:
        return [
            f"{self.leaf}?format=raw",
            f"{self.inner}?format=raw",
            f"{self.inner}?format=car",
            f"{self.root}?format=car&dag-scope=all",
            f"{self.root}/weights.bin?format=raw",
            f"{self.root}/weights.bin?format=car",
            f"{self.root}/nothing?format=raw",
        ]

    async def statuses(self, ticket: str, method: str = "GET") -> set[int]:
        """Return how each route answers to who shows a ticket."""
        found = set()
        headers = {"Authorization": f"Bearer {ticket}"} if ticket else {}
        async with aiohttp.ClientSession(headers=headers) as client:
            for route in self.routes:
                async with client.request(method, f"http://{self.server.address}/ipfs/{route}") as reply:
                    found.add(reply.status)
                    await reply.read()
        return found


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[BlockServer] = []

    def start(source: BlockSource, admit: Admit) -> BlockServer:
        servers.append(BlockServer("127.0.0.1:0", source, admit))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def door(tmp_path: Path, serve: Serve) -> Door:
    made = Door(keep_file(tmp_path / "weights.bin"), serve, ManualClock())
    made.learn()
    return made


def shown(door: Door, key: Ed25519PrivateKey = HUB, **changes: Any) -> str:
    return sign_ticket(replace(door.ticket, **changes), key)


async def test_a_ticket_opens_every_block_of_its_version(door: Door) -> None:
    assert await door.statuses(shown(door)) == {200, 404}
    assert door.server.counters.refused == 1  # the path that leads nowhere


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("ticket", "status"),
    [
        (lambda door: "", 401),
        (lambda door: "nonsense", 401),
        (lambda door: shown(door, OTHER_HUB), 401),
        (lambda door: shown(door, until=int(door.clock.now())), 401),
        (lambda door: shown(door, network="other"), 403),
        (lambda door: shown(door, version=OTHER_VERSION), 403),
        (lambda door: shown(door, version=Cid(1, DAG_CBOR, sha256(b"not here"))), 403),
    ],
    ids=[
        "none",
        "nonsense",
        "another hub's",
        "run out",
        "another network's",
        "another version's",
        "unknown version's",
    ],
)
async def test_no_route_gives_anything_for_another_ticket(
    door: Door, ticket: Callable[[Door], str], status: int, method: str
) -> None:
    assert await door.statuses(ticket(door), method) == {status}
    assert door.server.counters.sent_bytes == 0


async def test_a_ticket_that_was_good_runs_out(door: Door) -> None:
    assert 200 in await door.statuses(shown(door))
    door.clock.advance(900)
    assert await door.statuses(shown(door)) == {401}


async def test_a_carrier_shows_the_newest_ticket(door: Door) -> None:
    carrier = HttpCarrier(door.server.address, shown(door))
    try:
        door.clock.advance(900)
        with pytest.raises(Unauthenticated, match="has run out"):
            await carrier.fetch(door.leaf, lambda data: None)
        carrier.renew(shown(door, until=door.ticket.until + 900))
        assert await carrier.fetch(door.leaf, lambda data: None) == 1 << 20
    finally:
        await carrier.close()


async def test_a_version_that_is_shut_is_given_no_more(door: Door) -> None:
    door.door.shut(VERSION)
    assert await door.statuses(shown(door)) == {403}


async def test_before_a_node_has_a_hub_it_gives_nothing(tmp_path: Path, serve: Serve) -> None:
    door = Door(keep_file(tmp_path / "weights.bin"), serve, ManualClock())
    assert await door.statuses(shown(door)) == {401}


async def test_another_key_makes_earlier_tickets_worthless(door: Door) -> None:
    assert 200 in await door.statuses(shown(door))
    door.door.learn(OTHER_HUB.public_key().public_bytes_raw(), shown(door, OTHER_HUB))
    assert await door.statuses(shown(door)) == {401}
    assert 200 in await door.statuses(shown(door, OTHER_HUB))
