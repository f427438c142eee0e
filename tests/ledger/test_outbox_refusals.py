"""What the outbox does with what the contract, the chain or an endpoint refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from farlane.errors import Reverted, RpcRefused
from farlane.ledger import abi
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.outbox.intents import Call, IntentState
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.testing.outbox_world import OutboxWorld, outbox_world, stranger

pytestmark = pytest.mark.real
FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[OutboxWorld]:
    async with outbox_world(anvil_url, tmp_path / "outbox.db") as found:
        yield found


async def on_automine(world: OutboxWorld, work: Callable[[], Awaitable[Deployment]]) -> Deployment:
    await world.rpc.call("evm_setAutomine", True)
    made = await work()
    await world.rpc.call("evm_setAutomine", False)
    return made


async def test_what_the_contract_refuses_is_never_sent(world: OutboxWorld) -> None:
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


async def test_what_fails_before_an_earlier_one_waits_for_it(world: OutboxWorld) -> None:
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


async def test_what_fails_on_the_chain_is_refused_with_its_error(world: OutboxWorld) -> None:
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


async def test_an_endpoint_that_refuses_is_told_and_tried_again(world: OutboxWorld) -> None:
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


async def test_more_gas_than_a_block_has_is_refused(world: OutboxWorld) -> None:
    world.transport.refuse = lambda method: (
        {"code": -32000, "message": "gas required exceeds allowance (30000000)"}
        if method == "eth_estimateGas"
        else None
    )
    await world.outbox.submit("a", world.pay(stranger()))
    await world.outbox.step()
    with pytest.raises(RpcRefused, match="exceeds allowance"):
        await world.outbox.outcome("a")
