"""The ledger on a real chain (anvil): the suite of the port, deployment, gas, and what a chain may do to us."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from farlane.domain.ids import TaskId
from farlane.errors import ChainUnavailable, Conflict, InvalidInput, InvalidSetting, Reverted, RpcRefused
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import (
    Deployment,
    DeploymentPlan,
    deploy,
    deployment_from_json,
    deployment_to_json,
    verify_deployment,
)
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.leaf import Leaf, pack
from farlane.ledger.port import SignedClaim
from farlane.ledger.receipt import Finding, Receipt, verify
from farlane.ledger.receipt_chain import NOT_ANCHORED, verify_on_chain
from farlane.ledger.rpc import RpcClient
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.vouchers import Channel, Delegation, TreeHead, Voucher, sign_head, sign_voucher
from farlane.sdk.anchored import anchored
from farlane.sdk.record import RecordClient
from farlane.testing.job_suite import START, JobSuite, JobWorld
from farlane.testing.ledger_suite import LedgerSuite, LedgerWorld

pytestmark = pytest.mark.real

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account of every development chain of the Foundry and Hardhat kind, public on purpose."""
NETWORK = "ab" * 16
WINDOW_S = 3600
ETHER = 10**18


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    client = RpcClient(anvil_url)
    yield client
    await client.close()


@pytest.fixture
async def deployment(rpc: RpcClient) -> Deployment:
    return await deploy(rpc, FAUCET, DeploymentPlan(NETWORK, FAUCET.address, close_window_s=WINDOW_S))


@pytest.fixture
async def world(rpc: RpcClient, deployment: Deployment) -> LedgerWorld:
    ledger = EthereumLedger(rpc, deployment)
    payer, provider, session = (PrivateKey.generate() for _ in range(3))
    for key in (payer, provider):
        await ledger.pay_gas(FAUCET, key.address, ETHER)
    await ledger.mint(FAUCET, payer.address, 1_000_000)

    async def pass_time(seconds: int) -> None:
        await rpc.call("evm_increaseTime", seconds)
        await rpc.call("evm_mine")

    return LedgerWorld(ledger, payer, provider, session, pass_time, WINDOW_S)


class TestEthereumLedger(LedgerSuite):
    pass


@pytest.fixture
async def jobs(rpc: RpcClient, deployment: Deployment, world: LedgerWorld) -> JobWorld:
    ledger, arbiter = EthereumLedger(rpc, deployment), PrivateKey.generate()
    await ledger.pay_gas(FAUCET, arbiter.address, ETHER)
    for key in (world.payer, world.provider):
        await ledger.mint(FAUCET, key.address, START)
        await ledger.deposit(key, START)
    return JobWorld(ledger, world.payer, world.provider, arbiter, world.pass_time)


class TestEthereumJobs(JobSuite):
    pass


async def test_a_network_file_leads_back_to_the_contracts(rpc: RpcClient, deployment: Deployment) -> None:
    read = deployment_from_json(deployment_to_json(deployment))
    assert read == deployment
    await verify_deployment(rpc, read)


@pytest.mark.parametrize("field", ["ledger", "network_registry", "model_registry", "receipt_verifier"])
async def test_another_contract_is_recognised(rpc: RpcClient, deployment: Deployment, field: str) -> None:
    forged = dataclasses.replace(deployment, **{field: deployment.token})
    with pytest.raises(Conflict, match="is not farlane's"):
        await verify_deployment(rpc, forged)


async def test_another_chain_and_another_network_are_recognised(
    rpc: RpcClient, deployment: Deployment
) -> None:
    with pytest.raises(Conflict, match="is chain"):
        await verify_deployment(rpc, dataclasses.replace(deployment, chain_id=1))
    with pytest.raises(Conflict, match="belongs to network"):
        await verify_deployment(rpc, dataclasses.replace(deployment, network="cd" * 16))


