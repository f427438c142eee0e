"""Direct calls on a real chain (anvil): a node and a publisher without any hub, honest, crashing, and cheating."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from farlane.domain.resources import Resources
from farlane.errors import (
    Conflict,
    Exhausted,
    InsufficientFunds,
    InvalidInput,
    InvalidSignature,
    PermissionRefused,
    TooLarge,
    WrongHub,
)
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import Leaf, pack, unpack
from farlane.ledger.receipt import from_json, to_json, verify
from farlane.ledger.receipt_chain import verify_on_chain
from farlane.ledger.tree import Frontier, leaf_hash
from farlane.ledger.vouchers import TreeHead, sign_head
from farlane.node.direct.book_store import BOOKS_FILE, DirectBookStore
from farlane.node.direct.counter import Counter
from farlane.node.direct.running import DirectRunner, RunFacts
from farlane.sdk.direct import DirectPublisher
from farlane.sdk.direct_book import ChannelBook
from farlane.sdk.direct_nodes import FoundNode, cheapest
from farlane.sdk.direct_task import DirectTask, command_task
from farlane.testing.direct_world import SMALL, DirectWorld, direct_world, say_to_node
from farlane.wire.compute import TaskResult, order_to_wire, result_from_wire, result_to_wire
from farlane.wire.v1 import compute_pb2

pytestmark = pytest.mark.real


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        yield found


def hello(timeout_s: float = 20.0, run: str = "cat in.txt; echo to-err >&2; cp in.txt out.txt") -> DirectTask:
    return command_task(
        run, resources=SMALL, timeout_s=timeout_s, inputs={"in.txt": b"hello"}, outputs=("out.txt",)
    )


async def test_a_task_without_any_hub_ends_in_a_receipt_that_the_chain_confirms(world: DirectWorld) -> None:
    async with world.serving(claims=True) as node:
        publisher, spec = world.publisher(node), hello()
        run = await publisher.run(spec, max_nano=publisher.quote_ceiling(spec))
        assert (run.failure, run.stdout, run.stderr) == (None, b"hello", b"to-err\n")
        assert run.outputs == {"out.txt": b"hello"}
        assert 0 < run.leaf.amount_nano <= publisher.quote_ceiling(spec)
        again = await publisher.run(spec)
        assert (again.receipt.index, again.receipt.head.head.size) == (1, 2)
        receipt = from_json(to_json(again.receipt))
        assert [one.message for one in verify(receipt) if not one.ok] == []
        unpaid = await verify_on_chain(world.rpc, receipt)
        assert [one.check for one in unpaid if not one.ok] == ["voucher was settled"]
    paid = await verify_on_chain(world.rpc, receipt)  # the node claimed before it left
    assert all(one.ok for one in paid)
    assert await world.ledger.balance(world.node.address) == run.leaf.amount_nano + again.leaf.amount_nano


async def test_a_failure_of_the_command_is_paid_and_said(world: DirectWorld) -> None:
    async with world.serving() as node:
        run = await world.publisher(node).run(command_task("exit 3", resources=SMALL, timeout_s=20))
        assert run.failure is not None
        assert run.failure.kind == "exit-code"
        assert run.leaf.amount_nano > 0
        assert all(one.ok for one in verify(run.receipt))


async def test_strangers_and_dear_or_large_tasks_are_refused(world: DirectWorld) -> None:
    stranger = await world.rich()
    async with world.serving(credit_nano=100_000_000) as node:
        intruder = world.publisher(node, "stranger", stranger)
        with pytest.raises(PermissionRefused, match="without a sandbox"):
            await intruder.run(command_task("true", resources=SMALL, timeout_s=5))
        publisher = world.publisher(node)
        with pytest.raises(InsufficientFunds, match="before it is paid"):
            await publisher.run(command_task("true", resources=SMALL, timeout_s=3600))
        with pytest.raises(InsufficientFunds, match="are allowed"):
            await publisher.run(command_task("true", resources=SMALL, timeout_s=5), max_nano=1)
        with pytest.raises(InvalidInput, match="share for direct calls"):
            await publisher.run(command_task("true", resources=Resources(cpu_milli=4000), timeout_s=5))
        big = {"big": bytes((4 << 20) + 1)}
        with pytest.raises(TooLarge, match="through a hub"):
            await publisher.run(command_task("true", resources=SMALL, timeout_s=5, inputs=big))
        good = await publisher.run(command_task("echo fine", resources=SMALL, timeout_s=5))
        assert good.stdout == b"fine\n"  # no refusal was held against it


async def test_a_node_is_recognised_by_the_key_on_chain(world: DirectWorld) -> None:
    async with world.serving() as node:
        listing = dataclasses.replace(node.entry.listing, tls_key_hash=b"\1" * 32)
        other = FoundNode(dataclasses.replace(node.entry, listing=listing), node.terms)
        with pytest.raises(WrongHub):
            await world.publisher(other).run(command_task("true", resources=SMALL, timeout_s=5))
        assert cheapest([node], command_task("true").spec) is node


def tampering(
    change: Callable[[TaskResult, DirectWorld], TaskResult], world: DirectWorld
) -> Callable[..., bytes]:
    """Return a `_keep` of the counter whose answer is not what happened."""
    honest = Counter._keep

    def keep(self: Counter, taken: object, facts: object) -> bytes:
        result = result_from_wire(compute_pb2.TaskResult.FromString(honest(self, taken, facts)))  # type: ignore[arg-type]
        return result_to_wire(change(result, world)).SerializeToString()

    return keep


def _resigned(result: TaskResult, world: DirectWorld, leaf: Leaf) -> TaskResult:
    """Return a lie that hangs together: leaf, tree and head all say it."""
    raw, frontier = pack(leaf), Frontier()
    frontier.append(leaf_hash(raw))
    channel = _channel_id(world)
    head = sign_head(world.ledger.domain, world.node, TreeHead(channel, 1, frontier.root()))
    return dataclasses.replace(result, leaf=raw, root=frontier.root(), proof=(), signature=head.signature)


def _channel_id(world: DirectWorld) -> bytes:
    store = DirectBookStore(world.root / "node" / BOOKS_FILE)
    try:
        return store.all()[0].channel.id
    finally:
        store.close()


def dearer(result: TaskResult, world: DirectWorld) -> TaskResult:
    leaf = unpack(result.leaf)
    return _resigned(result, world, dataclasses.replace(leaf, amount_nano=leaf.amount_nano + 1))


def longer(result: TaskResult, world: DirectWorld) -> TaskResult:
    return _resigned(result, world, dataclasses.replace(unpack(result.leaf), lease_ms=19_000))


def other_output(result: TaskResult, world: DirectWorld) -> TaskResult:
    return dataclasses.replace(result, outputs={"out.txt": b"jello"})


def other_spec(result: TaskResult, world: DirectWorld) -> TaskResult:
    return _resigned(result, world, dataclasses.replace(unpack(result.leaf), spec=b"\7" * 32))


def forked(result: TaskResult, world: DirectWorld) -> TaskResult:
    tree = Frontier()
    tree.append(b"\3" * 32)
    return dataclasses.replace(result, root=tree.root())


def other_signer(result: TaskResult, world: DirectWorld) -> TaskResult:
    head = TreeHead(_channel_id(world), 1, result.root)
    return dataclasses.replace(
        result, signature=sign_head(world.ledger.domain, PrivateKey.generate(), head).signature
    )


@pytest.mark.parametrize("lie", [dearer, longer, other_output, other_spec, forked, other_signer])
async def test_a_node_that_cheats_gets_no_voucher(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch, lie: Callable[[TaskResult, DirectWorld], TaskResult]
) -> None:
    monkeypatch.setattr(Counter, "_keep", tampering(lie, world))
    async with world.serving(claims=True) as node:
        publisher = world.publisher(node)
        with pytest.raises(InvalidSignature):
            await publisher.run(hello())
        with pytest.raises(Conflict, match="in dispute"):
            await publisher.run(hello())
    assert await world.ledger.balance(world.node.address) == 0


async def test_a_publisher_that_dies_before_it_signs_gets_its_result_and_pays_once(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    spec = command_task("echo once >> ran; cat ran", resources=SMALL, timeout_s=20)
    async with world.serving(claims=True) as node:
        with monkeypatch.context() as crash:
            crash.setattr(DirectPublisher, "_accept", dies)
            with pytest.raises(KeyboardInterrupt):
                await world.publisher(node).run(spec)
        (recovered,) = await world.publisher(node).recover()
        assert recovered.stdout == b"once\n"
        assert await world.publisher(node).recover() == []
        after = await world.publisher(node).run(spec)
        assert after.receipt.index == 1
    total = recovered.leaf.amount_nano + after.leaf.amount_nano
    assert await world.ledger.balance(world.node.address) == total


async def test_a_voucher_that_was_lost_on_its_way_comes_with_the_next_order(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = command_task("true", resources=SMALL, timeout_s=20)
    async with world.serving() as node:

        def lost(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as crash:
            crash.setattr("farlane.sdk.direct.voucher_to_wire", lost)
            with pytest.raises(KeyboardInterrupt):
                await world.publisher(node).run(spec)
        assert (await world.publisher(node).run(spec)).receipt.index == 1


async def test_a_publisher_that_never_signs_costs_one_task(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = command_task("true", resources=SMALL, timeout_s=20)
    async with world.serving(tasks=1) as node:

        def refuses(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as greedy:
            greedy.setattr(DirectPublisher, "_accept", refuses)
            with pytest.raises(KeyboardInterrupt):
                await world.publisher(node).run(spec)
        publisher = world.publisher(node)
        book = publisher._channel.file.load()
        assert book is not None
        # It pretends to have the leaf, and orders the next task without having paid for it.
        store = DirectBookStore(world.root / "node" / BOOKS_FILE)
        frontier = store.all()[0].frontier.to_bytes()
        store.close()
        publisher._channel.file.save(dataclasses.replace(book, pending=(), frontier=frontier, done_below=1))
        with pytest.raises(InsufficientFunds, match="not paid"):
            await publisher.run(spec)


def ordering(
    publisher: DirectPublisher, book: ChannelBook, task: DirectTask, *, key: PrivateKey | None = None
) -> compute_pb2.TaskRequest:
    """Return the message of an order that stands in no book of the publisher's."""
    signer = key or publisher._channel.session_key()
    order = publisher._order(signer, book, "x", task, publisher.quote_ceiling(task))
    return compute_pb2.TaskRequest(order=order_to_wire(order))


