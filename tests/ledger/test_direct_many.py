"""Several direct calls at once: they end in any order, and a payer never owes more than the node lets it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, Exhausted, InsufficientFunds
from farlane.ledger.receipt import verify
from farlane.node.direct.running import DirectRunner, RunFacts
from farlane.sdk.direct import DirectPublisher
from farlane.sdk.direct_task import DirectTask, command_task
from farlane.testing.direct_world import SMALL, DirectWorld, direct_world, say_to_node
from farlane.wire.compute import TaskOrder, order_to_wire
from farlane.wire.v1 import compute_pb2

pytestmark = pytest.mark.real


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        yield found


class Gate:
    """Holds tasks back, each under the name it echoes, until a test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open: dict[str, asyncio.Event] = {}
        self._begun: dict[str, asyncio.Event] = {}
        honest, gate = DirectRunner.run, self

        async def held(self: DirectRunner, payer: str, order: TaskOrder, *given: object) -> RunFacts:
            assert order.spec.command is not None
            name = order.spec.command.run.split()[-1]
            gate._event(gate._begun, name).set()
            await gate._event(gate._open, name).wait()
            return await honest(self, payer, order, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(DirectRunner, "run", held)

    def _event(self, events: dict[str, asyncio.Event], name: str) -> asyncio.Event:
        return events.setdefault(name, asyncio.Event())

    async def begun(self, name: str) -> None:
        async with asyncio.timeout(20):
            await self._event(self._begun, name).wait()

    def open(self, *names: str) -> None:
        for name in names:
            self._event(self._open, name).set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def echo(name: str, timeout_s: float = 20) -> DirectTask:
    return command_task(f"echo {name}", resources=SMALL, timeout_s=timeout_s)


async def test_tasks_of_one_channel_run_at_once_and_end_in_any_order(world: DirectWorld, gate: Gate) -> None:
    names = ["a", "b", "c", "d"]
    async with world.serving(claims=True) as node:
        # A publisher each: tasks of one process and of several share a channel alike.
        runs = [asyncio.ensure_future(world.publisher(node).run(echo(name))) for name in names]
        for name in names:
            await gate.begun(name)
        found = {}
        for name, run in reversed(list(zip(names, runs, strict=True))):
            gate.open(name)
            found[name] = await run
        assert {name: run.stdout for name, run in found.items()} == {n: f"{n}\n".encode() for n in names}
        assert [found[name].receipt.index for name in reversed(names)] == [0, 1, 2, 3]
        assert len({run.receipt.channel.id for run in found.values()}) == 1
        assert all(one.ok for run in found.values() for one in verify(run.receipt))
    owed = sum(run.leaf.amount_nano for run in found.values())
    assert await world.ledger.balance(world.node.address) == owed


async def test_results_that_come_at_once_are_taken_in_the_order_of_the_tree(world: DirectWorld) -> None:
    async with world.serving() as node:
        publisher = world.publisher(node)
        found = await asyncio.gather(*(publisher.run(echo(str(number))) for number in range(8)))
        assert [run.stdout for run in found] == [f"{number}\n".encode() for number in range(8)]
        assert sorted(run.receipt.index for run in found) == list(range(8))
        book = publisher._channel.file.load()
        assert book is not None
        assert (book.size, book.done_below, book.done, book.pending) == (8, 8, frozenset(), ())


async def test_one_more_than_the_node_allows_waits_for_its_turn(world: DirectWorld, gate: Gate) -> None:
    async with world.serving(tasks=2) as node:
        publisher = world.publisher(node)
        one = asyncio.ensure_future(publisher.run(echo("a")))
        await gate.begun("a")
        two = asyncio.ensure_future(publisher.run(echo("b")))
        await gate.begun("b")
        three = asyncio.ensure_future(publisher.run(echo("c")))
        with pytest.raises(Exhausted, match="at once"):
            await say_to_node(node, order_beside(publisher, echo("more")))
        gate.open("b", "c")
        assert (await two).receipt.index == 0
        await gate.begun("c")
        assert not one.done()
        gate.open("a")
        assert {(await run).failure for run in (one, three)} == {None}


def order_beside(publisher: DirectPublisher, task: DirectTask) -> compute_pb2.TaskRequest:
    """Return an order that the publisher's book knows nothing of."""
    book = publisher._channel.file.load()
    assert book is not None
    order = publisher._order(
        publisher._channel.session_key(), book, "beside", task, publisher.quote_ceiling(task)
    )
    return compute_pb2.TaskRequest(order=order_to_wire(order))


async def test_a_payer_owes_no_more_over_several_channels_than_over_one(
    world: DirectWorld, gate: Gate
) -> None:
    async with world.serving() as node:
        ceiling = world.publisher(node).quote_ceiling(echo("x"))
    async with world.serving(credit_nano=2 * ceiling) as node:
        one = asyncio.ensure_future(world.publisher(node, "one").run(echo("a")))
        await gate.begun("a")
        two = asyncio.ensure_future(world.publisher(node, "two").run(echo("b")))
        await gate.begun("b")
        with pytest.raises(InsufficientFunds, match="over all its channels"):
            await world.publisher(node, "three").run(echo("c"))
        gate.open("a")
        await one  # and paid: there is room again
        three = asyncio.ensure_future(world.publisher(node, "three").run(echo("c")))
        await gate.begun("c")
        gate.open("b", "c")
        assert (await two).failure is (await three).failure is None


async def test_what_was_not_paid_on_one_channel_counts_on_another(
    world: DirectWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    async with world.serving() as node:
        publisher = world.publisher(node, "one")
        ceiling = publisher.quote_ceiling(echo("x"))
    async with world.serving(credit_nano=ceiling) as node:
        with monkeypatch.context() as greedy:
            greedy.setattr(DirectPublisher, "_accept", dies)
            with pytest.raises(KeyboardInterrupt):
                await world.publisher(node, "one").run(echo("a"))
        with pytest.raises(InsufficientFunds, match="over all its channels"):
            await world.publisher(node, "two").run(echo("b"))
        await world.publisher(node, "one").recover()  # which pays
        assert (await world.publisher(node, "two").run(echo("b"))).failure is None


async def test_an_order_that_is_sent_twice_runs_once_and_its_id_is_answered_again(
    world: DirectWorld, gate: Gate
) -> None:
    async with world.serving() as node:
        publisher = world.publisher(node)
        run = asyncio.ensure_future(publisher.run(echo("a"), order_id="mine"))
        await gate.begun("a")
        book = publisher._channel.file.load()
        assert book is not None
        message = compute_pb2.TaskRequest(order=compute_pb2.TaskOrder.FromString(book.pending[0].message))
        again = asyncio.ensure_future(_replies(node, message))
        gate.open("a")
        first = await run
        kinds, result = await again
        assert kinds[0] == "accepted"
        assert first.leaf.task == 1 << 24
        assert result.stdout == b"a\n"
        kinds, later = await _replies(node, message)  # it is done by now
        assert kinds == ["result"]
        assert later == result
        with pytest.raises(Conflict, match="lost its book"):
            await say_to_node(node, order_at(publisher, echo("z"), 9))


def order_at(publisher: DirectPublisher, task: DirectTask, place: int) -> compute_pb2.TaskRequest:
    """Return a signed order for a place far ahead."""
    book = publisher._channel.file.load()
    assert book is not None
    ahead = dataclasses.replace(book, done_below=place)
    order = publisher._order(
        publisher._channel.session_key(), ahead, "far", task, publisher.quote_ceiling(task)
    )
    return compute_pb2.TaskRequest(order=order_to_wire(order))


async def _replies(node: object, *requests: compute_pb2.TaskRequest) -> tuple[list[str], object]:
    """Send an order and hang up at its result, without a voucher."""
    from farlane.sdk.direct_nodes import FoundNode, compute_stub

    assert isinstance(node, FoundNode)
    kinds: list[str] = []
    async with compute_stub(node.entry) as stub:
        call = stub.ExecuteTask(timeout=60)
        for request in requests:
            await call.write(request)
        while isinstance(reply := await call.read(), compute_pb2.TaskReply):
            kinds.append(str(reply.WhichOneof("kind")))
            if kinds[-1] == "result":
                call.cancel()
                return kinds, reply.result
    raise AssertionError(kinds)
