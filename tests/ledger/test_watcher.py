"""The watcher: what it decides, outages in virtual time, and a real chain where payers close under its eyes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from farlane.errors import ChainUnavailable, Reverted
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.claiming import WatchSettings
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.port import ChannelState, SignedClaim, TransactionReceipt
from farlane.ledger.rpc import HttpTransport, RpcClient
from farlane.ledger.settlement import SettlementReport, Settler
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher, sign_voucher
from farlane.ledger.watcher import ChannelWatcher
from farlane.testing.faulty_rpc import FaultyTransport

ETHER = 10**18
WINDOW_S = 7200
FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
SETTINGS = WatchSettings(
    poll_s=0.02, threshold=500, dust=10, safety_s=100, policy=GasPolicy(10, 40, ramp_s=50)
)
OPEN = ChannelState(1000, 100, 0)


def claim(number: int, cumulative: int) -> SignedClaim:
    one = Address("0x" + "1" * 40)
    channel = Channel(one, one, one, number.to_bytes(32, "big"))
    return SignedClaim(channel, SignedVoucher(Voucher(channel.id, cumulative, 1, bytes(32)), b""))


@dataclass
class Promises:
    """Vouchers of some channels, read anew at each look."""

    vouchers: Sequence[SignedClaim]

    def channels(self) -> set[bytes]:
        return {each.channel.id for each in self.vouchers}

    async def claims(self, states: Mapping[bytes, ChannelState]) -> Sequence[SignedClaim]:
        return self.vouchers


@dataclass
class Chain:
    """Channels by id, that may be away."""

    states: dict[bytes, ChannelState] = field(default_factory=dict)
    away: bool = False

    async def channel(self, channel: bytes) -> ChannelState:
        if self.away:
            raise ChainUnavailable("the chain is away")
        return self.states[channel]


@dataclass
class Desk:
    """Notes what it is to settle; ends when it is told."""

    settled: list[tuple[Sequence[SignedClaim], GasPolicy]] = field(default_factory=list)
    hurried: list[GasPolicy] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: bool = False

    async def settle(
        self, claims: Sequence[SignedClaim], policy: GasPolicy | None = None
    ) -> SettlementReport:
        assert policy is not None
        self.settled.append((claims, policy))
        await self.open.wait()
        if self.refuses:
            return SettlementReport(refused=[(each, Reverted("no", error="No")) for each in claims])
        return SettlementReport(paid=[(each, TransactionReceipt(b"", 1, 1)) for each in claims])

    async def hurry(self, policy: GasPolicy) -> int:
        self.hurried.append(policy)
        return 1


async def test_a_close_hurries_what_is_under_way() -> None:
    one, chain, desk = claim(1, 700), Chain(), Desk()
    chain.states[one.channel.id] = OPEN
    watcher = ChannelWatcher(chain, Promises([one]), desk, SETTINGS)
    polling = asyncio.create_task(watcher.poll())
    while not desk.settled:
        await asyncio.sleep(0)
    assert desk.settled[0][1].cap_floor(4900) == 10
    assert (await watcher.poll()).paid == []
    assert desk.hurried == []
    chain.states[one.channel.id] = replace(OPEN, close_at=5000)
    await watcher.poll()
    assert [policy.cap_floor(4900) for policy in desk.hurried] == [40]
    assert len(desk.settled) == 1
    desk.open.set()
    assert len((await polling).paid) == 1


async def test_a_refused_voucher_is_not_tried_again_before_something_changes() -> None:
    one, chain, desk, count = claim(1, 700), Chain(), Desk(refuses=True), ClaimCount()
    desk.open.set()
    chain.states[one.channel.id] = OPEN
    watcher = ChannelWatcher(chain, Promises([one]), desk, SETTINGS, count=count)
    assert len((await watcher.poll()).refused) == 1
    assert (await watcher.poll()).refused == []
    chain.states[one.channel.id] = replace(OPEN, deposit=2000)
    assert len((await watcher.poll()).refused) == 1
    assert (count.claims, count.refused) == (0, 2)
    # Nor does it make the claims of others urgent.
    chain.states[one.channel.id] = replace(OPEN, close_at=5000)
    await watcher.poll()
    assert len(desk.hurried) == 1
    await watcher.poll()
    assert len(desk.hurried) == 1


async def test_what_was_claimed_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    one, chain, desk, count = claim(1, 700), Chain(), Desk(), ClaimCount()
    desk.open.set()
    chain.states[one.channel.id] = OPEN
    watcher = ChannelWatcher(chain, Promises([one]), desk, SETTINGS, count=count)
    with caplog.at_level(logging.INFO):
        await watcher.poll()
    assert f"claimed 600 units for work up to task 1 of channel 0x{one.channel.id.hex()}" in caplog.text
    await watcher.poll()  # an endpoint that lags behind shows it as unclaimed
    assert (count.units, count.reachable) == (600, True)


async def test_a_look_that_sees_the_claim_before_it_is_confirmed_changes_no_count() -> None:
    one, chain, desk, count = claim(1, 700), Chain(), Desk(), ClaimCount()
    chain.states[one.channel.id] = OPEN
    watcher = ChannelWatcher(chain, Promises([one]), desk, SETTINGS, count=count)
    claiming = asyncio.create_task(watcher.poll())
    while not desk.settled:
        await asyncio.sleep(0)
    chain.states[one.channel.id] = replace(OPEN, claimed=700)
    await watcher.poll()
    desk.open.set()
    await claiming
    assert (count.claims, count.units) == (1, 600)


async def test_only_closes_are_answered_between_regular_rounds() -> None:
    one, other, chain, desk = claim(1, 700), claim(2, 700), Chain(), Desk()
    desk.open.set()
    chain.states |= {one.channel.id: OPEN, other.channel.id: replace(OPEN, claimed=700)}
    rounds = replace(SETTINGS, regular_s=3600.0)
    watcher = ChannelWatcher(chain, Promises([one, other]), desk, rounds)
    assert len((await watcher.poll()).paid) == 1
    chain.states |= {one.channel.id: OPEN, other.channel.id: replace(OPEN, close_at=5000)}
    assert [claim for claim, _ in (await watcher.poll()).paid] == [other]
    assert [claim for claim, _ in (await watcher.poll(leaving=True)).paid] == [other, one]


async def test_an_outage_is_survived_and_said() -> None:
    one, chain, desk = claim(1, 700), Chain(away=True), Desk()
    desk.open.set()
    chain.states[one.channel.id] = OPEN
    watcher = ChannelWatcher(chain, Promises([one]), desk, SETTINGS, Random(1))
    running = asyncio.create_task(watcher.run())
    async with asyncio.timeout(10):
        while not watcher.trouble:
            await asyncio.sleep(0)
        assert watcher.trouble == "the chain is away"
        chain.away = False
        while not desk.settled:
            await asyncio.sleep(0.01)
    assert watcher.trouble == ""
    running.cancel()
    await asyncio.wait([running])


@dataclass
class World:
    """A real chain with one channel, a provider whose hub is dead, and its watcher."""

    rpc: RpcClient
    transport: FaultyTransport
    deployment: Deployment
    ledger: EthereumLedger
    payer: PrivateKey
    provider: PrivateKey
    session: PrivateKey
    outbox_path: Path

    @property
    def channel(self) -> Channel:
        return Channel(self.payer.address, self.provider.address, self.session.address, bytes(32))

    def voucher(self, cumulative: int) -> SignedClaim:
        voucher = Voucher(self.channel.id, cumulative, 1, bytes(32))
        return SignedClaim(self.channel, sign_voucher(self.ledger.domain, self.session, voucher))

    async def pass_time(self, seconds: int) -> None:
        await self.rpc.call("evm_increaseTime", seconds)
        await self.rpc.call("evm_mine")

    async def open_outbox(self, rpc: RpcClient, chain_id: int) -> ChainOutbox:
        how = OutboxSettings(poll_s=0.02, backoff_cap_s=0.05)
        return await ChainOutbox.open(self.outbox_path, rpc, chain_id, [self.provider], settings=how)


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[World]:
    transport = FaultyTransport(HttpTransport(anvil_url))
    async with RpcClient(anvil_url) as rpc:
        plan = DeploymentPlan("ab" * 16, FAUCET.address, close_window_s=WINDOW_S)
        deployment = await deploy(rpc, FAUCET, plan)
        ledger = EthereumLedger(rpc, deployment)
        payer, provider, session = (PrivateKey.generate() for _ in range(3))
        for key in (payer, provider):
            await rpc.call("anvil_setBalance", key.address, hex(ETHER))
        await ledger.mint(FAUCET, payer.address, 1000)
        await ledger.deposit(payer, 1000)
        found = World(rpc, transport, deployment, ledger, payer, provider, session, tmp_path / "outbox.db")
        await ledger.open_channel(payer, found.channel, 1000)
        yield found
        await transport.close()


WATCH = WatchSettings(poll_s=0.05, threshold=10**9)


@pytest.mark.real
async def test_a_provider_whose_hub_is_dead_is_paid_inside_the_window(world: World) -> None:
    newest = [world.voucher(300)]
    await world.ledger.settle(world.provider, newest)
    newest[:] = [world.voucher(700)]
    rpc = RpcClient(world.transport)
    chain_id = world.ledger.domain.chain_id
    outbox = await world.open_outbox(rpc, chain_id)
    settler = Settler(outbox, world.ledger.domain.contract, world.provider.address)
    seen = EthereumLedger(rpc, world.deployment)
    watcher = ChannelWatcher(seen, Promises(newest), settler, WATCH, Random(1))
    tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(watcher.run())]
    async with asyncio.timeout(30):
        # The payer closes with an old voucher settled, just when the endpoint is away.
        world.transport.down = True
        await world.ledger.start_close(world.payer, world.channel)
        while not watcher.trouble:
            await asyncio.sleep(0.01)
        world.transport.down = False
        while await world.ledger.balance(world.provider.address) < 700:
            await asyncio.sleep(0.02)
    await world.pass_time(WINDOW_S + 1)
    await world.ledger.finish_close(world.payer, world.channel)
    assert await world.ledger.balance(world.payer.address) == 300
    assert await world.ledger.balance(world.provider.address) == 700
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await outbox.close()
    await rpc.close()


@pytest.mark.real
async def test_a_claim_under_way_survives_a_restart(world: World) -> None:
    chain_id = world.ledger.domain.chain_id
    await world.ledger.start_close(world.payer, world.channel)
    outbox = await world.open_outbox(world.rpc, chain_id)
    settler = Settler(outbox, world.ledger.domain.contract, world.provider.address)
    watcher = ChannelWatcher(world.ledger, Promises([world.voucher(400)]), settler, WATCH)
    # It dies with the claim on disk, before anything was sent.
    polling = asyncio.create_task(watcher.poll())
    while not await outbox.pending():
        await asyncio.sleep(0)
    polling.cancel()
    await asyncio.wait([polling])
    await outbox.close()
    outbox = await world.open_outbox(world.rpc, chain_id)
    settler = Settler(outbox, world.ledger.domain.contract, world.provider.address)
    watcher = ChannelWatcher(world.ledger, Promises([world.voucher(400)]), settler, WATCH)
    running = asyncio.create_task(outbox.run())
    report = await asyncio.wait_for(watcher.poll(), 20)
    assert len(report.paid) == 1
    assert await world.ledger.balance(world.provider.address) == 400
    assert await world.rpc.quantity("eth_getTransactionCount", world.provider.address, "latest") == 1
    running.cancel()
    await asyncio.wait([running])
    await outbox.close()


@pytest.mark.real
async def test_it_claims_before_it_leaves_if_asked(world: World) -> None:
    outbox = await world.open_outbox(world.rpc, world.ledger.domain.chain_id)
    settler = Settler(outbox, world.ledger.domain.contract, world.provider.address)
    watcher = ChannelWatcher(world.ledger, Promises([world.voucher(400)]), settler, WATCH)
    running = asyncio.create_task(outbox.run())
    assert (await asyncio.wait_for(watcher.poll(), 20)).paid == []
    report = await asyncio.wait_for(watcher.poll(leaving=True), 20)
    assert len(report.paid) == 1
    assert await world.ledger.balance(world.provider.address) == 400
    running.cancel()
    await asyncio.wait([running])
    await outbox.close()