async def test_gas_stays_below_its_bars(world: LedgerWorld) -> None:
    ledger = world.ledger
    await ledger.deposit(world.payer, 1_000_000)
    for number in range(101):
        await ledger.open_channel(world.payer, world.channel(number), 9_000)
    await ledger.settle(FAUCET, [world.claim(1_000, 100)])
    alone = await ledger.settle(FAUCET, [world.claim(2_000, 100)])
    await ledger.settle(FAUCET, [world.claim(1_000, number) for number in range(100)])
    batch = await ledger.settle(FAUCET, [world.claim(2_000, number) for number in range(100)])
    assert alone.gas_used <= 46_000
    assert batch.gas_used <= 100 * 19_000


async def test_the_chain_agrees_on_hashes(rpc: RpcClient, deployment: Deployment, world: LedgerWorld) -> None:
    channel = world.channel()
    at = deployment.ledger
    assert await rpc.read("ComputeLedger", at, "domainSeparator") == deployment.domain.separator
    parties = (channel.payer, channel.provider, channel.signer, channel.salt)
    assert await rpc.read("ComputeLedger", at, "channelId", parties) == channel.id


async def test_the_chain_agrees_on_trees(rpc: RpcClient, deployment: Deployment) -> None:
    verifier = deployment.receipt_verifier
    leaves = [bytes([number]) * 236 for number in range(11)]
    tree = Tree(map(leaf_hash, leaves))
    assert await rpc.read("ReceiptVerifier", verifier, "leafHash", (leaves[3],)) == tree.leaf(3)
    for index, size in ((0, 1), (3, 11), (10, 11), (4, 7)):
        proof = (tree.leaf(index), index, size, tree.inclusion(index, size), tree.root(size))
        assert await rpc.read("ReceiptVerifier", verifier, "verifyInclusion", proof) is True
        wrong = (*proof[:4], tree.root(2))
        assert await rpc.read("ReceiptVerifier", verifier, "verifyInclusion", wrong) is False
    for old, new in ((1, 11), (4, 11), (7, 11), (6, 8), (5, 5), (0, 5)):
        steps = (old, new, tree.root(old), tree.root(new), tree.consistency(old, new))
        assert await rpc.read("ReceiptVerifier", verifier, "verifyConsistency", steps) is True
        forked = (*steps[:2], tree.root(3), *steps[3:])
        assert await rpc.read("ReceiptVerifier", verifier, "verifyConsistency", forked) is False


async def test_vouchers_of_another_network_are_refused(world: LedgerWorld) -> None:
    ledger, channel = world.ledger, world.channel()
    await ledger.deposit(world.payer, 1000)
    await ledger.open_channel(world.payer, channel, 500)
    voucher = Voucher(channel.id, 100, 1, bytes(32))
    for changes in ({"network": "cd" * 16}, {"chain_id": 1}, {"contract": world.payer.address}):
        elsewhere = dataclasses.replace(ledger.domain, **changes)
        claim = SignedClaim(channel, sign_voucher(elsewhere, world.session, voucher))
        with pytest.raises(Reverted, match="InvalidSignature"):
            await ledger.settle(world.provider, [claim])


