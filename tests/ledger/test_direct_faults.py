"""Direct calls when one side lies, stalls or loses its memory: what is refused, by which words, and who owes what."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest

from farlane.errors import (
    Conflict,
    ConnectionLost,
    FarlaneError,
    InvalidInput,
    InvalidSignature,
    TooLarge,
)
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import pack, unpack
from farlane.ledger.tree import Frontier, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    SignedVoucher,
    TreeHead,
    Voucher,
    sign_head,
    sign_voucher,
)
from farlane.node.direct.book_store import BOOKS_FILE, DirectBook, DirectBookStore
from farlane.node.direct.counter import Counter
from farlane.sdk.direct import DirectPublisher
from farlane.sdk.direct_book import ChannelBook
from farlane.sdk.direct_nodes import FoundNode, compute_stub
from farlane.sdk.direct_task import DirectTask, command_task, function_task
from farlane.testing.direct_world import SMALL, DirectWorld, direct_world, say_to_node
from farlane.wire.compute import (
    MESSAGE_BYTES,
    TaskResult,
    VoucherFields,
    order_to_wire,
    result_from_wire,
    result_to_wire,
    voucher_to_wire,
)
from farlane.wire.status import final_error, remember_end
from farlane.wire.v1 import compute_pb2

pytestmark = pytest.mark.real


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        yield found


def echo(name: str = "a") -> DirectTask:
    return command_task(f"echo {name}", resources=SMALL, timeout_s=20)


def book_of(publisher: DirectPublisher) -> ChannelBook:
    found = publisher._channel.file.load()
    assert found is not None
    return found


def signed_order(
    publisher: DirectPublisher, task: DirectTask, order_id: str = "raw", *, place: int | None = None
) -> compute_pb2.TaskOrder:
    """Return an order as an honest publisher signs it, that stands in no book of its own."""
    book = book_of(publisher)
    if place is not None:
        book = dataclasses.replace(book, done_below=place, done=frozenset())
    key = publisher._channel.session_key()
    return order_to_wire(publisher._order(key, book, order_id, task, publisher.quote_ceiling(task)))


def requests(order: compute_pb2.TaskOrder, *vouchers: SignedVoucher) -> list[compute_pb2.TaskRequest]:
    said = [compute_pb2.TaskRequest(order=order)]
    for one in vouchers:
        promise = one.voucher
        fields = VoucherFields(promise.cumulative, promise.tasks, promise.root, one.signature)
        said.append(compute_pb2.TaskRequest(voucher=voucher_to_wire(fields)))
    return said


def node_books(world: DirectWorld) -> list[DirectBook]:
    store = DirectBookStore(world.root / "node" / BOOKS_FILE)
    try:
        return store.all()
    finally:
        store.close()


# A lying node.


def lying(
    monkeypatch: pytest.MonkeyPatch, world: DirectWorld, lie: Callable[[TaskResult, DirectWorld], TaskResult]
) -> None:
    honest = Counter._keep

    def keep(self: Counter, taken: object, facts: object) -> bytes:
        result = result_from_wire(compute_pb2.TaskResult.FromString(honest(self, taken, facts)))  # type: ignore[arg-type]
        return result_to_wire(lie(result, world)).SerializeToString()

    monkeypatch.setattr(Counter, "_keep", keep)


def another_value(result: TaskResult, world: DirectWorld) -> TaskResult:
    return dataclasses.replace(result, value=result.value + b"!")


def another_size(result: TaskResult, world: DirectWorld) -> TaskResult:
    return dataclasses.replace(result, size=result.size + 3)


def not_a_leaf(result: TaskResult, world: DirectWorld) -> TaskResult:
    return dataclasses.replace(result, leaf=result.leaf[:-1])


def other_arguments(result: TaskResult, world: DirectWorld) -> TaskResult:
    """Return a lie that hangs together: it did the work with other arguments."""
    raw = pack(dataclasses.replace(unpack(result.leaf), input=b"\7" * 32))
    tree = Frontier()
    tree.append(leaf_hash(raw))
    (book,) = node_books(world)
    head = sign_head(world.ledger.domain, world.node, TreeHead(book.channel.id, 1, tree.root()))
    return dataclasses.replace(result, leaf=raw, root=tree.root(), proof=(), signature=head.signature)


@pytest.mark.parametrize("lie", [another_value, another_size, not_a_leaf, other_arguments])
async def test_no_lie_about_a_function_is_paid(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch, lie: Callable[[TaskResult, DirectWorld], TaskResult]
) -> None:
    lying(monkeypatch, world, lie)
    task = function_task(len, ("four",), resources=SMALL, timeout_s=20)
    async with world.serving(claims=True) as node:
        publisher = world.publisher(node)
        with pytest.raises(InvalidSignature):
            await publisher.run(task)
        book = book_of(publisher)
        assert book.dispute
        assert book.voucher is None
        with pytest.raises(Conflict, match="in dispute"):
            await publisher.run(task)
    assert await world.ledger.balance(world.node.address) == 0


# A lying publisher.


@pytest.mark.parametrize("change", ["task", "place", "limit_nano", "payload", "spec", "salt"])
async def test_an_order_that_was_changed_after_it_was_signed_is_refused(
    world: DirectWorld, change: str
) -> None:
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(echo())
        order = signed_order(publisher, function_task(len, ("four",), resources=SMALL, timeout_s=20))
        if change == "spec":
            order.spec.timeout_ms += 1
        elif change == "salt":
            order.channel.salt = bytes(32)
        elif change == "payload":
            order.payload += b"!"
        else:
            setattr(order, change, "other" if change == "task" else getattr(order, change) + 1)
        with pytest.raises(InvalidSignature, match="signed by"):
            await say_to_node(node, *requests(order))


async def test_an_order_for_another_network_chain_or_contract_is_refused(world: DirectWorld) -> None:
    domain = world.ledger.domain
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(echo())
        for other in (
            Domain(domain.chain_id + 1, domain.contract, domain.network),
            Domain(domain.chain_id, world.node.address, domain.network),
            Domain(domain.chain_id, domain.contract, "ab" * 16),
        ):
            order = _order_in(publisher, other)
            with pytest.raises(InvalidSignature, match="on this network and chain"):
                await say_to_node(node, *requests(order))


def _order_in(publisher: DirectPublisher, domain: Domain) -> compute_pb2.TaskOrder:
    from farlane.ledger.direct_leaf import input_digest
    from farlane.ledger.leaf import spec_digest
    from farlane.ledger.orders import Order, sign_order, task_digest

    task, book = echo(), book_of(publisher)
    order = signed_order(publisher, task)
    signed = Order(
        book.channel.id, task_digest("raw"), spec_digest(task.spec), input_digest(task.spec, b""), order.place,
        order.limit_nano,
    )  # fmt: skip
    order.signature = sign_order(domain, publisher._channel.session_key(), signed)
    return order


@pytest.mark.parametrize("wrong", ["less", "more", "root", "signer", "ahead", "domain"])
async def test_a_wrong_voucher_pays_nothing_and_the_right_one_still_does(
    world: DirectWorld, wrong: str
) -> None:
    async with world.serving(tasks=1) as node:
        publisher = world.publisher(node)
        first = await publisher.run(echo(), deposit_units=10**8)
        order = signed_order(publisher, echo("b"))
        result = await _result(node, *requests(order))
        key, book, domain = publisher._channel.session_key(), book_of(publisher), world.ledger.domain
        owed = first.leaf.amount_nano + unpack(result.leaf).amount_nano
        right = Voucher(book.channel.id, owed, 2, result.root)
        changes = {"less": {"cumulative": owed - 1}, "more": {"cumulative": 2**96 - 1}, "root": {"root": b"\1" * 32},
                   "ahead": {"tasks": 3}}  # fmt: skip
        promise = dataclasses.replace(right, **changes.get(wrong, {}))  # type: ignore[arg-type]
        signer = PrivateKey.generate() if wrong == "signer" else key
        where = Domain(1, domain.contract, domain.network) if wrong == "domain" else domain
        with pytest.raises((InvalidSignature, Conflict)):
            await say_to_node(node, *requests(order, sign_voucher(where, signer, promise)))
        assert node_books(world)[0].paid_tasks == 1
        replies = await say_to_node(node, *requests(order, sign_voucher(domain, key, right)))
        assert [reply.WhichOneof("kind") for reply in replies] == ["result", "paid"]
        assert node_books(world)[0].paid_tasks == 2


async def _result(node: FoundNode, *said: compute_pb2.TaskRequest) -> compute_pb2.TaskResult:
    """Make a call, take its result and hang up."""
    async with compute_stub(node.entry) as stub:
        call = stub.ExecuteTask(timeout=60)
        for request in said:
            await call.write(request)
        while isinstance(reply := await call.read(), compute_pb2.TaskReply):
            if reply.WhichOneof("kind") == "result":
                call.cancel()
                return reply.result
    raise AssertionError("there was no result")


async def test_a_place_counts_once_whatever_is_ordered_at_it(world: DirectWorld) -> None:
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(echo())
        with pytest.raises(Conflict, match="replayed"):
            await say_to_node(node, *requests(signed_order(publisher, echo("b"), place=0)))


async def test_what_is_too_large_for_a_message_ends_the_call_alone(world: DirectWorld) -> None:
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(echo())
        order = signed_order(publisher, echo("b"))
        order.payload = bytes(MESSAGE_BYTES)
        with pytest.raises(TooLarge):
            await say_to_node(node, *requests(order))
        order.payload = bytes(5 << 20)
        with pytest.raises(TooLarge, match="through a hub"):
            await say_to_node(node, *requests(order))
        assert (await publisher.run(echo("c"))).stdout == b"c\n"


# A stalled publisher.


async def test_who_says_nothing_is_cut_off_and_others_are_served(world: DirectWorld) -> None:
    async with world.serving(silence_s=0.3) as node, compute_stub(node.entry) as stub:
        silent = stub.ExecuteTask(timeout=60)
        publisher = world.publisher(node)
        await publisher.run(echo())
        assert (await silent.code()).name == "UNAVAILABLE"
        assert "no order came within 0.3 s" in str(await silent.details())


async def test_who_takes_a_result_and_stalls_is_cut_off_and_still_owes(world: DirectWorld) -> None:
    async with world.serving(silence_s=0.3, tasks=1) as node:
        publisher = world.publisher(node)
        await publisher.run(echo(), deposit_units=10**8)
        order = signed_order(publisher, echo("b"))
        with pytest.raises(FarlaneError, match="no voucher came within"):
            await _take_and_stall(node, order)
        with pytest.raises(FarlaneError, match="not paid"):
            await say_to_node(node, *requests(signed_order(publisher, echo("c"), "other", place=2)))


async def _take_and_stall(node: FoundNode, order: compute_pb2.TaskOrder) -> None:
    async with compute_stub(node.entry) as stub:
        call = stub.ExecuteTask(timeout=60)
        remember_end(call)
        await call.write(compute_pb2.TaskRequest(order=order))  # and never again, nor is the end of it said
        try:
            while isinstance(await call.read(), compute_pb2.TaskReply):
                pass
        except grpc.aio.AioRpcError as error:
            raise await final_error(call, error, "stalling") from error


async def test_a_voucher_in_place_of_an_order_makes_no_sense(world: DirectWorld) -> None:
    async with world.serving() as node:
        nonsense = compute_pb2.TaskRequest(voucher=compute_pb2.DirectVoucher())
        with pytest.raises(InvalidInput, match="expected its order"):
            await say_to_node(node, nonsense)


# Lost memory.


async def test_after_a_restart_the_same_order_is_answered_with_the_kept_result(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    task = command_task(f"echo x >> {tmp_path}/runs; wc -l < {tmp_path}/runs", resources=SMALL, timeout_s=20)
    async with world.serving() as node:
        with monkeypatch.context() as crash:
            crash.setattr(DirectPublisher, "_accept", dies)
            with pytest.raises(KeyboardInterrupt):
                await world.publisher(node).run(task, order_id="mine")
    async with world.serving() as node:
        again = await world.publisher(node).run(task, order_id="mine")
        assert again.stdout.strip() == b"1"  # it was not run again
        assert again.receipt.index == 0
        fresh = await world.publisher(node).run(task, order_id="mine")  # done and paid: a new order
        assert fresh.stdout.strip() == b"2"


async def test_a_result_that_is_no_longer_kept_is_refused_clearly(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.node.direct.book_store.KEPT_RESULTS", 1)
    async with world.serving() as node:
        publisher = world.publisher(node)
        await publisher.run(echo(), order_id="first")
        for name in "bcd":
            await publisher.run(echo(name))
        old = signed_order(publisher, echo(), "first", place=0)
        with pytest.raises(Conflict, match="done and paid long ago"):
            await say_to_node(node, *requests(old))
        newest = signed_order(publisher, echo("d"), "other", place=3)
        with pytest.raises(Conflict, match="replayed"):
            await say_to_node(node, *requests(newest))


async def test_what_runs_when_a_node_ends_at_once_has_no_leaf_and_is_run_again(
    world: DirectWorld, tmp_path: Path
) -> None:
    go, begun = tmp_path / "go", asyncio.Event()
    task = command_task(f"echo begun; until [ -e {go} ]; do :; done", resources=SMALL, timeout_s=20)

    async def serve(found: asyncio.Future[FoundNode]) -> None:
        async with world.serving(claims=True) as node:
            found.set_result(node)
            await asyncio.Event().wait()

    found: asyncio.Future[FoundNode] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(serve(found))
    node = await found
    run = asyncio.ensure_future(world.publisher(node).run(task, on_output=lambda stream, data: begun.set()))
    async with asyncio.timeout(20):
        await begun.wait()
    serving.cancel()
    with pytest.raises(ConnectionLost, match="Blame: provider"):
        await run
    await asyncio.wait([serving])
    assert node_books(world) == []
    go.touch()
    async with world.serving(claims=True) as node:
        (recovered,) = await world.publisher(node).recover()
        assert recovered.receipt.index == 0
        assert recovered.failure is None
    assert await world.ledger.balance(world.node.address) == recovered.leaf.amount_nano


async def test_a_node_that_lost_its_books_is_not_paid_for_another_tree(
    world: DirectWorld, tmp_path: Path
) -> None:
    async with world.serving() as node:
        await world.publisher(node).run(echo())
    for file in (tmp_path / "node").glob("direct.db*"):
        file.unlink()
    async with world.serving() as node:
        with pytest.raises((InvalidSignature, Conflict)):
            await world.publisher(node).run(echo("b"))
