"""Settlement on a real chain: channels open, vouchers are paid once, however often the hub dies on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from farlane.domain.bookkeeping import VoucherSigned
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import Column, TasksEnded
from farlane.domain.resources import GIB, Capacity
from farlane.errors import Internal
from farlane.hub.books.books import HubBooks, NodeAccount, Signing
from farlane.hub.books.inputs import InputDigests
from farlane.hub.books.payers import PayerState
from farlane.hub.grpc_api.ledger_service import LedgerService
from farlane.hub.reactor.state import Lease
from farlane.hub.settlement.chain import Connection
from farlane.hub.settlement.keys import HubKeys
from farlane.hub.settlement.reading import SettlementReader
from farlane.hub.settlement.service import Settlement, SettlementSettings
from farlane.kit.tasks import TaskSupervisor
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment
from farlane.ledger.keystore import KeyRing
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy, policy_of
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.passwords import machine_password
from farlane.ledger.rpc import RpcClient
from farlane.ledger.vouchers import Delegation, TreeHead, sign_head
from farlane.testing.builders import a_job
from farlane.wire.serving import Identity
from farlane.wire.v1 import ledger_pb2

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]
NODE, NODE_KEY = NodeId("n-1"), PrivateKey.from_bytes(bytes([9]) * 32)
SPEC = NodeSpec(NODE, "rack", "works", Capacity(8000, 64 * GIB, GIB, ()), "3.11", "linux", RateVector(10))
JOB = replace(a_job(), organisation="lab")
CREDIT = 10**9


@dataclass
class Keeper:
    """The part of a hub that settlement sees."""

    books: HubBooks
    told: list[Signing] = field(default_factory=list)
    payers: dict[str, PayerState] = field(default_factory=dict)
    signed: list[VoucherSigned] = field(default_factory=list)

    @property
    def store(self) -> Keeper:
        return self

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        return [one for one in self.signed if one.tasks > after][:limit]

    def node_name(self, node: NodeId) -> str:
        return str(node)

    @property
    def bookkeeper(self) -> Keeper:
        return self

    def set_signing(self, signing: Signing) -> None:
        self.books.signing = signing
        self.told.append(signing)


class World:
    """A hub's books and its settlement on anvil, which can be closed and opened again."""

    def __init__(self, directory: Path, url: str, payers: Mapping[str, Address] | None = None) -> None:
        self.directory, self.url = directory, url
        self.keys = HubKeys(directory / "keys", payers or {})
        inputs = InputDigests(lambda job, indices: Column([b""] * len(indices)))
        self.keeper = Keeper(HubBooks("ab" * 16, [], self.keys, inputs))
        self.keeper.books.attach(
            NODE, NodeAccount(NODE_KEY.address, Delegation(NODE_KEY.address, NODE_KEY.address, 0), b"")
        )
        self.done, self.embedded = 0, True

    @contextlib.asynccontextmanager
    async def settling(
        self, starting: int = 1000 * CREDIT, policy: GasPolicy | None = None, least: int = 0
    ) -> AsyncIterator[Settlement]:
        settings = SettlementSettings(3600.0, CREDIT, least, starting, policy or GasPolicy())
        service = Settlement(
            self.directory, self.directory / "ledger.json", "ab" * 16, self.keys, settings, lambda: self.keeper,
            self.connect,
        )  # type: ignore[arg-type]  # fmt: skip  # the keeper stands for the hub
        async with TaskSupervisor("test") as tasks:
            running = tasks.start(service.run(), "settlement")
            yield service
            running.cancel()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        async with RpcClient(self.url) as rpc:

            async def faucet(to: Address, wei: int) -> Any:
                return await rpc.call("anvil_setBalance", to, hex(wei))

            async def outbox(
                path: Path, deployment: Deployment, key_of: Callable[[Address], PrivateKey | None]
            ) -> ChainOutbox:
                how = OutboxSettings(poll_s=0.02)
                return await ChainOutbox.open(path, rpc, deployment.chain_id, key_of, settings=how)

            yield Connection(rpc, self.embedded, "anvil", self.url, outbox, faucet)

    def rotate(self) -> None:
        """Put a new session key in the place of the hub's, as its owner does while it is down."""
        ring = KeyRing(self.directory / "keys")
        ring.rotate("session", machine_password(ring.directory))
        self.keys = HubKeys(ring.directory, {})
        self.keeper.books._accounts, self.keeper.books.signing = self.keys, None

    def work(self, count: int, amount: int) -> None:
        """Let the node end some tasks of so many nano-credits each."""
        record = TasksEnded(
            JobId(1), self.done, NODE, 1_790_000_000.0, list(range(self.done, self.done + count)), [1] * count,
            bytes([TaskState.DONE]) * count, Column([b"r"] * count), {}, {}, [10] * count, [0] * count, [0] * count,
            [amount] * count,
        )  # fmt: skip
        self.keeper.books.book(record, JOB, SPEC, [Lease(1, 1_790_000_000.0, 10**9, None)] * count)
        self.done += count

    def sign(self) -> None:
        """Let the node sign the head, and the hub answer."""
        (found,) = self.keeper.books.of_node(NODE)
        at, signing = found.book.boundary(), self.keeper.books.signing
        assert signing is not None
        head = sign_head(signing.domain, NODE_KEY, TreeHead(found.channel.id, at.size, at.root))
        signed = self.keeper.books.sign(NODE, found.opened.book, at.size, at.root, head.signature, 0.0)
        assert signed is not None
        self.keeper.signed.append(signed)


