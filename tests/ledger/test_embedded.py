"""The embedded chain as a ledger: the suite of the port, deployment, gas as on anvil, time, and the faucet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, InsufficientFunds, InvalidInput, RpcRefused
from farlane.kit.clock import ManualClock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy, verify_deployment
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.rpc import RpcClient, hexed
from farlane.ledger.rpc_errors import RefusalReason
from farlane.ledger.transactions import Transaction, sign_transaction
from farlane.testing.ledger_suite import LedgerSuite, LedgerWorld

CHAIN_ID = 7_319_001
HUB = PrivateKey.from_bytes(bytes(31) + b"\x07")
ETHER = 10**18
GWEI = 10**9
WINDOW_S = 3600
PLAN = DeploymentPlan("ab" * 16, HUB.address, close_window_s=WINDOW_S)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def chain(tmp_path: Path, clock: ManualClock) -> AsyncIterator[EmbeddedChain]:
    genesis = {HUB.address: 1000 * ETHER}
    with EmbeddedChain.open(
        tmp_path / "chain.sqlite", chain_id=CHAIN_ID, genesis=genesis, clock=clock
    ) as found:
        yield found


@pytest.fixture
async def rpc(chain: EmbeddedChain) -> RpcClient:
    return RpcClient(chain.transport())


async def _world(
    rpc: RpcClient, payer_key: PrivateKey, deployment: Deployment, clock: ManualClock
) -> LedgerWorld:
    ledger = EthereumLedger(rpc, deployment)
    payer, provider, session = (PrivateKey.generate() for _ in range(3))
    for key in (payer, provider):
        await ledger.pay_gas(payer_key, key.address, ETHER)
    await ledger.mint(payer_key, payer.address, 1_000_000)

    async def pass_time(seconds: int) -> None:
        clock.advance(seconds)

    return LedgerWorld(ledger, payer, provider, session, pass_time, WINDOW_S)


@pytest.fixture
async def world(rpc: RpcClient, clock: ManualClock) -> LedgerWorld:
    return await _world(rpc, HUB, await deploy(rpc, HUB, PLAN), clock)


class TestEmbeddedLedger(LedgerSuite):
    pass


async def test_the_contracts_stand_where_they_were_deployed(rpc: RpcClient, chain: EmbeddedChain) -> None:
    deployment = await deploy(rpc, HUB, PLAN)
    await verify_deployment(rpc, deployment)
    assert deployment.chain_id == CHAIN_ID
    assert await chain.check_state() > 5


@pytest.mark.real
async def test_gas_is_what_anvil_asks(anvil_url: str, world: LedgerWorld, clock: ManualClock) -> None:
    anvil_key = PrivateKey.from_bytes(
        bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
    )
    async with RpcClient(anvil_url) as rpc:
        elsewhere = await _world(rpc, anvil_key, await deploy(rpc, anvil_key, PLAN), clock)
        ours, theirs = await _gas(world), await _gas(elsewhere)
    for name, gas in ours.items():
        # Random keys and signatures have a zero byte here and there, which costs 12 gas less.
        assert abs(gas - theirs[name]) <= 12 * 10 * (20 if name == "batch" else 1), (name, gas, theirs[name])
    assert ours["alone"] <= 46_000


async def _gas(world: LedgerWorld) -> dict[str, int]:
    ledger = world.ledger
    used = {"deposit": (await ledger.deposit(world.payer, 100_000)).gas_used}
    for number in range(20):
        used["open"] = (await ledger.open_channel(world.payer, world.channel(number), 900)).gas_used
    used["first"] = (await ledger.settle(world.provider, [world.claim(100, 7)])).gas_used
    used["alone"] = (await ledger.settle(world.provider, [world.claim(200, 7)])).gas_used
    many = [world.claim(300, number) for number in range(20)]
    used["batch"] = (await ledger.settle(world.provider, many)).gas_used
    used["close"] = (await ledger.close_by_provider(world.provider, world.channel(7))).gas_used
    return used


async def test_the_faucet_pays_for_gas(chain: EmbeddedChain, rpc: RpcClient) -> None:
    poor = PrivateKey.generate()
    ledger = EthereumLedger(rpc, await deploy(rpc, HUB, PLAN))
    with pytest.raises(InsufficientFunds):
        await ledger.pay_gas(poor, HUB.address, 1)
    block = await chain.faucet(poor.address, ETHER)
    assert await rpc.quantity("eth_getBalance", poor.address, "latest") == ETHER
    found = await rpc.call("eth_getBlockByNumber", hex(block), False)
    assert [(each["address"], int(each["amount"], 16)) for each in found["withdrawals"]] == [
        (poor.address.lower(), ETHER // GWEI)
    ]
    await ledger.pay_gas(poor, HUB.address, 1)
    for wei in (0, -GWEI, 5, 1 << 128):
        with pytest.raises(InvalidInput, match="gwei"):
            await chain.faucet(poor.address, wei)
    assert await chain.check_state() > 5


async def test_time_follows_the_clock_and_never_runs_ahead(
    rpc: RpcClient, chain: EmbeddedChain, clock: ManualClock
) -> None:
    start = int(clock.now())
    for _ in range(20):
        await chain.faucet(HUB.address, GWEI)
    assert await _head_time(rpc) == start
    clock.step_wall(-500)
    await chain.faucet(HUB.address, GWEI)
    assert await _head_time(rpc) == start


async def test_time_goes_on_without_work(rpc: RpcClient, chain: EmbeddedChain, clock: ManualClock) -> None:
    start = int(clock.now())
    clock.advance(59)
    assert await _head_time(rpc) == start
    clock.advance(1)
    assert await rpc.quantity("eth_blockNumber") == 1
    assert await _head_time(rpc) == start + 60
    assert chain.height == 1


async def _head_time(rpc: RpcClient) -> int:
    return int((await rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)


async def test_methods_that_move_time_need_a_test_chain(
    tmp_path: Path, rpc: RpcClient, clock: ManualClock
) -> None:
    with pytest.raises(RpcRefused, match="evm_mine"):
        await rpc.call("evm_mine")
    path = tmp_path / "test.sqlite"
    with EmbeddedChain.open(path, chain_id=1337, genesis={}, clock=clock, testing=True) as testing:
        client = RpcClient(testing.transport())
        before = await _head_time(client)
        await client.call("evm_increaseTime", 1000)
        await client.call("evm_mine")
        assert await _head_time(client) == before + 1000


def _signed(key: PrivateKey, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "chain_id": CHAIN_ID, "nonce": 0, "max_tip": 0, "max_fee": GWEI, "gas": 21_000, "to": key.address,
        "value": 0, "data": b"",
    }  # fmt: skip
    return sign_transaction(Transaction(**(fields | changes)), key).raw  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "words", "reason"),
    [
        ({"chain_id": 1}, "invalid chain id for signer: have 1 want 7319001", RefusalReason.OTHER),
        ({"nonce": 1}, "nonce too high", RefusalReason.NONCE_TOO_HIGH),
        ({"max_fee": 1}, "max fee per gas less than block base fee", RefusalReason.UNDERPRICED),
        ({"gas": 20_999}, "intrinsic gas too low", RefusalReason.GAS_LIMIT),
        ({"gas": 30_000_001}, "exceeds block gas limit", RefusalReason.GAS_LIMIT),
        ({"data": b"\1" * 1000, "gas": 40_000}, "floor data gas", RefusalReason.OTHER),
        ({"to": None, "data": bytes(49_153), "gas": 1_000_000}, "max initcode size", RefusalReason.OTHER),
        ({"data": bytes(1 << 17), "gas": 2_000_000}, "oversized data", RefusalReason.GAS_LIMIT),
    ],
)
async def test_what_a_pool_refuses_is_refused(
    rpc: RpcClient, chain: EmbeddedChain, changes: dict[str, object], words: str, reason: RefusalReason
) -> None:
    with pytest.raises(RpcRefused, match=words) as caught:
        await rpc.call("eth_sendRawTransaction", hexed(_signed(HUB, **changes)))
    assert caught.value.facts["reason"] == reason
    assert chain.height == 0


async def test_a_transaction_counts_once(rpc: RpcClient, chain: EmbeddedChain) -> None:
    raw = hexed(_signed(HUB))
    await rpc.call("eth_sendRawTransaction", raw)
    with pytest.raises(RpcRefused) as caught:
        await rpc.call("eth_sendRawTransaction", raw)
    assert caught.value.facts["reason"] == RefusalReason.ALREADY_KNOWN
    with pytest.raises(RpcRefused) as caught:
        await rpc.call("eth_sendRawTransaction", hexed(_signed(HUB, value=1)))
    assert caught.value.facts["reason"] == RefusalReason.NONCE_TOO_LOW
    with pytest.raises(InsufficientFunds):
        await rpc.call("eth_sendRawTransaction", hexed(_signed(PrivateKey.generate())))
    assert chain.height == 1


async def test_a_closed_chain_says_so(tmp_path: Path, clock: ManualClock) -> None:
    found = EmbeddedChain.open(tmp_path / "chain.sqlite", chain_id=5, genesis={}, clock=clock)
    found.close()
    found.close()
    with pytest.raises(Conflict, match="closed"):
        await found.faucet(HUB.address, GWEI)