async def test_a_stuck_transaction_is_replaced(
    rpc: RpcClient, deployment: Deployment, world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.ledger.sending.BUMP_AFTER_S", 0.3)
    await rpc.call("evm_setAutomine", False)
    try:
        import asyncio

        sending = asyncio.create_task(world.ledger.deposit(world.payer, 5))
        # Mined only after it was offered at least twice.
        end = asyncio.get_running_loop().time() + 20
        while asyncio.get_running_loop().time() < end and not sending.done():
            await asyncio.sleep(0.5)
            await rpc.call("evm_mine")
        await sending
    finally:
        await rpc.call("evm_setAutomine", True)
    assert await world.ledger.balance(world.payer.address) == 5


async def test_too_many_or_no_vouchers_are_refused(world: LedgerWorld) -> None:
    with pytest.raises(InvalidInput, match="1 to 300"):
        await world.ledger.settle(world.provider, [])
    with pytest.raises(InvalidInput, match="1 to 300"):
        await world.ledger.settle(world.provider, [world.claim(1)] * 301)


async def test_an_endpoint_that_is_not_there_says_so() -> None:
    client = RpcClient("http://user:secret@127.0.0.1:9")
    with pytest.raises(ChainUnavailable, match=r"127\.0\.0\.1:9") as caught:
        await client.call("eth_chainId")
    assert "secret" not in caught.value.message
    await client.close()


async def test_what_an_endpoint_refuses_is_told(rpc: RpcClient) -> None:
    with pytest.raises(RpcRefused, match="eth_nothing"):
        await rpc.call("eth_nothing")


def test_an_endpoint_must_be_a_url() -> None:
    with pytest.raises(InvalidSetting, match="not a URL"):
        RpcClient("ftp://example")


async def test_channels_of_other_payers_are_not_ours(world: LedgerWorld) -> None:
    stranger = Channel(world.provider.address, world.payer.address, world.session.address, bytes(32))
    assert not (await world.ledger.channel(stranger.id)).exists


async def test_a_chain_tells_whether_a_receipt_was_settled(
    rpc: RpcClient, deployment: Deployment, world: LedgerWorld
) -> None:
    ledger, channel = world.ledger, world.channel()
    leaf = Leaf(1, 1, 0, 0, 0, 0, 0, *[bytes(32)] * 5, 1000, 1, 0, 0, 10, 10, 300, 10)
    tree = Tree([leaf_hash(pack(leaf))])
    signed = sign_voucher(ledger.domain, world.session, Voucher(channel.id, 300, 1, tree.root()))
    head = sign_head(ledger.domain, world.provider, TreeHead(channel.id, 1, tree.root()))
    own = Delegation(world.provider.address, world.provider.address, 0)
    receipt = Receipt(ledger.domain, channel, leaf, 0, (), head, own, b"", signed)
    assert all(finding.ok for finding in verify(receipt))

    async def failed(found: Receipt) -> list[str]:
        return [finding.check for finding in await verify_on_chain(rpc, found) if not finding.ok]

    assert await failed(receipt) == ["channel was opened", "voucher was settled"]
    await ledger.deposit(world.payer, 1000)
    await ledger.open_channel(world.payer, channel, 500)
    assert await failed(receipt) == ["voucher was settled"]
    await ledger.settle(world.provider, [SignedClaim(channel, signed)])
    assert await failed(receipt) == []
    elsewhere = dataclasses.replace(receipt, domain=dataclasses.replace(ledger.domain, network="cd" * 16))
    assert await failed(elsewhere) == ["contract is farlane's, of this network"]
    elsewhere = dataclasses.replace(
        receipt, domain=dataclasses.replace(ledger.domain, contract=deployment.token)
    )
    assert await failed(elsewhere) == ["contract is farlane's, of this network"]
    elsewhere = dataclasses.replace(receipt, domain=dataclasses.replace(ledger.domain, chain_id=1))
    assert await failed(elsewhere) == ["endpoint is of the receipt's chain"]


def _tree_receipt(world: LedgerWorld, spec: int, tasks: int, cumulative: int) -> Receipt:
    """A receipt of the first of `tasks` leaves that both sides signed; `spec` tells trees apart."""
    domain, channel = world.ledger.domain, world.channel()
    rest = [bytes([spec]) * 32, *[bytes(32)] * 4]
    leaves = [Leaf(n, 1, 0, 0, 0, 0, 0, *rest, 1000, 1, 0, 0, 10, 10, 300, 10) for n in range(tasks)]
    tree = Tree([leaf_hash(pack(leaf)) for leaf in leaves])
    head = sign_head(domain, world.provider, TreeHead(channel.id, tasks, tree.root()))
    signed = sign_voucher(domain, world.session, Voucher(channel.id, cumulative, tasks, tree.root()))
    own = Delegation(world.provider.address, world.provider.address, 0)
    receipt = Receipt(domain, channel, leaves[0], 0, tuple(tree.inclusion(0)), head, own, b"", signed)
    assert all(finding.ok for finding in verify(receipt))
    return receipt


async def _settle(world: LedgerWorld, receipt: Receipt) -> None:
    await world.ledger.settle(world.provider, [SignedClaim(world.channel(), receipt.voucher)])


@pytest.fixture(params=[None, 3], ids=["all logs at once", "three blocks at once"])
async def asked(request: pytest.FixtureRequest, rpc: RpcClient, monkeypatch: pytest.MonkeyPatch) -> RpcClient:
    """An endpoint that may refuse logs of more than so many blocks."""
    call = rpc.call

    async def limited(method: str, *given: Any, **options: Any) -> Any:
        if request.param and method == "eth_getLogs":
            first, last = (int(given[0][name], 16) for name in ("fromBlock", "toBlock"))
            if last - first >= request.param:
                raise RpcRefused("range too large")
        return await call(method, *given, **options)

    monkeypatch.setattr(rpc, "call", limited)
    return rpc


async def test_a_receipt_over_another_tree_is_forged(asked: RpcClient, world: LedgerWorld) -> None:
    await world.ledger.deposit(world.payer, 2000)
    await world.ledger.open_channel(world.payer, world.channel(), 2000)
    true, forged = _tree_receipt(world, 1, 2, 600), _tree_receipt(world, 2, 2, 600)
    await _settle(world, true)
    assert all(finding.ok and not finding.message for finding in await verify_on_chain(asked, true))
    (wrong,) = [finding for finding in await verify_on_chain(asked, forged) if not finding.ok]
    assert wrong.check == "chain has the same tree"
    assert "another tree of this size" in wrong.message
    (wrong,) = [one for one in await verify_on_chain(asked, _tree_receipt(world, 1, 3, 500)) if not one.ok]
    assert "no tree that only grows" in wrong.message
    between = _tree_receipt(world, 1, 3, 900)
    await _settle(world, _tree_receipt(world, 1, 4, 1200))
    for covered in (between, _tree_receipt(world, 1, 1, 300)):
        *_, last = await verify_on_chain(asked, covered)
        assert last == Finding("chain has the same tree", True, NOT_ANCHORED)
    assert all(finding.ok and not finding.message for finding in await verify_on_chain(asked, true))


class _Hub:
    """Proves in trees of any size, as a hub would."""

    def __init__(self, world: LedgerWorld) -> None:
        self._world, self.asked = world, list[int]()

    async def receipts(self, task: int, tasks: int = 0) -> tuple[list[Receipt], int]:
        self.asked.append(tasks)
        return [_tree_receipt(self._world, 1, tasks, 300 * tasks)], 0


async def test_a_receipt_is_fetched_in_a_tree_that_was_settled(asked: RpcClient, world: LedgerWorld) -> None:
    await world.ledger.deposit(world.payer, 5000)
    await world.ledger.open_channel(world.payer, world.channel(), 5000)
    hub, early = _Hub(world), _tree_receipt(world, 1, 1, 300)
    record = cast("RecordClient", hub)
    task = TaskId(0)
    assert await anchored(record, asked, task, [early]) == [early], "nothing is settled yet"
    for size in (3, 5):
        await _settle(world, _tree_receipt(world, 1, size, 300 * size))
    (found,) = await anchored(record, asked, task, [early])
    assert found.head.head.size == 3
    assert all(finding.ok and not finding.message for finding in await verify_on_chain(asked, found))
    assert await anchored(record, asked, task, [found]) == [found]
    assert hub.asked == [3]


async def test_an_endpoint_that_keeps_settlements_back_is_named(
    rpc: RpcClient, world: LedgerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.ledger.deposit(world.payer, 2000)
    await world.ledger.open_channel(world.payer, world.channel(), 2000)
    receipt = _tree_receipt(world, 1, 2, 600)
    await _settle(world, receipt)
    call = rpc.call

    async def silent(method: str, *given: Any, **options: Any) -> Any:
        return [] if method == "eth_getLogs" else await call(method, *given, **options)

    monkeypatch.setattr(rpc, "call", silent)
    (wrong,) = [finding for finding in await verify_on_chain(rpc, receipt) if not finding.ok]
    assert "ask one that has all logs" in wrong.message