@pytest.fixture
async def world(tmp_path: Path, anvil_url: str) -> World:
    return World(tmp_path, anvil_url)


async def ready(service: Settlement) -> None:
    await service.settle_now()


async def test_work_is_paid_through_a_channel(world: World) -> None:
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


async def test_a_channel_is_topped_up_and_paid_again(world: World) -> None:
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
    world = World(tmp_path, anvil_url, {"lab": payer.address})
    async with world.settling() as service:
        await ready(service)
        ledger, (operator, rpc) = service.desk.ledger, (world.keys.operator(), service.connection.rpc)  # type: ignore[union-attr]
        await rpc.call("anvil_setBalance", payer.address, hex(10**18))
        await ledger.mint(world.keys.key(operator), payer.address, 100 * CREDIT)
        await ledger.deposit(payer, 100 * CREDIT)
        for _ in range(3):
            world.work(1, CREDIT)
            world.sign()
        assert await service.settle_now() == []
        assert "`farlane ledger open 1 --amount 4`" in world.keeper.payers["lab"].notices[0]
        (found,) = world.keeper.books.of_node(NODE)
        await ledger.open_channel(payer, found.channel, CREDIT * 5 // 2)  # covers two of the three vouchers
        await service.settle_now()
        assert (await ledger.channel(found.channel.id)).claimed == 2 * CREDIT
        assert "holds 2.5 credits; 0.5 more are owed" in world.keeper.payers["lab"].notices[0]
        await ledger.top_up(payer, found.channel, 2 * CREDIT)
        await ledger.start_close(payer, found.channel)
        await service.settle_now()
        assert await ledger.balance(NODE_KEY.address) == 3 * CREDIT
        assert world.keeper.payers["lab"] == PayerState(CREDIT * 3 // 2)


async def test_starting_credits_are_given_once(world: World) -> None:
    for _ in range(2):
        async with world.settling() as service:
            world.work(1, 1)
            await ready(service)
            payer = world.keys.payer("lab")
            (found,) = world.keeper.books.of_node(NODE)
            ledger = service.desk.ledger
            locked = (await ledger.channel(found.channel.id)).deposit
            assert await ledger.balance(payer) + locked == 1000 * CREDIT


async def test_what_an_organisation_cannot_cover_is_told(world: World) -> None:
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


async def test_a_held_account_without_coin_or_credits_is_told_of_and_holds_up_no_claims(world: World) -> None:
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
        coin, credits_ = world.keeper.payers["lab"].notices
        assert f"{lab} that the hub holds for lab has too little coin" in coin
        assert "`farlane ledger deposit 1 --for lab`" in credits_
        operator = world.keys.key(world.keys.operator())
        await ledger.mint(operator, operator.address, 5 * CREDIT)
        await ledger.deposit(operator, 5 * CREDIT, lab)
        await rpc.call("anvil_setBalance", lab, hex(10**18))
        world.sign()
        await service.settle_now()
        assert (await ledger.channel(found.channel.id)).claimed == 3 * CREDIT
        assert world.keeper.payers["lab"].notices == ()


async def test_a_small_voucher_waits_where_gas_costs_something_also_when_asked(world: World) -> None:
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
    world: World, monkeypatch: pytest.MonkeyPatch
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


async def test_after_a_rotation_books_of_before_are_paid_by_their_own_key(world: World) -> None:
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


async def test_settlement_waits_while_gas_costs_more_than_the_cap_and_says_so(world: World) -> None:
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
async def test_a_crash_at_any_step_pays_nothing_twice(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub dies right after it has written the call down; the next one finds it in the outbox."""
    world.work(2, 2 * CREDIT)
    submit = ChainOutbox.submit

    async def dies(self: ChainOutbox, key: str, call: Any) -> None:
        await submit(self, key, call)
        if key.startswith({"topUp": "top-up"}.get(step, step)):
            raise Internal(f"died at {key}")

    async def life() -> None:
        async with world.settling() as service:
            await ready(service)
            world.sign()
            await service.settle_now()
            world.work(1, 2 * CREDIT)
            await service.settle_now()

    with monkeypatch.context() as patch:
        patch.setattr(ChainOutbox, "submit", dies)
        with contextlib.suppress(Internal):
            await life()
    world.keeper.books.signing = None
    (found,) = world.keeper.books.of_node(NODE)
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
