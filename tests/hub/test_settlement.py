"""Settlement on a real chain: channels open, vouchers are paid once, however often the hub dies on the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from farlane.errors import Internal
from farlane.hub.books.payers import PayerState
from farlane.hub.grpc_api.ledger_service import LedgerService
from farlane.hub.settlement.reading import SettlementReader
from farlane.hub.settlement.service import Settlement
from farlane.hub.settlement.standing import lack_of
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.outbox.intents import policy_of
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import RpcClient
from farlane.testing.settling_world import CREDIT, NODE, NODE_KEY, SettlingWorld
from farlane.wire.serving import Identity
from farlane.wire.v1 import ledger_pb2

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


@pytest.fixture
async def world(tmp_path: Path, anvil_url: str) -> SettlingWorld:
    return SettlingWorld(tmp_path, anvil_url)


async def ready(service: Settlement) -> None:
    await service.settle_now()


async def test_work_is_paid_through_a_channel(world: SettlingWorld) -> None:
    async with world.settling() as service:
        await ready(service)
        world.work(3, CREDIT // 4)
        await service.settle_now()
        ledger = service.desk.ledger
        (found,) = world.keeper.books.of_node(NODE)
        state = await ledger.channel(found.channel.id)
        assert (state.deposit, state.claimed) == (CREDIT * 7 // 4, 0)
        world.sign()
        (paid,) = await service.settle_now()
        assert await ledger.balance(NODE_KEY.address) == CREDIT * 3 // 4
        assert paid.gas_used > 40_000
        assert await service.settle_now() == []  # nothing is left to do, and nothing is paid twice


async def test_a_channel_is_topped_up_and_paid_again(world: SettlingWorld) -> None:
    async with world.settling() as service:
        await ready(service)
        for _ in range(3):
            world.work(2, CREDIT)
            await service.settle_now()
            world.sign()
            await service.settle_now()
        assert await service.desk.ledger.balance(NODE_KEY.address) == 6 * CREDIT


async def test_a_payer_with_its_own_account_is_told_what_to_lock_and_paid_from_what_it_locked(
    tmp_path: Path, anvil_url: str
) -> None:
    payer = PrivateKey.generate()
    world = SettlingWorld(tmp_path, anvil_url, {"lab": payer.address})
    async with world.settling() as service:
        await ready(service)
        ledger, (operator, rpc) = service.desk.ledger, (world.keys.operator(), service.connection.rpc)  # type: ignore[union-attr]
        await rpc.call("anvil_setBalance", payer.address, hex(10**18))
        await ledger.mint(world.keys.key(operator), payer.address, 100 * CREDIT)
        await ledger.deposit(payer, 100 * CREDIT)
        world.work(2, CREDIT)
        world.sign()
        assert await service.settle_now() == []
        assert "`farlane ledger open 1 --amount 3`" in world.keeper.payers["lab"].notices[0]
        (found,) = world.keeper.books.of_node(NODE)
        assert found.voucher is None  # nothing stands behind one
        await ledger.open_channel(payer, found.channel, CREDIT * 5 // 2)
        await service.settle_now()  # sees it, and the head that waited has its voucher
        await service.settle_now()
        assert (await ledger.channel(found.channel.id)).claimed == 2 * CREDIT
        world.work(1, CREDIT)
        world.sign()
        await service.settle_now()
        assert "holds 2.5 credits; 0.5 more are owed" in world.keeper.payers["lab"].notices[0]
        assert found.voucher.cumulative == 2 * CREDIT
        await ledger.top_up(payer, found.channel, 2 * CREDIT)
        await ledger.start_close(payer, found.channel)
        await service.settle_now()
        await service.settle_now()
        assert await ledger.balance(NODE_KEY.address) == 3 * CREDIT
        assert world.keeper.payers["lab"] == PayerState(CREDIT * 3 // 2)


async def test_starting_credits_are_given_once(world: SettlingWorld) -> None:
    for _ in range(2):
        async with world.settling() as service:
            world.work(1, 1)
            await ready(service)
            payer = world.keys.payer("lab")
            (found,) = world.keeper.books.of_node(NODE)
            ledger = service.desk.ledger
            locked = (await ledger.channel(found.channel.id)).deposit
            assert await ledger.balance(payer) + locked == 1000 * CREDIT


async def test_another_amount_of_starting_credits_is_for_those_who_come_later(
    world: SettlingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = ChainOutbox.submit

    async def dies(self: ChainOutbox, key: str, call: Any) -> None:
        if key.startswith("deposit/") and call.sender == world.keys.operator():
            raise Internal("died between mint and deposit")
        await submit(self, key, call)

    world.work(1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(ChainOutbox, "submit", dies)
        async with world.settling() as service:
            await ready(service)
    for starting in (2000, 500, 0):
        async with world.settling(starting * CREDIT) as service:
            world.work(1, CREDIT, organisation=f"lab-{starting}")
            await ready(service)
            ledger = service.desk.ledger
            assert service.problem == ""
            for organisation, amount in (("lab", 1000), (f"lab-{starting}", starting)):
                locked = (await ledger.channel(world.book(NODE, organisation).channel.id)).deposit
                assert await ledger.balance(world.keys.payer(organisation)) + locked == amount * CREDIT


async def test_what_an_organisation_cannot_cover_is_told(world: SettlingWorld) -> None:
    async with world.settling(starting=CREDIT) as service:
        world.work(1, 3 * CREDIT)
        await ready(service)
        assert service.state.short == {"lab": 2 * CREDIT}
        await service.grant("more", "lab", 10 * CREDIT)
        await service.grant("more", "lab", 10 * CREDIT)  # the same grant again
        await service.settle_now()
        assert service.state.short == {}
        (found,) = world.keeper.books.of_node(NODE)
        locked = (await service.desk.ledger.channel(found.channel.id)).deposit
        assert await service.desk.ledger.balance(world.keys.payer("lab")) + locked == 11 * CREDIT


async def test_nothing_is_promised_that_no_money_stands_behind(world: SettlingWorld) -> None:
    books = world.keeper.books
    async with world.settling(starting=0) as service:
        await ready(service)
        for _ in range(3):
            world.work(2, 50 * CREDIT)
            world.sign()
            await service.settle_now()
        found = world.book()
        assert (found.voucher, list(books.waiting)) == (None, [1])
        assert "lacks 300 credits" in lack_of(books, "lab")
        await service.grant("first", "lab", 120 * CREDIT)
        await service.settle_now()
        assert "lacks 180 credits" in lack_of(books, "lab")
        await service.grant("second", "lab", 200 * CREDIT)
        async with asyncio.timeout(20):
            while found.voucher is None:  # heads that wait are looked after between the rounds too
                await asyncio.sleep(0.01)
        assert (found.voucher.cumulative, books.waiting) == (300 * CREDIT, {})
        assert lack_of(books, "lab") == ""
        await service.settle_now()
        await service.settle_now()
        assert await service.desk.ledger.balance(NODE_KEY.address) == 300 * CREDIT


async def test_a_held_account_without_coin_or_credits_is_told_of_and_holds_up_no_claims(
    world: SettlingWorld,
) -> None:
    world.work(1, CREDIT)
    async with world.settling(starting=2 * CREDIT) as service:
        await ready(service)
    world.embedded = False
    lab = world.keys.payer("lab")
    async with world.settling() as service:
        await service.wait_ready()
        ledger, rpc = service.desk.ledger, service.desk.ledger.rpc
        await rpc.call("anvil_setBalance", lab, "0x0")
        world.sign()
        world.work(1, 2 * CREDIT)
        await service.settle_now()
        (found,) = world.keeper.books.of_node(NODE)
        assert (await ledger.channel(found.channel.id)).claimed == CREDIT
        (coin,) = world.keeper.payers["lab"].notices
        assert f"{lab} that the hub holds for lab has too little coin" in coin
        assert f"{lab} that the hub holds for lab lacks 1 credits" in lack_of(world.keeper.books, "lab")
        operator = world.keys.key(world.keys.operator())
        await ledger.mint(operator, operator.address, 5 * CREDIT)
        await ledger.deposit(operator, 5 * CREDIT, lab)
        await rpc.call("anvil_setBalance", lab, hex(10**18))
        world.sign()
        await service.settle_now()
        await service.settle_now()
        assert (await ledger.channel(found.channel.id)).claimed == 3 * CREDIT
        assert world.keeper.payers["lab"].notices == ()


async def test_a_small_voucher_waits_where_gas_costs_something_also_when_asked(world: SettlingWorld) -> None:
    async def claimed(service: Settlement, amount: int) -> int:
        world.work(1, amount)
        world.sign()
        await service.settle_now()
        (found,) = world.keeper.books.of_node(NODE)
        return (await service.desk.ledger.channel(found.channel.id)).claimed

    async with world.settling(least=CREDIT) as service:
        await ready(service)
        assert await claimed(service, CREDIT // 4) == CREDIT // 4, "gas of an embedded chain costs nothing"
    world.embedded = False
    async with world.settling(least=CREDIT) as service:
        await ready(service)
        assert await claimed(service, CREDIT // 4) == CREDIT // 4
        assert await claimed(service, CREDIT) == CREDIT * 3 // 2


async def test_only_administrators_settle_where_gas_costs_something(
    world: SettlingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller, context = Identity("client", "lab", "lab/ada"), AsyncMock()
    context.abort.side_effect = lambda code, message, trailers: pytest.fail(message)
    monkeypatch.setattr("farlane.wire.serving.current_identity", lambda: caller)
    request = ledger_pb2.SettleRequest()
    async with world.settling() as settlement:
        service = LedgerService(SettlementReader(settlement), lambda: settlement.hub)
        assert list((await service.Settle(request, context)).transactions) == []
    world.embedded = False
    async with world.settling() as settlement:
        service = LedgerService(SettlementReader(settlement), lambda: settlement.hub)
        with pytest.raises(pytest.fail.Exception, match="takes a token of an administrator of lab"):
            await service.Settle(request, context)
        caller = replace(caller, admin=True)
        assert list((await service.Settle(request, context)).transactions) == []


async def test_after_a_rotation_books_of_before_are_paid_by_their_own_key(world: SettlingWorld) -> None:
    async with world.settling() as service:
        await ready(service)
        world.work(2, CREDIT)
        await service.settle_now()
    (old,) = world.keeper.books.of_node(NODE)
    old.durable = 2
    world.rotate()
    async with world.settling() as service:
        await service.wait_ready()
        world.sign()
        world.work(1, CREDIT)
        (new,) = world.keeper.books.of_node(NODE)
        assert new.channel.signer == world.keys.signer() != old.channel.signer
        world.sign()
        await service.settle_now()
        await service.settle_now()
        assert (service.state.refused, await service.desk.ledger.balance(NODE_KEY.address)) == (0, 3 * CREDIT)


async def test_settlement_waits_while_gas_costs_more_than_the_cap_and_says_so(world: SettlingWorld) -> None:
    async with world.settling(policy=policy_of(0.000001)) as service:
        await service.wait_ready()
        async with RpcClient(world.url) as rpc:  # it falls with every empty block
            await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))
            await rpc.call("evm_mine")
        world.work(1, CREDIT)
        settling = asyncio.create_task(service.settle_now())
        async with asyncio.timeout(20):
            while "gas is too dear" not in service.problem:
                await asyncio.sleep(0.01)
        settling.cancel()
        await asyncio.wait([settling])
    async with world.settling() as service:  # the cap was raised: what waited goes on
        await service.settle_now()
        assert service.problem == ""


@pytest.mark.parametrize("step", ["open", "settle", "topUp", "deposit", "mint"])
@pytest.mark.parametrize("more", [0, 1])
async def test_a_crash_at_any_step_pays_nothing_twice(
    world: SettlingWorld, step: str, more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub dies right after it has written the call down; the next one finds it, also if more is owed by then."""
    world.work(2, 2 * CREDIT)
    submit, died = ChainOutbox.submit, asyncio.Event()

    async def dies(self: ChainOutbox, key: str, call: Any) -> None:
        if not died.is_set():
            await submit(self, key, call)
        if died.is_set() or key.startswith({"topUp": "top-up"}.get(step, step)):
            died.set()
            raise Internal(f"died at {key}")

    async def life() -> None:
        async with world.settling() as service:
            await ready(service)
            if not died.is_set():
                world.sign()
                await service.settle_now()
                world.work(1, 2 * CREDIT)
                await service.settle_now()

    with monkeypatch.context() as patch:
        patch.setattr(ChainOutbox, "submit", dies)
        await life()
    assert died.is_set()
    world.keeper.books.signing = None
    world.work(more, 3 * CREDIT)
    found = world.book()
    async with world.settling() as service:
        await ready(service)
        at = found.book.boundary()
        if found.voucher is None or found.voucher.tasks < at.size:
            world.sign()
        await service.settle_now()
        await service.settle_now()
        state = await service.desk.ledger.channel(found.channel.id)
        assert state.claimed == found.book.owed_nano
        assert await service.desk.ledger.balance(world.keys.payer("lab")) + state.deposit == 1000 * CREDIT
