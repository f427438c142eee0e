"""The outbox before a real chain: nonces, drops, reorganisations, outages and lies, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import IdempotencyMismatch, NotFound, Unavailable
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import Call, IntentState
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import unhexed
from farlane.testing.outbox_world import CONFIRMATIONS, OutboxWorld, outbox_world, stranger

pytestmark = pytest.mark.real


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[OutboxWorld]:
    async with outbox_world(anvil_url, tmp_path / "outbox.db") as found:
        yield found


async def test_one_key_is_one_transaction(world: OutboxWorld) -> None:
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


async def test_it_counts_once_confirmed_not_before(world: OutboxWorld) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    states = []
    for _ in range(4):
        await world.outbox.step()
        states.append(await world.outbox.state("a"))
        await world.mine()
    assert states == [IntentState.SENT, IntentState.MINED, IntentState.MINED, IntentState.CONFIRMED]


async def test_nonces_of_many_have_no_gaps_and_keep_their_order(world: OutboxWorld) -> None:
    recipients = [stranger() for _ in range(40)]
    for number, to in enumerate(recipients):
        await world.outbox.submit(str(number), world.pay(to))
    await world.outbox.step()
    pending = await world.outbox.pending()
    assert [each.nonce for each in pending] == [*range(16), *[None] * 24]
    await world.settle()
    assert [await world.paid(to) for to in recipients] == [1] * 40
    assert await world.count() == 40


async def test_a_stuck_transaction_is_replaced_and_either_may_win(world: OutboxWorld) -> None:
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


async def test_a_dropped_transaction_is_sent_again(world: OutboxWorld) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    (intent,) = await world.outbox.pending()
    await world.rpc.call("anvil_dropTransaction", "0x" + intent.newest.hash.hex())
    await world.outbox.step()
    assert world.transport.sent == ["0x" + intent.newest.raw.hex()] * 2
    await world.settle()
    assert (await world.outbox.outcome("a")).hash == intent.newest.hash


async def test_a_nonce_that_somebody_else_used_is_replaced_only_with_proof(world: OutboxWorld) -> None:
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


async def test_a_receipt_that_lags_is_no_proof_that_somebody_else_used_the_nonce(world: OutboxWorld) -> None:
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
async def test_a_reorganisation_takes_it_back_to_sent(world: OutboxWorld, dropped: bool) -> None:
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


async def test_a_transaction_that_moves_to_another_block_is_counted_from_there(world: OutboxWorld) -> None:
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


async def test_hours_without_a_chain_are_waited_out(world: OutboxWorld) -> None:
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


async def test_an_endpoint_of_another_chain_is_not_believed(world: OutboxWorld) -> None:
    await world.outbox.submit("a", world.pay(stranger()))
    world.transport.chain_id = 5
    await world.outbox.step()
    assert "is chain 5, expected" in world.outbox.status().trouble
    assert world.transport.sent == []
    world.transport.chain_id = 0
    await world.settle()
    assert await world.count() == 1


async def test_the_task_drives_and_closing_tells_who_waits(world: OutboxWorld) -> None:
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
