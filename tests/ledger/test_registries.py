"""Both registries on a real chain (anvil): what they keep, who may change it, and entries made to do harm."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from farlane.errors import Conflict, InvalidInput, NotFound, Reverted
from farlane.ledger import abi, network_registry
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.model_registry import ModelRegistry
from farlane.ledger.network_registry import Entry, EntryKind, Listing, NetworkRegistry
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender

pytestmark = pytest.mark.real

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
SLASHER = PrivateKey.generate()
OPERATOR, OTHER = PrivateKey.generate(), PrivateKey.generate()
ETHER = 10**18
HASH = bytes(range(32))
UNBOND_S = 7 * 86400


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    async with RpcClient(anvil_url) as client:
        yield client


@pytest.fixture
async def deployment(rpc: RpcClient) -> Deployment:
    plan = DeploymentPlan("cd" * 16, FAUCET.address, slasher=SLASHER.address, unbond_delay_s=UNBOND_S)
    found = await deploy(rpc, FAUCET, plan)
    ledger = EthereumLedger(rpc, found)
    for key in (SLASHER, OPERATOR, OTHER):
        await ledger.pay_gas(FAUCET, key.address, ETHER)
    return found


@pytest.fixture
def registry(rpc: RpcClient, deployment: Deployment) -> NetworkRegistry:
    return NetworkRegistry(rpc, deployment)


@pytest.fixture
def models(rpc: RpcClient, deployment: Deployment) -> ModelRegistry:
    return ModelRegistry(rpc, deployment)


async def everything(registry: NetworkRegistry, kind: EntryKind | None = None) -> list[Entry]:
    return [entry async for entry in registry.entries(kind)]


async def test_a_hub_is_registered_changed_and_retired(registry: NetworkRegistry) -> None:
    key = PrivateKey.generate()
    await registry.register(OPERATOR, EntryKind.HUB, key, Listing("https://hub.example.org:7420", HASH))
    found = await registry.entry_of(key.address)
    assert (found.kind, found.operator, found.key) == (EntryKind.HUB, OPERATOR.address, key.address)
    assert (found.listing.tls_key_hash, found.usable) == (HASH, True)
    moved = Listing("https://[2001:db8::1]:7420", HASH[::-1], b"\x07" * 32)
    await registry.update(OPERATOR, key.address, moved)
    assert (await registry.entry_of(key.address)).listing == moved
    await registry.retire(OPERATOR, key.address)
    retired = await registry.entry_of(key.address)
    assert retired.retired
    assert not retired.usable
    with pytest.raises(Reverted, match="KeyTaken"):
        await registry.register(OPERATOR, EntryKind.HUB, key, moved)


async def test_nobody_lists_or_changes_another_ones_key(registry: NetworkRegistry) -> None:
    key = PrivateKey.generate()
    theirs = registry.sign_key(OPERATOR.address, key)
    data = abi.encode_call(
        "NetworkRegistry", "register", (0, key.address, HASH, bytes(32), "https://a.example:1", theirs)
    )
    sender = registry._sender
    with pytest.raises(Reverted, match="InvalidSignature"):
        await sender.send(OTHER, registry._deployment.network_registry, data)
    await registry.register(OPERATOR, EntryKind.NODE, key, Listing("", HASH))
    with pytest.raises(Reverted, match="NotOperator"):
        await registry.retire(OTHER, key.address)


async def test_an_unknown_key_is_said_to_be_unknown(registry: NetworkRegistry) -> None:
    with pytest.raises(NotFound, match="no node or hub"):
        await registry.entry_of(OTHER.address)


@pytest.mark.parametrize(
    ("endpoint", "tls", "problem"),
    [
        ("http://plain.example:80", HASH, "not https"),
        ("https://user@x.example:1", HASH, "not https"),
        ("https://x.example", HASH, "not https"),
        ("https://x.example:99999", HASH, "no URL"),
        ("https://x.example:7420", bytes(32), "names no TLS key"),
    ],
)
async def test_what_nobody_could_dial_is_refused_before_it_costs_gas(
    registry: NetworkRegistry, endpoint: str, tls: bytes, problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        await registry.register(OPERATOR, EntryKind.HUB, OPERATOR, Listing(endpoint, tls))


async def test_a_poisoned_entry_spoils_no_page(
    rpc: RpcClient, registry: NetworkRegistry, deployment: Deployment
) -> None:
    """An endpoint that is no UTF-8 and one full of control characters stand between two good entries."""
    before = await registry.count()
    first, last = PrivateKey.generate(), PrivateKey.generate()
    await registry.register(OPERATOR, EntryKind.HUB, first, Listing("https://one.example:1", HASH))
    raw = [{**e, "inputs": [_as_bytes(part) for part in e["inputs"]]} for e in _functions()]
    for poison in (b"\xff\xfe\xfd", b"https://x\x1b[2J:1"):
        key = PrivateKey.generate()
        arguments = (1, key.address, HASH, bytes(32), poison, registry.sign_key(OTHER.address, key))
        body = abi.encode_call(raw, "register", arguments)[4:]
        data = abi.selector("NetworkRegistry", "register") + body
        await Sender(rpc, deployment.chain_id).send(OTHER, deployment.network_registry, data)
    await registry.register(OPERATOR, EntryKind.HUB, last, Listing("https://two.example:2", HASH))
    found = (await everything(registry))[before:]
    assert [entry.usable for entry in found] == [True, False, False, True]
    assert all("characters" in entry.problem for entry in found[1:3])


def _functions() -> list[abi.Entry]:
    from farlane.ledger.artifacts import load

    return [entry for entry in load("NetworkRegistry")["abi"] if entry["type"] == "function"]


def _as_bytes(parameter: abi.Entry) -> abi.Entry:
    return {**parameter, "type": "bytes"} if parameter["type"] == "string" else parameter


async def test_entries_that_come_between_two_pages_are_seen_once(
    registry: NetworkRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network_registry, "PAGE", 2)
    monkeypatch.setattr(NetworkRegistry.page, "__defaults__", (2,))
    keys = [PrivateKey.generate() for _ in range(5)]
    for key in keys[:3]:
        await registry.register(OPERATOR, EntryKind.NODE, key, Listing("", HASH))
    seen = []
    async for entry in registry.entries():
        seen.append(entry.key)
        if entry.key == keys[1].address:
            await registry.retire(OPERATOR, keys[0].address)
            for key in keys[3:]:
                await registry.register(OPERATOR, EntryKind.NODE, key, Listing("", HASH))
    assert seen == [key.address for key in keys]
    monkeypatch.setattr(network_registry, "MAX_ENTRIES", 4)
    with pytest.raises(Conflict, match="more than 4"):
        await everything(registry)


async def test_another_networks_registry_is_recognised(rpc: RpcClient, registry: NetworkRegistry) -> None:
    import dataclasses

    await registry.check()
    foreign = dataclasses.replace(registry._deployment, network="ee" * 16)
    with pytest.raises(Conflict, match="belongs to network"):
        await NetworkRegistry(rpc, foreign).check()


async def test_a_bond_stays_slashable_until_it_is_withdrawn(
    rpc: RpcClient, registry: NetworkRegistry, deployment: Deployment
) -> None:
    ledger = EthereumLedger(rpc, deployment)
    await ledger.mint(FAUCET, OPERATOR.address, 1000)
    await registry.bond(OPERATOR, OPERATOR.address, 1000)
    await registry.request_unbond(OPERATOR, 400)
    held = await registry.bond_of(OPERATOR.address)
    assert (held.standing, held.leaving) == (600, 400)
    with pytest.raises(Reverted, match="UnbondingUntil"):
        await registry.withdraw_bond(OPERATOR, OPERATOR.address)
    with pytest.raises(Reverted, match="NotSlasher"):
        await registry.slash(OTHER, OPERATOR.address, OTHER.address, 1, HASH)
    await registry.slash(SLASHER, OPERATOR.address, OTHER.address, 500, HASH)
    held = await registry.bond_of(OPERATOR.address)
    assert (held.standing, held.leaving) == (500, 0)
    await registry.request_unbond(OPERATOR, 500)
    await rpc.call("evm_increaseTime", UNBOND_S + 1)
    await rpc.call("evm_mine")
    await registry.withdraw_bond(OPERATOR, OPERATOR.address)
    assert await ledger.token_balance(OPERATOR.address) == 500
    assert await ledger.token_balance(OTHER.address) == 500


async def test_a_model_is_claimed_published_and_yanked(models: ModelRegistry) -> None:
    await models.claim(OPERATOR, "lab/tiny-1")
    await models.publish(OPERATOR, "lab/tiny-1", 1, HASH)
    with pytest.raises(Reverted, match="WrongVersion"):
        await models.publish(OPERATOR, "lab/tiny-1", 1, HASH)
    with pytest.raises(Reverted, match="NotOwner"):
        await models.publish(OTHER, "lab/tiny-1", 2, HASH)
    await models.yank(OPERATOR, "lab/tiny-1", 1, "wrong licence")
    version = await models.version("lab/tiny-1", 1)
    assert (version.manifest, version.yanked) == (HASH, True)
    with pytest.raises(NotFound, match="no version 2"):
        await models.version("lab/tiny-1", 2)
    with pytest.raises(Reverted, match="NameTaken"):
        await models.claim(OTHER, "lab/tiny-1")


async def test_a_name_changes_hands_in_two_steps(models: ModelRegistry) -> None:
    await models.claim(OPERATOR, "lab/moves")
    await models.offer_transfer(OPERATOR, "lab/moves", OTHER.address)
    assert (await models.model("lab/moves")).successor == OTHER.address
    await models.offer_transfer(OPERATOR, "lab/moves", None)
    with pytest.raises(Reverted, match="NotSuccessor"):
        await models.accept_transfer(OTHER, "lab/moves")
    await models.offer_transfer(OPERATOR, "lab/moves", OTHER.address)
    await models.accept_transfer(OTHER, "lab/moves")
    found = await models.model("lab/moves")
    assert (found.owner, found.successor) == (OTHER.address, None)


async def test_a_royalty_is_capped_and_rounded_down(models: ModelRegistry) -> None:
    await models.claim(OPERATOR, "lab/royal")
    assert await models.royalty_floor("lab/royal", 999) == (None, 0)
    await models.set_royalty(OPERATOR, "lab/royal", 1250, OTHER.address)
    assert await models.royalty_floor("lab/royal", 999) == (OTHER.address, 124)
    with pytest.raises(InvalidInput, match="0 to 2000"):
        await models.set_royalty(OPERATOR, "lab/royal", 2001, OTHER.address)


async def test_names_are_read_in_order_and_bad_ones_cost_nothing(models: ModelRegistry) -> None:
    for name in ("one", "two", "three"):
        await models.claim(OPERATOR, name)
    assert [name async for name in models.names()] == ["one", "two", "three"]
    assert await models.count() == 3
    for bad in ("", "Upper", "-first", "x" * 65, "tab\t"):
        with pytest.raises(InvalidInput, match="no name for a model"):
            await models.claim(OPERATOR, bad)
    with pytest.raises(NotFound, match="nobody has claimed"):
        await models.model("four")
