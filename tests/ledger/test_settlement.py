"""Settlement: what is worth a batch, and a real chain with bad claims and with blocks too small for a batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.port import CLOSED, MAX_CLAIMS, ChannelState, SignedClaim
from farlane.ledger.rpc import RpcClient
from farlane.ledger.settlement import GAS_CAP, Settler, batch_gas, plan_settlements
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher, sign_voucher

ETHER = 10**18
FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
OPEN = ChannelState(1000, 100, 0)


def account(number: int) -> Address:
    return Address("0x" + number.to_bytes(20, "big").hex())


def claim(number: int, cumulative: int, provider: int = 1) -> SignedClaim:
    channel = Channel(account(99), account(provider), account(98), number.to_bytes(32, "big"))
    return SignedClaim(channel, SignedVoucher(Voucher(channel.id, cumulative, 1, bytes(32)), b""))


def planned(claims: list[SignedClaim], state: ChannelState = OPEN, **limits: int) -> list[list[SignedClaim]]:
    return plan_settlements(claims, {each.channel.id: state for each in claims}, **limits)


def test_only_what_pays_is_claimed() -> None:
    good = claim(1, 500)
    assert planned([good]) == [[good]]
    assert planned([claim(1, 100)]) == []
    assert planned([claim(1, 1001)]) == []
    assert planned([good], ChannelState(0, 0, 0)) == []
    assert planned([good], replace(OPEN, close_at=CLOSED)) == []
    assert plan_settlements([good], {}) == []


def test_dust_is_left_unless_its_channel_closes() -> None:
    small = claim(1, 105)
    assert planned([small], dust=6) == []
    assert planned([small], dust=5) == [[small]]
    assert planned([small], replace(OPEN, close_at=10), dust=6) == [[small]]


def test_the_highest_of_a_channel_counts() -> None:
    assert planned([claim(1, 300), claim(1, 500), claim(1, 400)]) == [[claim(1, 500)]]


def test_the_highest_that_the_deposit_covers_counts() -> None:
    assert planned([claim(1, 1001), claim(1, 500), claim(1, 2000)]) == [[claim(1, 500)]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(101, 1000), st.integers(1, 5)), max_size=60),
    st.integers(1, 9),
    st.integers(100_000, 300_000),
)
def test_batches_keep_their_limits_and_lose_nothing(
    rows: list[tuple[int, int, int]], max_claims: int, gas_cap: int
) -> None:
    claims = [claim(*row) for row in rows]
    batches = planned(claims, max_claims=max_claims, gas_cap=gas_cap)
    flat = [each for batch in batches for each in batch]
    assert {each.channel.id for each in flat} == {each.channel.id for each in claims}
    assert len(flat) == len({each.channel.id for each in flat})
    assert all(0 < len(batch) <= max_claims and batch_gas(batch) <= gas_cap for batch in batches)
    providers = [each.channel.provider for each in flat]
    assert providers == sorted(providers)


def test_the_largest_batch_fits_a_transaction() -> None:
    (batch,) = planned([claim(number, 500, number) for number in range(MAX_CLAIMS)])
    assert batch_gas(batch) <= GAS_CAP


@dataclass
class World:
    """A payer with many channels to some providers, and an outbox that pays the gas."""

    rpc: RpcClient
    ledger: EthereumLedger
    deployment: Deployment
    payer: PrivateKey
    session: PrivateKey
    providers: list[Address]
    outbox: ChainOutbox

    @property
    def settler(self) -> Settler:
        return Settler(self.outbox, self.deployment.ledger, FAUCET.address)

    def claim(self, number: int, cumulative: int, key: PrivateKey | None = None) -> SignedClaim:
        channel = Channel(
            self.payer.address, self.providers[number % len(self.providers)], self.session.address,
            number.to_bytes(32, "big"),
        )  # fmt: skip
        voucher = Voucher(channel.id, cumulative, 1, bytes(32))
        return SignedClaim(channel, sign_voucher(self.ledger.domain, key or self.session, voucher))

    async def open(self, count: int) -> None:
        for number in range(count):
            await self.ledger.open_channel(self.payer, self.claim(number, 1).channel, 1000)

    async def earned(self) -> int:
        return sum([await self.ledger.balance(provider) for provider in self.providers])


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with RpcClient(anvil_url) as rpc:
        deployment = await deploy(rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address))
        ledger, payer = EthereumLedger(rpc, deployment), PrivateKey.generate()
        await rpc.call("anvil_setBalance", payer.address, hex(ETHER))
        await ledger.mint(FAUCET, payer.address, 1_000_000)
        await ledger.deposit(payer, 1_000_000)
        outbox = await ChainOutbox.open(
            tmp_path / "outbox.db", rpc, deployment.chain_id, [FAUCET], settings=OutboxSettings(poll_s=0.02)
        )
        running = asyncio.create_task(outbox.run())
        providers = [PrivateKey.generate().address for _ in range(3)]
        yield World(rpc, ledger, deployment, payer, PrivateKey.generate(), providers, outbox)
        running.cancel()
        await asyncio.wait([running])
        await outbox.close()


@pytest.mark.real
async def test_bad_claims_are_found_and_the_good_ones_paid(world: World) -> None:
    await world.open(12)
    await world.ledger.settle(FAUCET, [world.claim(7, 100)])
    claims = [world.claim(number, 100) for number in range(12)]
    claims[4] = world.claim(4, 100, PrivateKey.generate())
    claims[9] = world.claim(9, 1001)
    report = await world.settler.settle(claims)
    errors = {each.channel.salt[-1]: error.facts["error"] for each, error in report.refused}
    assert errors == {4: "InvalidSignature", 9: "DepositExceeded"}
    assert [each.channel.salt[-1] for each in report.paid_before] == [7]
    assert {each.channel.salt[-1] for each, _ in report.paid} == set(range(12)) - {4, 7, 9}
    assert await world.earned() == 100 * 10
    # The same batch again finds what was paid, and tries once more what was refused.
    again = await world.settler.settle(claims)
    assert again.paid == []
    assert {each.channel.salt[-1] for each in again.paid_before} == set(range(12)) - {4, 9}
    assert len(again.refused) == 2
    assert await world.earned() == 100 * 10


@pytest.mark.real
async def test_the_same_batch_twice_at_once_is_one_transaction(world: World) -> None:
    await world.open(4)
    claims = [world.claim(number, 100) for number in range(4)]
    before = await world.rpc.quantity("eth_getTransactionCount", FAUCET.address, "latest")
    first, second = await asyncio.gather(world.settler.settle(claims), world.settler.settle(claims))
    assert first.paid == second.paid
    assert await world.rpc.quantity("eth_getTransactionCount", FAUCET.address, "latest") == before + 1


@pytest.mark.real
async def test_a_claim_that_a_reorganisation_took_back_is_made_again(world: World) -> None:
    await world.open(1)
    claims = [world.claim(0, 100)]
    snapshot = await world.rpc.call("evm_snapshot")
    assert len((await world.settler.settle(claims)).paid) == 1
    await world.rpc.call("evm_revert", snapshot)
    assert await world.earned() == 0
    assert len((await world.settler.settle(claims)).paid) == 1
    assert await world.earned() == 100


@pytest.mark.real
async def test_an_urgent_claim_is_not_held_up_by_an_ordinary_one_that_waits_for_cheaper_gas(
    world: World,
) -> None:
    await world.open(2)
    dear = GasPolicy(1)
    waiting = asyncio.create_task(world.settler.settle([world.claim(0, 100)], dear))
    while not world.outbox.status().waiting:
        await asyncio.sleep(0)
    urgent = GasPolicy(1, 10**12, deadline=1.0)
    assert await world.settler.hurry(urgent) == 1
    assert await world.settler.hurry(urgent) == 0
    report = await asyncio.wait_for(world.settler.settle([world.claim(1, 100)], urgent), 20)
    assert len(report.paid) == len((await waiting).paid) == 1


@pytest.mark.real
async def test_a_batch_over_the_gas_cap_is_split(world: World) -> None:
    await world.open(60)
    claims = [world.claim(number, 100) for number in range(60)]
    states = {each.channel.id: await world.ledger.channel(each.channel.id) for each in claims}
    limit = 500_000
    (whole,) = plan_settlements(claims, states)
    batches = plan_settlements(claims, states, gas_cap=limit)
    assert len(batches) > 2
    used = []
    for batch in batches[:2]:
        report = await world.settler.settle(batch)
        used.append(report.paid[0][1].gas_used)
        assert report.paid[0][1].gas_used <= batch_gas(batch) <= limit
    # And where nobody planned for it: blocks are smaller than the batch, the chain refuses, halves go through.
    before = await world.rpc.call("eth_getBlockByNumber", "latest", False)
    await world.rpc.call("evm_setBlockGasLimit", hex(limit))
    try:
        await world.rpc.call("evm_mine")
        report = await world.settler.settle(whole, GasPolicy())
    finally:
        await world.rpc.call("evm_setBlockGasLimit", before["gasLimit"])
        await world.rpc.call("evm_mine")
    assert report.refused == []
    assert len({receipt.hash for _, receipt in report.paid}) > 1
    assert await world.earned() == 100 * 60
