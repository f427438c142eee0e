"""Single transactions: what they raise, and what is left of them when their process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import (
    ChainUnavailable,
    InsufficientFunds,
    InvalidSetting,
    Reverted,
    RpcRefused,
    Unavailable,
)
from farlane.ledger.accounts import Address, PrivateKey, address_from_bytes
from farlane.ledger.outbox.intents import Call, IntentKey, policy_of
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.rpc import HttpTransport, RpcClient
from farlane.ledger.sending import Sender
from farlane.ledger.transactions import contract_address
from farlane.testing.faulty_rpc import FaultyTransport

pytestmark = pytest.mark.real

ETHER = 10**18
RETURNS_NOTHING = bytes.fromhex("600160005360016000f3")
"""Creation code of a contract whose code is one byte."""


@pytest.fixture
async def transport(anvil_url: str) -> AsyncIterator[FaultyTransport]:
    made = FaultyTransport(HttpTransport(anvil_url))
    yield made
    await made.close()


async def funded(rpc: RpcClient) -> PrivateKey:
    key = PrivateKey.generate()
    await rpc.call("anvil_setBalance", key.address, hex(ETHER))
    return key


def stranger() -> Address:
    return PrivateKey.generate().address


async def test_what_was_sent_when_the_process_died_is_not_sent_twice(
    transport: FaultyTransport, tmp_path: Path
) -> None:
    rpc, to, file = RpcClient(transport), stranger(), tmp_path / "sent.db"
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    await rpc.call("evm_setAutomine", False)
    try:
        sending = asyncio.create_task(Sender(rpc, chain_id, file=file).send(key, to, b"", 5))
        async with asyncio.timeout(20):
            while not transport.sent:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
        # A new process repeats the call: the same transaction, also if the pool has lost it.
        await rpc.call("anvil_dropAllTransactions")
        again = asyncio.create_task(Sender(rpc, chain_id, file=file).send(key, to, b"", 5))
        async with asyncio.timeout(20):
            while len(transport.sent) < 2:
                await asyncio.sleep(0.01)
        await rpc.call("evm_mine")
        receipt = await again
    finally:
        await rpc.call("evm_setAutomine", True)
    assert len(set(transport.sent)) == 1
    assert receipt.gas_used == 21_000
    # It has ended: once more is a new one.
    await Sender(rpc, chain_id, file=file).send(key, to, b"", 5)
    assert await rpc.quantity("eth_getBalance", to, "latest") == 10
    assert await rpc.quantity("eth_getTransactionCount", key.address, "latest") == 2


@pytest.mark.parametrize("cause", ["away", "poor", "refused"])
async def test_what_cannot_be_sent_leaves_nothing_behind(
    transport: FaultyTransport, tmp_path: Path, cause: str
) -> None:
    rpc, file = RpcClient(transport), tmp_path / "sent.db"
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    transport.down = cause == "away"
    value = 2 * ETHER if cause == "poor" else 1
    if cause == "refused":
        transport.refuse = lambda method: (
            {"code": -32000, "message": "no"} if method == "eth_estimateGas" else None
        )
    expected = {"away": ChainUnavailable, "poor": InsufficientFunds, "refused": RpcRefused}[cause]
    with pytest.raises(expected):
        await Sender(rpc, chain_id, file=file).send(key, stranger(), b"", value)
    journal = Journal(file, chain_id)
    assert journal.open_intents() == []
    journal.close()
    assert transport.sent == []


async def test_many_at_once_take_turns(transport: FaultyTransport) -> None:
    rpc, to = RpcClient(transport), stranger()
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    sender = Sender(rpc, chain_id)
    await asyncio.gather(*(sender.send(key, to, b"", 1) for _ in range(10)))
    assert await rpc.quantity("eth_getBalance", to, "latest") == 10


async def test_a_contract_is_created(transport: FaultyTransport) -> None:
    rpc = RpcClient(transport)
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    await Sender(rpc, chain_id).send(key, None, RETURNS_NOTHING)
    address = address_from_bytes(contract_address(key.address, 0))
    assert await rpc.call("eth_getCode", address, "latest") == "0x01"


async def test_what_was_left_is_finished_first_and_what_was_not_signed_is_taken_back(
    transport: FaultyTransport, tmp_path: Path
) -> None:
    rpc, to, file = RpcClient(transport), stranger(), tmp_path / "sent.db"
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    assert await Sender(rpc, chain_id, file=file).finish(key) == []
    await rpc.call("evm_setAutomine", False)
    try:
        sending = asyncio.create_task(Sender(rpc, chain_id, file=file).send(key, to, b"", 5))
        async with asyncio.timeout(20):
            while not transport.sent:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
    finally:
        await rpc.call("evm_setAutomine", True)
    journal = Journal(file, chain_id)
    journal.add(IntentKey("never signed"), Call(key.address, to, b"", 7), 0.0)
    journal.close()
    await rpc.call("evm_mine")
    (left,) = await Sender(rpc, chain_id, file=file).finish(key)
    assert left.receipt is not None
    assert (left.call.value, left.error) == (5, None)
    assert await Sender(rpc, chain_id, file=file).finish(key) == []
    assert await rpc.quantity("eth_getBalance", to, "latest") == 5


async def test_what_was_left_and_failed_on_the_chain_is_told(
    transport: FaultyTransport, tmp_path: Path
) -> None:
    rpc, file = RpcClient(transport), tmp_path / "sent.db"
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    to = stranger()
    await rpc.call("evm_setAutomine", False)
    try:
        sending = asyncio.create_task(Sender(rpc, chain_id, file=file).send(key, to, b"", 5))
        async with asyncio.timeout(20):
            while not transport.sent:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
        await rpc.call("anvil_setCode", to, "0x60006000fd")  # from now on it takes nothing
    finally:
        await rpc.call("evm_setAutomine", True)
    await rpc.call("evm_mine")
    (left,) = await Sender(rpc, chain_id, file=file).finish(key)
    assert left.receipt is None
    assert isinstance(left.error, Reverted)


async def test_nothing_is_sent_while_gas_costs_more_than_the_cap(
    transport: FaultyTransport, tmp_path: Path
) -> None:
    rpc = RpcClient(transport)
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    await rpc.call("anvil_setNextBlockBaseFeePerGas", hex(10**9))  # it falls with every empty block
    await rpc.call("evm_mine")
    sender = Sender(rpc, chain_id, file=tmp_path / "sent.db", policy=policy_of(0.000001))
    with pytest.raises(Unavailable, match=r"the cap \(max_fee_gwei, --max-fee\) is 1e-06"):
        await sender.send(key, stranger(), b"", 1)
    assert transport.sent == []


@pytest.mark.parametrize("gwei", [0.0, -1.0, float("nan"), float("inf"), 1e10])
def test_a_cap_that_is_none_is_refused(gwei: float) -> None:
    with pytest.raises(InvalidSetting, match="gwei; expected above 0"):
        policy_of(gwei)
