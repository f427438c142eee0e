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

from farlane.domain.jobs import FunctionWork, JobSpec
from farlane.domain.resources import Resources
from farlane.hub.books.books import Signing
from farlane.ledger.accounts import Address, PrivateKey
from farlane.node.agent import NodeAgent
from farlane.node.books.node_book import NodeBook
from farlane.node.settings import NodeSettings
from farlane.sdk.client import AsyncClient
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_book import DOMAIN, UNITS_PER_CREDIT

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


async def joined(agent: NodeAgent) -> bool:
    await until(lambda: agent._live is not None)
    return True
