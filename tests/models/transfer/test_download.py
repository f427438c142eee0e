"""Downloads over real sockets: what peers do wrong, what the disk does, and eight nodes at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, DeadlineExceeded, DiskFull, NotFound, PermissionRefused, Unavailable
from farlane.kit.clock import SystemClock
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import FileAssembly, Location
from farlane.models.cid import RAW, Cid, Octets, block_cid
from farlane.models.transfer.bitmap import flags_of
from farlane.models.transfer.block_server import BlockServer
from farlane.models.transfer.download import Download
from farlane.models.transfer.http_carrier import HttpCarrier
from farlane.models.transfer.plan import Plan, plan_of
from farlane.models.transfer.swarm import Swarm
from farlane.testing.block_serving import MIB, Kept, Serve, StallingProxy, keep_file
from farlane.testing.waiting import until


class Node:
    """One node that fetches a file into a store of its own."""

    def __init__(self, kept: Kept, store: MemoryBlockStore | None = None) -> None:
        self.store = store or MemoryBlockStore()
        self.plan: Plan = plan_of(kept.file.dags[:1])
        self.assembly: FileAssembly = self.store.begin_file(kept.file.dags, kept.file.sha256)
        self.everything = np.ones(len(self.plan.cids), np.bool_)
        self.carriers: list[HttpCarrier] = []

    def keep(self, index: int, data: Octets) -> None:
        for place in self.plan.places[index]:
            self.assembly.write(place.leaf, data)

    def download(self, **options: object) -> Download:
        have = self.plan.present([self.assembly.missing()])
        keep = options.pop("keep", self.keep)
        return Download(self.plan.cids, self.plan.sizes, have, keep, clock=SystemClock(), **options)  # type: ignore[arg-type]

    def carrier(self, address: str, ticket: str = "") -> HttpCarrier:
        self.carriers.append(HttpCarrier(address, ticket))
        return self.carriers[-1]

    async def close(self) -> None:
        for carrier in self.carriers:
            await carrier.close()


async def fetch(node: Node, addresses: Sequence[str], **options: object) -> Download:
    download = node.download(**options)
    for number, address in enumerate(addresses):
        download.add_source(f"peer{number}", node.carrier(address), node.everything)
    try:
        async with asyncio.timeout(60):
            await download.run()
    finally:
        await node.close()
    return download


def whole(node: Node, kept: Kept) -> bool:
    return node.assembly.commit().path.read_bytes() == kept.data


async def test_a_file_comes_whole_from_one_peer(kept: Kept, serve: Serve) -> None:
    node = Node(kept)
    download = await fetch(node, [serve(kept.store).address])
    assert whole(node, kept)
    assert download.progress.from_peers == download.progress.done_bytes == len(kept.data)


async def test_several_peers_share_the_work(kept: Kept, serve: Serve) -> None:
    servers = [serve(kept.store) for _ in range(3)]
    node = Node(kept)
    await fetch(node, [server.address for server in servers])
    assert whole(node, kept)
    assert sum(server.counters.blocks > 0 for server in servers) > 1


async def test_a_flipped_bit_bans_the_peer_and_the_rest_comes_from_another(kept: Kept, serve: Serve) -> None:
    liar = StallingProxy(serve(kept.store).port, flip=True)
    node = Node(kept)
    download = node.download()
    download.add_source("liar", node.carrier(liar.address), node.everything)
    running = asyncio.ensure_future(download.run())
    try:
        # Alone at first: on a busy machine the other would have sent everything before the liar's first block.
        await until(lambda: bool(download.progress.banned))
        download.add_source("other", node.carrier(serve(kept.store).address), node.everything)
        await asyncio.wait_for(running, 60)
    finally:
        liar.close()
        await node.close()
    assert download.progress.banned == ["liar"]
    assert whole(node, kept)


async def test_a_peer_that_stalls_near_the_end_is_left_for_another(kept: Kept, serve: Serve) -> None:
    staller = StallingProxy(serve(kept.store).port, after_bytes=int(len(kept.data) * 0.8))
    node = Node(kept)
    download = node.download()
    download.add_source("staller", node.carrier(staller.address), node.everything)
    running = asyncio.ensure_future(download.run())
    try:
        async with asyncio.timeout(60):
            while download.progress.from_peers < 0.3 * len(kept.data):
                await asyncio.sleep(0.01)
            download.add_source("other", node.carrier(serve(kept.store).address), node.everything)
            await running
    finally:
        staller.close()
        await node.close()
    assert whole(node, kept)


async def test_a_slow_peer_does_not_hold_up_the_end(kept: Kept, serve: Serve) -> None:
    slow = StallingProxy(serve(kept.store).port, rate=0.2e6)
    node = Node(kept)
    try:
        download = await fetch(node, [slow.address, serve(kept.store).address])
    finally:
        slow.close()
    assert whole(node, kept)
    assert download.progress.doubled <= 4 * MIB


async def test_a_peer_that_dies_is_replaced(kept: Kept, serve: Serve) -> None:
    dead = serve(kept.store)
    dead.close()
    node = Node(kept)
    await fetch(node, [dead.address, serve(kept.store).address])
    assert whole(node, kept)


async def test_what_came_before_a_full_disk_is_kept_and_not_fetched_again(kept: Kept, serve: Serve) -> None:
    server, store = serve(kept.store), MemoryBlockStore()
    node, written, lock = Node(kept, store), [0], threading.Lock()

    def keep(index: int, data: Octets) -> None:
        with lock:
            if written[0] >= 4:
                raise DiskFull("cannot write the file: no space left. Free space and try again")
            node.keep(index, data)
            written[0] += 1

    with pytest.raises(DiskFull, match="no space left"):
        await fetch(node, [server.address], keep=keep)
    node.assembly.close()
    again = Node(kept, store)
    download = await fetch(again, [server.address])
    assert download.progress.present_bytes > 0
    assert download.progress.present_bytes + download.progress.from_peers == len(kept.data)
    assert whole(again, kept)


async def test_a_download_that_was_cancelled_goes_on_where_it_ended(kept: Kept, serve: Serve) -> None:
    slow = StallingProxy(serve(kept.store).port, rate=4e6)
    store = MemoryBlockStore()
    node = Node(kept, store)
    running = asyncio.ensure_future(fetch(node, [slow.address]))
    async with asyncio.timeout(60):
        while len(node.assembly.missing()) > len(node.plan.cids) - 3:
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    slow.close()
    node.assembly.close()
    again = Node(kept, store)
    download = await fetch(again, [serve(kept.store).address])
    assert download.progress.present_bytes > 0
    assert download.progress.present_bytes + download.progress.from_peers == len(kept.data)
    assert whole(again, kept)


async def test_a_download_without_sources_ends_with_what_to_do(kept: Kept) -> None:
    node = Node(kept)
    with pytest.raises(DeadlineExceeded, match="it goes on from there"):
        await fetch(node, [], patience_s=0.3)


class Refusing:
    """A source that everybody may ask, and that has nothing."""

    def has(self, cid: Cid) -> bool:
        return False

    def size(self, cid: Cid) -> int:
        raise NotFound("not here")

    def get(self, cid: Cid) -> bytes:
        raise NotFound("not here")

    def locate(self, cid: Cid) -> Location | None:
        raise NotFound("not here")


async def test_who_claims_what_it_has_not_is_not_believed_twice(kept: Kept, serve: Serve) -> None:
    empty = serve(Refusing())
    node = Node(kept)
    await fetch(node, [empty.address, serve(kept.store).address])
    assert whole(node, kept)
    assert empty.counters.refused <= len(node.plan.cids)


async def test_a_carrier_says_what_is_wrong(kept: Kept, serve: Serve) -> None:
    def admit(ticket: str, cid: Cid) -> bool:
        raise PermissionRefused("this ticket is for another model")

    def check(data: Octets) -> None:
        raise AssertionError("nothing may come")

    cid = kept.file.dags[0].root
    for address, kind, words in (
        (serve(kept.store, admit).address, PermissionRefused, "another model"),
        (serve(Refusing()).address, NotFound, "404"),
        ("127.0.0.1:1", Unavailable, "cannot be reached"),
    ):
        carrier = HttpCarrier(address, "ticket")
        with pytest.raises(kind, match=words):
            await carrier.fetch(cid, check)
        await carrier.close()


async def _speaks(reply: bytes, check: Callable[[HttpCarrier], object]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    carrier = HttpCarrier(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", streams=1)
    try:
        await check(carrier)  # type: ignore[misc]
    finally:
        await carrier.close()
        server.close()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Corrupted),
        (b"HTTP/1.1 200 OK\r\n\r\n", Corrupted),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", Corrupted),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Corrupted),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlonger than five", Corrupted),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000, Corrupted),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Unavailable),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", Unavailable),
        (b"", Unavailable),
    ],
)
async def test_servers_that_speak_nonsense_do_no_harm(reply: bytes, kind: type[Exception]) -> None:
    async def check(carrier: HttpCarrier) -> None:
        with pytest.raises(kind):
            await carrier.fetch(block_cid(RAW, b"hello"), lambda data: None)

    await _speaks(reply, check)


class Member:
    """A node in a real swarm: fetches from the others and serves them what it has."""

    def __init__(self, name: str, kept: Kept, serve: Serve) -> None:
        self.name, self.node = name, Node(kept)
        self.server: BlockServer = serve(self.node.store)
        self.got: list[int] = []
        self.download: Download | None = None

    async def run(self, swarm: Swarm, members: dict[str, Member], origin: BlockServer, number: int) -> None:
        clock, blocks = SystemClock(), len(self.node.plan.cids)
        self.download = self.node.download(
            start=number * 7 % blocks,
            on_got=self.got.append,
            on_lacking=lambda indices: swarm.lacks(clock.monotonic(), self.name, list(indices)),
        )
        self.download.add_source("origin", self.node.carrier(origin.address), flags_of(blocks), origin=True)
        swarm.join(clock.monotonic(), self.name, self.server.address, self.download.have)
        running = asyncio.ensure_future(self.download.run())
        while not running.done():
            await asyncio.sleep(0.01)
            now = clock.monotonic()
            swarm.tick(now)
            swarm.has(now, self.name, self.got)
            self.got.clear()
            self.hear(swarm)
        swarm.has(clock.monotonic(), self.name, self.got)
        await running

    def hear(self, swarm: Swarm) -> None:
        assert self.download is not None
        news = swarm.take_news(self.name)
        for name, address, have in news.joined:
            self.download.add_source(name, self.node.carrier(address), have)
        for name, indices in news.has.items():
            self.download.source_has(name, indices)
        for name in news.left:
            self.download.source_left(name)
        self.download.source_has("origin", news.granted)


async def test_eight_nodes_take_little_more_than_one_copy_from_the_origin(
    tmp_path: Path, serve: Serve
) -> None:
    kept = keep_file(tmp_path / "model.bin", blocks=24)
    origin = serve(kept.store)
    swarm = Swarm(len(plan_of(kept.file.dags[:1]).cids))
    members = {f"n{number}": Member(f"n{number}", kept, serve) for number in range(8)}
    async with asyncio.timeout(100):
        runs = [partial(member.run, swarm, members, origin, at) for at, member in enumerate(members.values())]
        await asyncio.gather(*(run() for run in runs))
    try:
        assert all(whole(member.node, kept) for member in members.values())
        assert origin.counters.sent_bytes <= 1.3 * len(kept.data)
    finally:
        for member in members.values():
            await member.node.close()
