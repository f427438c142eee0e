"""The outbox and its price: caps, deadlines, bumps, and accounts without coin or key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import InvalidSetting
from farlane.ledger.fees import GWEI
from farlane.ledger.outbox.intents import Call, GasPolicy
from farlane.testing.outbox_world import ETHER, OutboxWorld, outbox_world, stranger

pytestmark = pytest.mark.real


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[OutboxWorld]:
    async with outbox_world(anvil_url, tmp_path / "outbox.db") as found:
        yield found


async def test_gas_above_the_cap_is_waited_for(world: OutboxWorld) -> None:
    await world.rpc.call("anvil_setNextBlockBaseFeePerGas", hex(3 * GWEI))
    await world.mine()
    await world.outbox.submit("a", world.pay(stranger(), GasPolicy(max_fee_wei=GWEI)))
    await world.outbox.step()
    assert "--max-fee) is 1" in world.outbox.status().waiting["a"]
    assert world.transport.sent == []
    # A new policy for the same call lets it go.
    (intent,) = await world.outbox.pending()
    await world.outbox.submit("a", Call(intent.call.sender, intent.call.to, b"", 1, GasPolicy(20 * GWEI)))
    await world.settle()
    assert await world.count() == 1


async def test_a_bump_never_passes_the_cap(world: OutboxWorld) -> None:
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


async def test_an_account_without_coin_waits_and_says_so(world: OutboxWorld) -> None:
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


async def test_an_account_without_a_key_waits_and_says_so(world: OutboxWorld) -> None:
    await world.outbox.submit("a", Call(stranger(), stranger(), b"", 0))
    await world.rpc.call("anvil_setBalance", (await world.outbox.pending())[0].call.sender, hex(ETHER))
    await world.outbox.step()
    assert "no key" in world.outbox.status().waiting["a"]
