"""A model's royalty is paid through the ledger, in the transaction that pays the work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from farlane.errors import InvalidInput, Reverted
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.model_registry import ModelRegistry, RegisteredModel
from farlane.ledger.port import SignedClaim
from farlane.ledger.royalty import royalty_channel, royalty_claim, royalty_units_floor
from farlane.ledger.rpc import RpcClient
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, Voucher, sign_voucher

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account of every development chain of the Foundry kind, public on purpose."""
NAME = "acme/minilm-l6"


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    client = RpcClient(anvil_url)
    yield client
    await client.close()


@pytest.fixture
async def deployment(rpc: RpcClient) -> Deployment:
    return await deploy(rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address))


@pytest.mark.real
async def test_one_transaction_pays_work_and_royalty(rpc: RpcClient, deployment: Deployment) -> None:
    ledger, registry = EthereumLedger(rpc, deployment), ModelRegistry(rpc, deployment)
    owner, provider, session = (PrivateKey.generate() for _ in range(3))
    await registry.claim(FAUCET, NAME)
    await registry.set_royalty(FAUCET, NAME, 250, owner.address)
    model = await registry.model(NAME)
    work = Channel(FAUCET.address, provider.address, session.address, bytes(32))
    royalty = royalty_channel(FAUCET.address, session.address, model)
    await ledger.mint(FAUCET, FAUCET.address, 10_000)
    await ledger.deposit(FAUCET, 10_000)
    await ledger.open_channel(FAUCET, work, 2000)
    await ledger.open_channel(FAUCET, royalty, 50)
    for cumulative, owed in ((1039, 25), (2000, 50)):
        voucher = Voucher(work.id, cumulative, cumulative, bytes(32))
        signed = SignedClaim(work, sign_voucher(ledger.domain, session, voucher))
        share = royalty_claim(ledger.domain, session, FAUCET.address, model, voucher)
        await ledger.settle(FAUCET, [signed, share])
        assert await ledger.balance(owner.address) == owed
        assert await registry.royalty_floor(NAME, cumulative) == (owner.address, owed)
    assert await ledger.balance(provider.address) == 2000
    with pytest.raises(Reverted, match="NothingToClaim"):
        await ledger.settle(FAUCET, [share])


def test_royalties_are_of_the_running_total_rounded_down() -> None:
    assert [royalty_units_floor(spent, 250) for spent in (39, 40, 79, 1039)] == [0, 1, 1, 25]
    assert royalty_units_floor(10**27, 2000) == 2 * 10**26


def test_a_model_without_a_royalty_has_no_channel_for_it() -> None:
    payer, session = PrivateKey.generate(), PrivateKey.generate()
    free = RegisteredModel(NAME, payer.address, 1, 0, None, None)
    with pytest.raises(InvalidInput, match="asks for no royalty"):
        royalty_channel(payer.address, session.address, free)


def test_less_than_a_unit_waits_for_a_later_voucher() -> None:
    payer, session = PrivateKey.generate(), PrivateKey.generate()
    model = RegisteredModel(NAME, payer.address, 1, 250, payer.address, None)
    domain = Domain(31337, payer.address, "ab" * 16)
    with pytest.raises(InvalidInput, match="less than one unit"):
        royalty_claim(domain, session, payer.address, model, Voucher(bytes(32), 39, 1, bytes(32)))