async def test_an_old_order_or_another_signers_is_refused(world: DirectWorld) -> None:
    spec = command_task("true", resources=SMALL, timeout_s=20)
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(spec)
        book = publisher._channel.file.load()
        assert book is not None
        publisher._channel.file.save(ChannelBook(book.channel, opened=True))
        with pytest.raises(Conflict, match="place 0"):
            await publisher.run(spec)
        thief = PrivateKey.generate()
        with pytest.raises(InvalidSignature, match="signed by"):
            await say_to_node(node, ordering(publisher, book, spec, key=thief))


async def test_a_channel_that_is_being_closed_gets_no_more_work_and_is_claimed_at_once(
    world: DirectWorld,
) -> None:
    spec = command_task("true", resources=SMALL, timeout_s=20)
    async with world.serving(claims=True, watch_s=0.1) as node:
        publisher = world.publisher(node)
        run = await publisher.run(spec)
        await publisher.close()
        with pytest.raises(Conflict, match="being closed"):
            await publisher.run(spec)
        book = publisher._channel.file.load()
        assert book is not None
        with pytest.raises(Conflict, match="closing this channel"):
            await say_to_node(node, ordering(publisher, book, spec))
    assert await world.ledger.balance(world.node.address) == run.leaf.amount_nano


async def test_no_more_runs_than_the_share_holds(world: DirectWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Resources(cpu_milli=1000, memory_bytes=256 << 20, disk_bytes=64 << 20)
    begun, may_end = asyncio.Event(), asyncio.Event()
    honest = DirectRunner.run

    async def held(self: DirectRunner, *given: object) -> RunFacts:
        begun.set()
        await may_end.wait()
        return await honest(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectRunner, "run", held)
    spec = command_task("true", resources=whole, timeout_s=20)
    async with world.serving() as node:
        one = asyncio.ensure_future(world.publisher(node, "one").run(spec))
        async with asyncio.timeout(20):
            await begun.wait()
        with pytest.raises(Exhausted, match="busy"):
            await world.publisher(node, "two").run(spec)
        may_end.set()
        assert (await one).failure is None
