"""The outbox before a real chain: nonces, fees, drops, reorganisations, outages, lies and refusals, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from farlane.errors import IdempotencyMismatch, InvalidSetting, NotFound, Reverted, RpcRefused, Unavailable
from farlane.kit.clock import ManualClock
from farlane.ledger import abi
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.fees import GWEI
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import Call, GasPolicy, IntentState
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import HttpTransport, RpcClient, unhexed
from farlane.testing.faulty_rpc import FaultyTransport

pytestmark = pytest.mark.real

ETHER = 10**18
FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
CONFIRMATIONS = 2


@dataclass
class World:
    """A funded account, its outbox, and the chain behind a transport that can break."""

    rpc: RpcClient
    transport: FaultyTransport
    clock: ManualClock
    key: PrivateKey
    outbox: ChainOutbox
    path: Path
    chain_id: int

    def pay(self, to: Address, policy: GasPolicy | None = None) -> Call:
        return Call(self.key.address, to, b"", 1, policy or GasPolicy())

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc.call("anvil_mine", hex(blocks))

    async def paid(self, to: Address) -> int:
        return await self.rpc.quantity("eth_getBalance", to, "latest")

    async def settle(self) -> None:
        """Let passes and blocks alternate until nothing is open."""
        for _ in range(30):
            await self.outbox.step()
            if not await self.outbox.pending():
                return
            await self.mine()
        raise AssertionError(self.outbox.status())

    async def count(self) -> int:
        return await self.rpc.quantity("eth_getTransactionCount", self.key.address, "latest")


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[World]:
    transport, clock, key = FaultyTransport(HttpTransport(anvil_url)), ManualClock(), PrivateKey.generate()
    async with RpcClient(anvil_url) as rpc, RpcClient(transport) as faulty:
        await rpc.call("anvil_setBalance", key.address, hex(ETHER))
        await rpc.call("evm_setAutomine", False)
        chain_id, path = await rpc.quantity("eth_chainId"), tmp_path / "outbox.db"
        settings = OutboxSettings(confirmations=CONFIRMATIONS, bump_after_s=45)
        outbox = await ChainOutbox.open(
            path, faulty, chain_id, [key], settings=settings, clock=clock, random=Random(1)
        )
        yield World(rpc, transport, clock, key, outbox, path, chain_id)
        await outbox.close()
        await rpc.call("anvil_dropAllTransactions")
        await rpc.call("evm_setAutomine", True)


def stranger() -> Address:
    return PrivateKey.generate().address


async def test_one_key_is_one_transaction(world: World) -> None:
    to = stranger()
    await world.outbox.submit("a", world.pay(to))
    await world.outbox.submit("a", world.pay(to))
    await world.settle()
    await world.outbox.submit("a", world.pay(to))
    await world.settle()
    assert await world.paid(to) == 1
    assert (await world.outbox.outcome("a")).gas_used == 21_000
    with pytest.raises(IdempotencyMismatch, match="already the key of another"):
        await world.outbox.submit("a", world.pay(stranger()))
    with pytest.raises(NotFound):
        await world.outbox.outcome("b")


async def test_it_counts_once_confirmed_not_before(world: World) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    states = []
    for _ in range(4):
        await world.outbox.step()
        states.append(await world.outbox.state("a"))
        await world.mine()
    assert states == [IntentState.SENT, IntentState.MINED, IntentState.MINED, IntentState.CONFIRMED]


async def test_nonces_of_many_have_no_gaps_and_keep_their_order(world: World) -> None:
    recipients = [stranger() for _ in range(40)]
    for number, to in enumerate(recipients):
        await world.outbox.submit(str(number), world.pay(to))
    await world.outbox.step()
    pending = await world.outbox.pending()
    assert [each.nonce for each in pending] == [*range(16), *[None] * 24]
    await world.settle()
    assert [await world.paid(to) for to in recipients] == [1] * 40
    assert await world.count() == 40


async def test_a_stuck_transaction_is_replaced_and_either_may_win(world: World) -> None:
    to = stranger()
    await world.outbox.submit("a", world.pay(to))
    for _ in range(3):
        await world.outbox.step()
        world.clock.advance(46)
    (intent,) = await world.outbox.pending()
    fees = [attempt.fees for attempt in intent.attempts]
    assert len(fees) == 3
    assert len({attempt.nonce for attempt in intent.attempts}) == 1
    for old, new in itertools.pairwise(fees):
        assert new.max_fee * 8 >= old.max_fee * 9
        assert new.max_tip * 8 >= old.max_tip * 9
    # The oldest is mined after all: it is recognised as ours.
    await world.rpc.call("anvil_dropAllTransactions")
    await world.rpc.call("eth_sendRawTransaction", "0x" + intent.attempts[0].raw.hex())
    await world.mine()
    await world.settle()
    assert (await world.outbox.outcome("a")).hash == intent.attempts[0].hash
    assert await world.paid(to) == 1


async def test_a_dropped_transaction_is_sent_again(world: World) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    (intent,) = await world.outbox.pending()
    await world.rpc.call("anvil_dropTransaction", "0x" + intent.newest.hash.hex())
    await world.outbox.step()
    assert world.transport.sent == ["0x" + intent.newest.raw.hex()] * 2
    await world.settle()
    assert (await world.outbox.outcome("a")).hash == intent.newest.hash


async def test_a_nonce_that_somebody_else_used_is_replaced_only_with_proof(world: World) -> None:
    to, elsewhere = stranger(), stranger()
    await world.outbox.submit("a", world.pay(to))
    await world.outbox.step()
    await world.rpc.call("anvil_dropAllTransactions")
    other = await ChainOutbox.open(
        world.path.with_name("other.db"), world.rpc, world.chain_id, [world.key], clock=world.clock
    )
    await other.submit("b", Call(world.key.address, elsewhere, b"", 5))
    await other.step()
    await world.mine()
    await world.outbox.step()
    assert "took its nonce" in world.outbox.status().waiting["a"]
    assert (await world.outbox.pending())[0].nonce == 0
    await world.settle()
    await other.step()
    assert (await other.outcome("b")).gas_used == 21_000
    assert (await world.paid(to), await world.paid(elsewhere), await world.count()) == (1, 5, 2)
    await other.close()


async def test_a_receipt_that_lags_is_no_proof_that_somebody_else_used_the_nonce(world: World) -> None:
    to = stranger()
    await world.outbox.submit("a", world.pay(to))
    await world.outbox.step()
    await world.mine(CONFIRMATIONS + 2)
    world.transport.hidden = frozenset({"eth_getTransactionReceipt", "eth_getTransactionByHash"})
    for _ in range(5):
        world.clock.advance(46)
        await world.outbox.step()
        await world.mine()
    (intent,) = await world.outbox.pending()
    assert (intent.nonce, len(intent.attempts)) == (0, 1)
    world.transport.hidden = frozenset()
    await world.settle()
    assert (await world.paid(to), await world.count()) == (1, 1)


@pytest.mark.parametrize("dropped", [False, True])
async def test_a_reorganisation_takes_it_back_to_sent(world: World, dropped: bool) -> None:
    to = stranger()
    snapshot = await world.rpc.call("evm_snapshot")
    await world.outbox.submit("a", world.pay(to))
    await world.outbox.step()
    await world.mine()
    await world.outbox.step()
    assert await world.outbox.state("a") == IntentState.MINED
    if dropped:
        await world.rpc.call("evm_revert", snapshot)
        await world.rpc.call("anvil_dropAllTransactions")
    else:
        await world.rpc.call("anvil_reorg", 1, [])
    await world.outbox.step()
    assert await world.outbox.state("a") in (IntentState.SENT, IntentState.MINED)
    assert (await world.outbox.pending())[0].nonce is not None
    await world.settle()
    assert (await world.paid(to), await world.count()) == (1, 1)


async def test_a_transaction_that_moves_to_another_block_is_counted_from_there(world: World) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    await world.mine()
    await world.outbox.step()
    (before,) = await world.outbox.pending()
    raw = "0x" + before.newest.raw.hex()
    await world.rpc.call("anvil_reorg", 1, [[raw, 0]])
    await world.outbox.step()
    (after,) = await world.outbox.pending()
    assert after.state == IntentState.MINED
    # The new block may be the old one to the last bit: what counts is where the chain has it now.
    receipt = await world.rpc.call("eth_getTransactionReceipt", "0x" + before.newest.hash.hex())
    assert "0x" + after.block_hash.hex() == receipt["blockHash"]
    await world.settle()
    assert await world.count() == 1


async def test_hours_without_a_chain_are_waited_out(world: World) -> None:
    to = stranger()
    world.transport.down = True
    await world.outbox.submit("a", world.pay(to))
    begin, pauses = world.clock.now(), []
    while world.clock.now() < begin + 6 * 3600:
        pauses.append(await world.outbox.step())
        world.clock.advance(max(1.0, pauses[-1]))
    assert max(pauses) <= 60
    assert max(pauses[10:]) > 30
    assert world.transport.posts < 1500
    status = world.outbox.status()
    assert (status.since, status.trouble != "") == (begin, True)
    world.transport.down = False
    await world.settle()
    assert world.outbox.status().trouble == ""
    assert await world.paid(to) == 1


async def test_an_endpoint_of_another_chain_is_not_believed(world: World) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    world.transport.chain_id = 5
    await world.outbox.step()
    assert "is chain 5, expected" in world.outbox.status().trouble
    assert world.transport.sent == []
    world.transport.chain_id = 0
    await world.settle()
    assert await world.count() == 1


async def test_gas_above_the_cap_is_waited_for(world: World) -> None:
    await world.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(3 * GWEI))
    await world.mine()
    await world.outbox.submit("a", world.pay(stranger(), GasPolicy(max_fee_wei=GWEI)))
    await world.outbox.step()
    assert "the cap (max_fee_gwei) is 1" in world.outbox.status().waiting["a"]
    assert world.transport.sent == []
    # A new policy for the same call lets it go.
    (intent,) = await world.outbox.pending()
    await world.outbox.submit("a", Call(intent.call.sender, intent.call.to, b"", 1, GasPolicy(20 * GWEI)))
    await world.settle()
    assert await world.count() == 1


async def test_a_bump_never_passes_the_cap(world: World) -> None:
    cap = 5 * GWEI
    await world.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await world.mine()
    await world.outbox.submit("a", world.pay(stranger(), GasPolicy(cap)))
    for _ in range(20):
        await world.outbox.step()
        world.clock.advance(46)
    (intent,) = await world.outbox.pending()
    assert 1 < len(intent.attempts) < 20
    assert all(attempt.fees.max_fee <= cap for attempt in intent.attempts)
    assert "gas is too dear" in world.outbox.status().waiting["a"]
    await world.settle()
    assert await world.count() == 1


def test_the_cap_rises_as_the_deadline_nears() -> None:
    policy = GasPolicy(100, 300, deadline=10_000, ramp_s=1000)
    assert [policy.cap_floor(now) for now in (0, 9000, 9250, 9500, 10_000, 99_999)] == [
        100, 100, 150, 200, 300, 300,
    ]  # fmt: skip
    assert GasPolicy(100, deadline=10_000).cap_floor(10_000) == 100
    with pytest.raises(InvalidSetting):
        GasPolicy(100, 50)


async def test_an_account_without_coin_waits_and_says_so(world: World) -> None:
    to = stranger()
    await world.rpc.call("anvil_setBalance", world.key.address, "0x0")
    await world.outbox.submit("a", world.pay(to))
    await world.outbox.step()
    reason = world.outbox.status().waiting["a"]
    assert world.key.address in reason
    assert "needs coin" in reason
    await world.rpc.call("anvil_setBalance", world.key.address, hex(ETHER))
    await world.settle()
    assert await world.paid(to) == 1


async def test_an_account_without_a_key_waits_and_says_so(world: World) -> None:
    await world.outbox.submit("a", Call(stranger(), stranger(), b"", 0))
    await world.rpc.call("anvil_setBalance", (await world.outbox.pending())[0].call.sender, hex(ETHER))
    await world.outbox.step()
    assert "no key" in world.outbox.status().waiting["a"]


async def on_automine(world: World, work: Callable[[], Awaitable[Deployment]]) -> Deployment:
    await world.rpc.call("evm_setAutomine", True)
    made = await work()
    await world.rpc.call("evm_setAutomine", False)
    return made


async def test_what_the_contract_refuses_is_never_sent(world: World) -> None:
    at = await on_automine(
        world, lambda: deploy(world.rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address))
    )
    data = abi.encode_call("ComputeLedger", "withdraw", (world.key.address, 1))
    to = stranger()
    await world.outbox.submit("bad", Call(world.key.address, at.ledger, data))
    await world.outbox.submit("good", world.pay(to))
    await world.settle()
    with pytest.raises(Reverted, match="InsufficientBalance") as caught:
        await world.outbox.outcome("bad")
    assert caught.value.facts["error"] == "InsufficientBalance"
    assert caught.value.facts["sent"] is False
    assert (await world.paid(to), await world.count()) == (1, 1)


async def test_what_fails_before_an_earlier_one_waits_for_it(world: World) -> None:
    to = stranger()
    await world.outbox.submit("approve", world.pay(to))
    await world.outbox.step()
    world.transport.refuse = lambda method: (
        {"code": 3, "message": "execution reverted"} if method == "eth_estimateGas" else None
    )
    await world.outbox.submit("deposit", world.pay(to))
    await world.outbox.step()
    assert "before its account's earlier ones" in world.outbox.status().waiting["deposit"]
    world.transport.refuse = lambda _: None
    await world.settle()
    assert await world.paid(to) == 2


async def test_what_fails_on_the_chain_is_refused_with_its_error(world: World) -> None:
    at = await on_automine(
        world, lambda: deploy(world.rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address))
    )
    guardian = await ChainOutbox.open(None, world.rpc, world.chain_id, [FAUCET], clock=world.clock)
    mint = abi.encode_call("CreditToken", "mint", (world.key.address, 10))
    await guardian.submit("mint", Call(FAUCET.address, at.token, mint))
    await guardian.step()
    approve = abi.encode_call("CreditToken", "approve", (at.ledger, 10))
    await world.outbox.submit("approve", Call(world.key.address, at.token, approve))
    await world.settle()
    deposit = abi.encode_call("ComputeLedger", "deposit", (world.key.address, 10))
    await world.outbox.submit("deposit", Call(world.key.address, at.ledger, deposit))
    await world.outbox.step()
    # It would work; but it falls out of the pool, and the guardian pauses deposits before it is back.
    await world.rpc.call("anvil_dropAllTransactions")
    await guardian.submit("pause", Call(FAUCET.address, at.ledger, abi.encode_call("ComputeLedger", "pause")))
    await guardian.step()
    await world.mine()
    await world.settle()
    with pytest.raises(Reverted, match=r"failed on the chain: .*Paused") as caught:
        await world.outbox.outcome("deposit")
    assert (caught.value.facts["error"], caught.value.facts["sent"]) == ("Paused", True)
    assert await world.count() == 2
    await guardian.close()


async def test_an_endpoint_that_refuses_is_told_and_tried_again(world: World) -> None:
    world.transport.refuse = lambda method: (
        {"code": -32000, "message": "transaction underpriced"} if method == "eth_sendRawTransaction" else None
    )
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    assert "underpriced" in world.outbox.status().waiting["a"]
    assert await world.outbox.state("a") == IntentState.SIGNED
    world.transport.refuse = lambda _: None
    await world.settle()
    assert await world.count() == 1


async def test_more_gas_than_a_block_has_is_refused(world: World) -> None:
    world.transport.refuse = lambda method: (
        {"code": -32000, "message": "gas required exceeds allowance (30000000)"}
        if method == "eth_estimateGas"
        else None
    )
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    with pytest.raises(RpcRefused, match="exceeds allowance"):
        await world.outbox.outcome("a")


async def test_the_task_drives_and_closing_tells_who_waits(world: World) -> None:
    await world.rpc.call("evm_setAutomine", True)
    outbox = await ChainOutbox.open(
        None, world.rpc, world.chain_id, [world.key], settings=OutboxSettings(poll_s=0.01)
    )
    running = asyncio.create_task(outbox.run())
    to = stranger()
    await outbox.submit("a", world.pay(to))
    receipt = await asyncio.wait_for(outbox.outcome("a"), 10)
    assert await world.paid(to) == 1
    found = await world.rpc.call("eth_getTransactionReceipt", "0x" + receipt.hash.hex())
    assert unhexed(found["transactionHash"]) == receipt.hash
    await outbox.submit("b", Call(stranger(), to, b""))
    waiting = asyncio.create_task(outbox.outcome("b"))
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    await outbox.close()
    with pytest.raises(Unavailable, match="closed"):
        await asyncio.wait_for(waiting, 10)
