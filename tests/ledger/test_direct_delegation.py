"""Direct calls to a node that works for a provider's cold key, which has listed it and let it sign."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.errors import Conflict, InvalidSignature, NotFound
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.delegations import SignedDelegation, sign_delegation
from farlane.ledger.network_registry import NetworkRegistry
from farlane.ledger.receipt import from_json, to_json, verify
from farlane.ledger.receipt_chain import verify_on_chain
from farlane.sdk.direct_nodes import find_nodes
from farlane.sdk.direct_task import command_task
from farlane.testing.direct_world import SMALL, DirectWorld, direct_world

pytestmark = pytest.mark.real
HOUR_S = 3600


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[DirectWorld]:
    async with direct_world(anvil_url, tmp_path) as found:
        yield found


def delegated(world: DirectWorld, provider: PrivateKey, ends_in_s: float = HOUR_S) -> SignedDelegation:
    return sign_delegation(world.ledger.domain, provider, world.node.address, int(time.time() + ends_in_s))


async def test_the_cold_key_is_paid_and_the_receipt_shows_why(world: DirectWorld) -> None:
    cold = await world.rich(0)
    task = command_task("echo hello", resources=SMALL, timeout_s=20)
    async with world.serving(claims=True, delegation=delegated(world, cold), operator=cold) as node:
        assert (node.provider, node.entry.operator, node.entry.key) == (
            cold.address, cold.address, world.node.address,
        )  # fmt: skip
        run = await world.publisher(node).run(task)
        receipt = from_json(to_json(run.receipt))
        assert receipt.channel.provider == cold.address
        assert receipt.delegation.key == world.node.address
        assert [one.message for one in verify(receipt) if not one.ok] == []
    # The node has claimed and paid the gas for it, without the cold key.
    assert await world.ledger.balance(cold.address) == run.leaf.amount_nano
    assert await world.ledger.balance(world.node.address) == 0
    assert all(one.ok for one in await verify_on_chain(world.rpc, receipt))


async def test_a_provider_that_is_not_the_registrys_operator_is_not_believed(world: DirectWorld) -> None:
    stranger = PrivateKey.generate()
    with pytest.raises(NotFound, match="answers"):
        async with world.serving(delegation=delegated(world, stranger)):
            raise AssertionError("it was found")
    async with world.serving():
        found, _ = await find_nodes(world.rpc, world.deployment)
        assert len(found) == 1


async def test_why_it_is_not_believed_is_said(world: DirectWorld) -> None:
    said: list[str] = []
    stranger = PrivateKey.generate()
    honest = world.find

    async def listen() -> object:
        _, silent = await find_nodes(world.rpc, world.deployment)
        said.extend(why for _, why in silent)
        return await honest()

    world.find = listen  # type: ignore[method-assign,assignment]
    with pytest.raises(NotFound):
        async with world.serving(delegation=delegated(world, stranger)):
            raise AssertionError("it was found")
    assert said
    assert "operated by" in said[0]


async def test_a_delegation_that_has_ended_or_is_anothers_finds_nobody(world: DirectWorld) -> None:
    cold = await world.rich(0)
    with pytest.raises(NotFound, match="answers"):
        async with world.serving(delegation=delegated(world, cold, -1), operator=cold):
            raise AssertionError("it was found")
    forged = SignedDelegation(
        world.ledger.domain,
        delegated(world, cold).delegation,
        delegated(world, PrivateKey.generate()).signature,
    )
    with pytest.raises(NotFound, match="answers"):
        async with world.serving(delegation=forged, operator=cold):
            raise AssertionError("it was found")


async def test_a_provider_lists_a_node_whose_key_is_elsewhere(world: DirectWorld) -> None:
    from farlane.ledger.network_registry import EntryKind, Listing

    cold = await world.rich(0)
    registry = NetworkRegistry(world.rpc, world.deployment)
    listing = Listing("https://127.0.0.1:7718", b"\1" * 32)
    word = registry.sign_key(cold.address, world.node)
    entry = await registry.list_signed(cold, EntryKind.NODE, world.node.address, listing, word)
    assert (entry.key, entry.operator, entry.listing) == (world.node.address, cold.address, listing)


async def test_no_task_is_taken_that_could_end_after_the_delegation(world: DirectWorld) -> None:
    cold = await world.rich(0)
    async with world.serving(delegation=delegated(world, cold, 60), operator=cold) as node:
        with pytest.raises(Conflict, match="delegation"):
            await world.publisher(node).run(command_task("true", resources=SMALL, timeout_s=90))
        assert (
            await world.publisher(node).run(command_task("true", resources=SMALL, timeout_s=5))
        ).failure is None


async def test_a_head_that_the_provider_has_not_delegated_is_a_dispute(world: DirectWorld) -> None:
    cold = await world.rich(0)
    task = command_task("true", resources=SMALL, timeout_s=20)
    async with world.serving(delegation=delegated(world, cold), operator=cold) as node:
        # What the node showed when it was found was another's, or has ended since: no receipt could be verified.
        account = replace(node.terms.account, expires=1)
        publisher = world.publisher(replace(node, terms=replace(node.terms, account=account)))
        with pytest.raises(InvalidSignature, match="until 1"):
            await publisher.run(task)
        with pytest.raises(Conflict, match="in dispute"):
            await publisher.run(task)
