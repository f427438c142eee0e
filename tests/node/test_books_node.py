"""A whole node, with real workers, and a real hub that keeps its books."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cloudpickle
import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.jobs import FunctionWork, JobSpec, TaskState
from farlane.domain.resources import Resources
from farlane.hub.books.books import Signing
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.books import Book
from farlane.node.agent import NodeAgent
from farlane.node.books.node_book import NodeBook
from farlane.node.settings import NodeSettings
from farlane.sdk.client import AsyncClient
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_book import DOMAIN, UNITS_PER_CREDIT, ScriptedBook, a_leaf
from farlane.testing.scripted_hub import NodeStream, ScriptedHub, scripted_hub

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MIB = 1 << 20


@dataclass
class Payers:
    """Accounts of a network in which one payer pays for all."""

    key: PrivateKey
    account: Address

    def payer(self, organisation: str) -> Address:
        return self.account

    def signer(self) -> Address:
        return self.key.address

    def holds_payer(self, organisation: str) -> bool:
        return True


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path / "hub") as hub:
        pay(hub)
        yield hub


SESSION = PrivateKey.generate()
PAYER = PrivateKey.generate().address


def pay(hub: RunningHub) -> None:
    """Give a hub accounts and a key to sign vouchers with."""
    hub.hub.books._accounts = Payers(SESSION, PAYER)
    hub.hub.bookkeeper.set_signing(Signing(DOMAIN, UNITS_PER_CREDIT, SESSION))


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    return NodeSettings(
        directory=tmp_path / "node", name="one", memory="1GiB", disk="64MiB", cache="32MiB", gpus="none",
        core_hour="360", head_s=0.2,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(settings: NodeSettings, hub: RunningHub) -> AsyncIterator[NodeAgent]:
    agent = NodeAgent(settings, hub.url, hub.token("node", "", "lab"))
    work = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await work


async def job(client: AsyncClient, called: Callable[..., object], **changes: object) -> JobSpec:
    blob = await client.put_once(cloudpickle.dumps(called))
    spec = JobSpec(
        name="job", function=FunctionWork(blob, PYTHON, "f"), resources=Resources(1000, 64 * MIB, 0),
        timeout_ms=20_000, organisation="lab", publisher="lab/ada",
    )  # fmt: skip
    return replace(spec, **changes)  # type: ignore[arg-type]


def call(*args: object) -> bytes:
    return cloudpickle.dumps((args, {}))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def books(agent: NodeAgent) -> list[NodeBook]:
    assert agent._live is not None
    return list(agent._live._books.keeper.shelf.all.values())


async def test_results_failures_and_stops_are_booked_and_paid(
    settings: NodeSettings, hub: RunningHub
) -> None:
    def work(number: int) -> int:
        if number % 3 == 0:
            raise ValueError(number)
        return number

    async with running(settings, hub) as agent, hub.client() as client:
        handle = await client.submit(await job(client, work), [call(number) for number in range(30)])
        await handle.wait()
        await until(lambda: len(books(agent)) == 1 and books(agent)[0].paid_tasks == 30)
        (book,) = books(agent)
        theirs = hub.hub.books.all[1]
        assert (book.durable.size, book.durable.root) == (30, theirs.book.frontier.root())
        assert book.unpaid_nano() == 0
        assert book.book.voucher is not None
        assert book.book.voucher.cumulative == theirs.book.owed_nano > 0
        figures = agent._live.read().books  # type: ignore[union-attr]
        assert (figures.objections, figures.unremembered) == (0, 0)


async def test_a_stopped_job_is_paid_for_the_time_it_ran(settings: NodeSettings, hub: RunningHub) -> None:
    def work() -> None:
        import time

        time.sleep(60)

    async with running(settings, hub) as agent, hub.client() as client:
        handle = await client.submit(await job(client, work, timeout_ms=100_000), [call()] * 3)
        assert agent._live is not None or await joined(agent)
        await until(lambda: bool(agent._live.in_progress()))  # type: ignore[union-attr]
        await handle.stop("enough")
        await until(
            lambda: bool(books(agent)) and books(agent)[0].paid_tasks == hub.hub.books.all[1].book.size
        )
        (book,) = books(agent)
        assert book.objection == ""
        assert book.book.voucher is not None
        assert book.book.voucher.cumulative > 0


async def test_books_go_on_after_hub_and_node_were_restarted(settings: NodeSettings, hub: RunningHub) -> None:
    async with hub.client() as client:
        spec = await job(client, lambda: 1)
        async with running(settings, hub) as agent:
            await (await client.submit(spec, [call()] * 5)).wait()
            await until(lambda: bool(books(agent)) and books(agent)[0].paid_tasks == 5)
            await hub.restart()
            pay(hub)
            await (await client.submit(spec, [call()] * 5)).wait()
            await until(lambda: books(agent)[0].paid_tasks == 10)
        async with running(settings, hub) as agent:
            await (await client.submit(spec, [call()] * 5)).wait()
            await until(lambda: books(agent)[0].paid_tasks == 15)
            assert len(books(agent)) == 1
            assert books(agent)[0].durable.root == hub.hub.books.all[1].book.frontier.root()


async def test_a_hub_that_does_not_pay_gets_work_up_to_the_credit(
    settings: NodeSettings, hub: RunningHub
) -> None:
    hub.hub.books.signing = None  # the chain is away: nobody signs
    settings = replace(settings, credit="0.2")

    def work() -> None:
        import time

        time.sleep(0.2)

    async with running(settings, hub) as agent, hub.client() as client:
        handle = await client.submit(await job(client, work), [call()] * 20)
        await until(lambda: agent._live is not None and bool(agent._live.read().books.stopped))
        await until(lambda: bool(hub.hub.reactor.state.credit_stops))
        why = await handle.why()
        assert "owes this node" in str(why)
        done = (await handle.status()).done
        assert 0 < done < 20
        hub.hub.bookkeeper.set_signing(Signing(DOMAIN, UNITS_PER_CREDIT, SESSION))
        await until(lambda: not hub.hub.reactor.state.credit_stops)
        assert (await handle.wait()).done == 20


async def test_a_payer_without_money_gets_work_up_to_the_credit(
    settings: NodeSettings, hub: RunningHub
) -> None:
    hub.hub.bookkeeper.set_signing(Signing(DOMAIN, UNITS_PER_CREDIT, SESSION, starting=0))
    settings = replace(settings, credit="0.2")

    def work() -> None:
        import time

        time.sleep(0.2)

    async with running(settings, hub), hub.client() as client:
        handle = await client.submit(await job(client, work), [call()] * 20)
        await until(lambda: bool(hub.hub.reactor.state.credit_stops) and bool(hub.hub.books.waiting))
        hub.hub.books.see({}, {PAYER: 0})
        assert "`farlane ledger grant" in str(await handle.why())
        hub.hub.chain_trouble = "the chain cannot be reached"
        assert "vouchers of 1 books wait for the chain: the chain cannot be reached" in str(
            await handle.why()
        )
        assert hub.hub.books.all[1].voucher is None
        assert 0 < (await handle.status()).done < 20
        hub.hub.books.see({}, {PAYER: 10**12})
        await until(lambda: not hub.hub.reactor.state.credit_stops)
        assert (await handle.wait()).done == 20
        assert hub.hub.notices("lab") == ()


async def joined(agent: NodeAgent) -> bool:
    await until(lambda: agent._live is not None)
    return True


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[ScriptedHub]:
    async with scripted_hub(tmp_path / "scripted") as hub:
        yield hub


@contextlib.asynccontextmanager
async def serving(settings: NodeSettings, hub: ScriptedHub) -> AsyncIterator[NodeAgent]:
    agent = NodeAgent(settings, hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await work


def echo(hub: ScriptedHub) -> JobSpec:
    return JobSpec(
        name="job", function=FunctionWork(hub.put(cloudpickle.dumps(lambda data: data)), PYTHON, "f"),
        resources=Resources(1000, 64 * MIB, 0), timeout_ms=20_000, organisation="lab", publisher="ada",
    )  # fmt: skip


async def booked(stream: NodeStream, agent: NodeAgent, spec: JobSpec, first: int) -> bytes:
    """Have a task done and reported; return its honest leaf."""
    (task,) = await stream.lease(1, spec, [call(b"x")], first=first)
    ended = (await stream.receive("ended")).ended
    rates = agent._live._spec.rates  # type: ignore[union-attr]
    return a_leaf(
        task,
        spec,
        rates,
        payload=call(b"x"),
        result=ended.results.inline[0],
        lease_ms=max(1, ended.lease_ms[0]),
    )


async def test_a_node_says_who_it_is_and_signs_over_tls(
    settings: NodeSettings, scripted: ScriptedHub
) -> None:
    async with serving(settings, scripted) as agent:
        opened = await scripted.opened()
        hello = (await opened.receive("hello")).hello
        key = Address(hello.account.key)
        assert hello.account.provider == key
        assert not hello.books
        book, stream = ScriptedBook(key), await scripted.joined()
        await stream.send(terms=book.terms())
        spec = echo(scripted)
        await stream.send(leaves=book.append(await booked(stream, agent, spec, 0)))
        head = (await stream.receive("head")).head
        voucher = book.answer(head, key)
        await stream.send(voucher=voucher)
        await until(lambda: books(agent)[0].paid_tasks == 1)
    async with serving(settings, scripted):
        opened = await scripted.opened()
        hello = (await opened.receive("hello")).hello
        assert hello.account.key == key
        (mark,) = hello.books
        assert (mark.book, mark.size, mark.tasks, mark.root) == (1, 1, 1, head.root)


async def test_a_fork_after_a_reconnection_stops_the_work(
    settings: NodeSettings, scripted: ScriptedHub
) -> None:
    async with serving(settings, scripted) as agent:
        opened = await scripted.opened()
        key = Address((await opened.receive("hello")).hello.account.key)
        book, stream, spec = ScriptedBook(key), await scripted.joined(), echo(scripted)
        await stream.send(terms=book.terms())
        await stream.send(leaves=book.append(await booked(stream, agent, spec, 0)))
        await stream.receive("head")
        stream.close.set()
        again = await scripted.joined()
        forked = replace(book, book=Book())
        await again.send(terms=forked.terms())
        credit = await again.receive("credit")
        while not credit.credit.stopped:
            credit = await again.receive("credit")
        assert "has dropped some, or started its book anew" in credit.credit.reason
        await again.lease(1, spec, [call(b"x")], first=1)
        ((_, _, failure),) = (await again.results(1)).values()
        assert failure is not None
        assert failure.kind == FailureKind.HANDED_BACK
        assert "in dispute" in failure.message


async def test_leaves_of_a_book_never_introduced_end_the_stream_and_nothing_else(
    settings: NodeSettings, scripted: ScriptedHub
) -> None:
    async with serving(settings, scripted) as agent:
        stream = await scripted.joined()
        spec, book = echo(scripted), ScriptedBook(PAYER)
        await stream.send(leaves=book.append(await booked(stream, agent, spec, 0)))
        await stream.ended.wait()
        again = await scripted.joined()
        await again.lease(1, spec, [call(b"x")], first=1)
        assert (await again.results(1)).popitem()[1][0] == TaskState.DONE
