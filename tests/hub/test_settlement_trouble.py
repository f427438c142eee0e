"""Settlement in trouble, on a real chain: what one payer or channel cannot do holds up no other, and is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farlane.errors import Internal
from farlane.hub.settlement.service import Settlement
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.fees import GWEI
from farlane.ledger.outbox.intents import GasPolicy, policy_of
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.port import CLOSED, ChannelOpened, ChannelState, ChannelToppedUp
from farlane.ledger.rpc import RpcClient
from farlane.testing.settling_world import CREDIT, NODE, NODE_KEY, NODE_KEYS, OTHER_NODE, SettlingWorld

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]
OTHER_KEY = NODE_KEYS[OTHER_NODE]
DAY_S = 86_400


@pytest.fixture(autouse=True)
async def unmoved(anvil_url: str) -> AsyncIterator[None]:
    """Put the chain that all tests share back to where and when it was."""
    async with RpcClient(anvil_url) as rpc:
        before = await rpc.call("evm_snapshot")
        yield
        await rpc.call("evm_revert", before)


@pytest.fixture
async def world(tmp_path: Path, anvil_url: str) -> SettlingWorld:
    return SettlingWorld(tmp_path, anvil_url)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.01)


async def paid(service: Settlement, key: PrivateKey) -> int:
    return await service.desk.ledger.balance(key.address)


async def channel(service: Settlement, channel_id: bytes) -> ChannelState:
    return await service.desk.ledger.channel(channel_id)


async def set_coin(world: SettlingWorld, organisation: str, wei: int) -> None:
    async with RpcClient(world.url) as rpc:
        await rpc.call("anvil_setBalance", world.keys.payer(organisation), hex(wei))


async def test_a_pause_stops_no_claim_and_what_it_refused_is_done_after_it(world: SettlingWorld) -> None:
    async with world.settling() as service:
        world.work(3, CREDIT // 4)
        await service.settle_now()
        world.sign()
        await world.send(service, world.keys.operator(), "pause")
        world.work(1, CREDIT, OTHER_NODE)
        await service.settle_now()
        assert await paid(service, NODE_KEY) == CREDIT * 3 // 4
        assert "Paused" in service.problem
        await service.settle_now()  # refused once more, under another number
        world.work(1, CREDIT)  # a top-up is refused now too, and what is owed to the other grows
        world.work(1, CREDIT, OTHER_NODE)
        await service.settle_now()
        await world.send(service, world.keys.operator(), "unpause")
        await service.settle_now()
        assert service.problem == ""
        for node in (NODE, OTHER_NODE):
            book = world.book(node)
            state = await channel(service, book.channel.id)
            assert state.deposit == book.book.owed_nano + CREDIT
            world.sign(book)
        await service.settle_now()
        assert (await paid(service, NODE_KEY), await paid(service, OTHER_KEY)) == (
            CREDIT * 7 // 4,
            2 * CREDIT,
        )


async def test_a_payer_without_coin_holds_up_nobody_and_goes_on_with_some(world: SettlingWorld) -> None:
    async with world.settling() as service:
        world.work(3, CREDIT // 4)
        await service.settle_now()
        world.sign()
        world.work(1, CREDIT, organisation="poor")
        await service.grant("g", "poor", 100 * CREDIT)
        service.state.begun.add("poor")  # as where no faucet gives coin
        settling = asyncio.create_task(service.settle_now())

        async def is_paid() -> bool:
            return await paid(service, NODE_KEY) == CREDIT * 3 // 4

        await until(is_paid)
        assert not settling.done()
        await set_coin(world, "poor", 10**18)
        await settling
        book = world.book(organisation="poor")
        assert (await channel(service, book.channel.id)).deposit == 2 * CREDIT


async def test_a_round_has_an_end_and_the_next_one_takes_up_what_waits(world: SettlingWorld) -> None:
    async with world.settling(patience_s=0.2) as service:
        await service.wait_ready()
        await service.grant("g", "poor", 100 * CREDIT)
        service.state.begun.add("poor")
        world.work(1, CREDIT, organisation="poor")
        assert await service.settle_now() == []
        assert "needs coin" in service.problem
    async with world.settling() as service:  # the hub starts again, and more is owed meanwhile
        service.state.begun.add("poor")
        world.work(1, CREDIT, organisation="poor")
        await set_coin(world, "poor", 10**18)
        await service.settle_now()
        await service.settle_now()
        channel_id = world.book(organisation="poor").channel.id
        steps = [
            event.amount
            for event in await service.desk.ledger.events()
            if isinstance(event, ChannelOpened | ChannelToppedUp)
        ]
        assert steps == [2 * CREDIT, CREDIT]
        assert (await channel(service, channel_id)).deposit == 3 * CREDIT


async def test_work_during_a_close_goes_into_another_book_and_the_first_is_claimed_on(
    tmp_path: Path, anvil_url: str
) -> None:
    payer = PrivateKey.generate()
    world = SettlingWorld(tmp_path, anvil_url, {"lab": payer.address})
    async with world.settling() as service:
        await service.wait_ready()
        ledger, operator = service.desk.ledger, world.keys.key(world.keys.operator())
        await ledger.rpc.call("anvil_setBalance", payer.address, hex(10**18))
        await ledger.mint(operator, payer.address, 100 * CREDIT)
        await ledger.deposit(payer, 100 * CREDIT)
        world.work(1, CREDIT)
        first = world.book()
        await ledger.open_channel(payer, first.channel, 3 * CREDIT)
        await ledger.start_close(payer, first.channel)
        await service.settle_now()
        world.sign(first)
        world.work(2, CREDIT)
        second = world.book()
        assert (first.book.owed_nano, second.book.owed_nano) == (CREDIT, 2 * CREDIT)
        await service.settle_now()
        assert (await channel(service, first.channel.id)).claimed == CREDIT
        assert f"farlane ledger open {second.opened.book} " in world.keeper.payers["lab"].notices[0]


async def test_a_channel_that_is_being_closed_is_claimed_although_gas_is_dear(world: SettlingWorld) -> None:
    policy = GasPolicy(1, 10**6 * GWEI)
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        world.sign()
        book = world.book()
    async with world.settling(policy=policy, patience_s=0.2) as service:
        await service.wait_ready()
        async with RpcClient(world.url) as rpc:
            await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
            await rpc.call("evm_mine")

        async def waits() -> bool:
            return "gas is too dear" in service.problem

        asking = asyncio.create_task(service.settle_now())
        await until(waits)
        asking.cancel()
        await asyncio.wait([asking])
        assert await paid(service, NODE_KEY) == 0
        terms = book.channel.provider, book.channel.signer, book.channel.salt
        await world.send(service, book.channel.payer, "startClose", *terms)
        async with RpcClient(world.url) as rpc:
            await rpc.call("evm_increaseTime", DAY_S - 3600)  # all of the ramp is over
            await rpc.call("evm_mine")
        await service.settle_now()

        async def is_paid() -> bool:
            return await paid(service, NODE_KEY) == CREDIT

        await until(is_paid)


async def test_a_channel_used_no_more_is_filled_claimed_and_closed(world: SettlingWorld) -> None:
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        old = world.book()
        world.work(1, 5 * CREDIT)
        world.sign()
        world.keeper.books.supersede(old.opened.book)
        world.work(1, CREDIT)
        assert world.book() is not old
        await service.settle_now()  # fills up to the promise, and claims it
        assert await channel(service, old.channel.id) == ChannelState(6 * CREDIT, 6 * CREDIT, 0)
        assert await paid(service, NODE_KEY) == 6 * CREDIT
        await service.settle_now()
        assert 0 < (await channel(service, old.channel.id)).close_at < CLOSED
        assert await service.settle_now() == []  # within the window
        async with RpcClient(world.url) as rpc:
            await rpc.call("evm_increaseTime", DAY_S + 1)
            await rpc.call("evm_mine")
        await service.settle_now()
        assert (await channel(service, old.channel.id)).close_at == CLOSED
        assert await service.settle_now() == []
        left = await service.desk.ledger.balance(world.keys.payer("lab"))
        assert left == (1000 - 6 - 2) * CREDIT, "what is not paid or locked for present work has come back"


@pytest.mark.parametrize("step", ["top-up", "settle", "start-close", "finish-close"])
async def test_a_crash_on_the_way_of_a_close_leaves_it_to_the_next_process(
    world: SettlingWorld, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, died = ChainOutbox.submit, asyncio.Event()

    async def dies(self: ChainOutbox, key: str, call: Any) -> None:
        if not died.is_set():
            await submit(self, key, call)
        if died.is_set() or key.startswith(step):
            died.set()
            raise Internal(f"died at {key}")

    async def rounds(service: Settlement) -> None:
        for _ in range(2):
            await service.settle_now()
        async with RpcClient(world.url) as rpc:
            await rpc.call("evm_increaseTime", DAY_S + 1)
            await rpc.call("evm_mine")
        await service.settle_now()

    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        old = world.book()
        world.work(1, 5 * CREDIT)
        world.sign()
        world.keeper.books.supersede(old.opened.book)
        with monkeypatch.context() as patch:
            patch.setattr(ChainOutbox, "submit", dies)
            await rounds(service)
    assert died.is_set()
    async with world.settling() as service:
        await rounds(service)
        assert await channel(service, old.channel.id) == ChannelState(6 * CREDIT, 6 * CREDIT, CLOSED)
        assert await paid(service, NODE_KEY) == 6 * CREDIT
        assert await service.desk.ledger.balance(world.keys.payer("lab")) == 994 * CREDIT


async def test_what_waited_for_cheaper_gas_goes_on_under_a_higher_cap(world: SettlingWorld) -> None:
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        world.sign()
    async with world.settling(policy=policy_of(0.000001), patience_s=0.2) as service:
        await service.wait_ready()
        async with RpcClient(world.url) as rpc:
            await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
            await rpc.call("evm_mine")
        world.work(1, CREDIT, OTHER_NODE)
        await service.settle_now()
        await service.settle_now()
        assert "gas is too dear" in service.problem
    async with world.settling() as service:
        await service.settle_now()
        assert service.problem == ""
        assert await paid(service, NODE_KEY) == CREDIT
        assert (await channel(service, world.book(OTHER_NODE).channel.id)).deposit == 2 * CREDIT


async def test_a_refused_voucher_is_not_sent_again_before_something_changes(
    world: SettlingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[str] = []
    submit = ChainOutbox.submit

    async def counts(self: ChainOutbox, key: str, call: Any) -> None:
        submitted.append(key)
        await submit(self, key, call)

    monkeypatch.setattr(ChainOutbox, "submit", counts)
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        book = world.book()
        world.sign()
        good = book.voucher
        assert good is not None
        book.voucher = replace(good, signature=bytes([27]) * 65)
        for _ in range(3):
            await service.settle_now()
        assert len([key for key in submitted if key.startswith("settle")]) == 1
        assert service.state.refused == 1
        world.work(1, CREDIT)
        world.sign()
        await service.settle_now()
        assert await paid(service, NODE_KEY) == 2 * CREDIT
        assert service.state.refused == 0


async def test_a_closed_channel_is_asked_for_once(world: SettlingWorld) -> None:
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        old = world.book()
        world.sign()
        await service.settle_now()
        await service.desk.ledger.rpc.call("anvil_setBalance", NODE_KEY.address, hex(10**18))
        await service.desk.ledger.close_by_provider(NODE_KEY, old.channel)
        await service.settle_now()
        asked: list[bytes] = []
        read = service.desk.ledger.channel

        async def counts(channel_id: bytes) -> ChannelState:
            asked.append(channel_id)
            return await read(channel_id)

        service.desk.ledger.channel = counts  # type: ignore[method-assign]
        world.work(1, CREDIT)
        await service.settle_now()
        assert old.channel.id not in asked
        assert world.book().channel.id in asked


async def test_the_channel_of_an_account_that_pays_no_more_is_closed_by_its_own_key(
    tmp_path: Path, anvil_url: str
) -> None:
    world = SettlingWorld(tmp_path, anvil_url)
    async with world.settling() as service:
        world.work(1, CREDIT)
        await service.settle_now()
        old, held = world.book(), world.keys.payer("lab")
        world.sign()
    payer = PrivateKey.generate()
    world.pay_from({"lab": payer.address})  # from now on the organisation holds its account itself
    async with world.settling() as service:
        await service.wait_ready()
        world.work(1, CREDIT)
        assert world.book().channel.payer == payer.address
        await service.settle_now()
        await service.settle_now()
        state = await channel(service, old.channel.id)
        assert (state.claimed, 0 < state.close_at < CLOSED) == (CREDIT, True)
        assert old.channel.payer == held
        assert "farlane ledger open 2 " in world.keeper.payers["lab"].notices[0]
