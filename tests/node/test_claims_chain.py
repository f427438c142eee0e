"""Claims of a node on a real chain (anvil), with no hub anywhere: closes, thresholds, shutdowns, crashes, outages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farlane.errors import DiskFull, Internal, Reverted
from farlane.ledger.accounts import Address
from farlane.ledger.claim_count import ClaimCount
from farlane.ledger.deploy import Deployment, deployment_to_json
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.port import SignedClaim
from farlane.ledger.rpc import HttpTransport, RpcClient
from farlane.node.books.claiming import BookClaims
from farlane.node.books.signing import HeadKey
from farlane.node.settings import NodeSettings
from farlane.testing.faulty_rpc import FaultyTransport
from farlane.testing.promised_node import ETHER, WATCH, PromisedNode, at_work, promised_node
from farlane.testing.scripted_book import NETWORK
from farlane.testing.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(90)]


@pytest.fixture
async def world(anvil_url: str, tmp_path: Path) -> AsyncIterator[PromisedNode]:
    async with promised_node(anvil_url, tmp_path) as found:
        yield found


async def test_a_payer_that_closes_finds_the_voucher_claimed(
    world: PromisedNode, caplog: pytest.LogCaptureFixture
) -> None:
    hub, count = world.hub(), ClaimCount()
    owed = await world.promise(hub, 0, 1)
    await world.open(hub, 10 * owed)
    with caplog.at_level(logging.INFO):
        async with at_work(world.claims(count=count)):
            await until(lambda: count.reachable)
            assert await world.paid() == 0
            await world.close(hub)
            await world.wait(owed)
            await until(lambda: count.claims == 1)
    assert (count.units, count.refused) == (owed, 0)
    assert f"claimed {owed} units for work up to task 2 of channel 0x{hub.channel.id.hex()}" in caplog.text
    assert await world.sent() == 1


async def test_a_hub_that_promised_beyond_its_deposit_and_closes_pays_what_it_covers(
    world: PromisedNode,
) -> None:
    hub = world.hub()
    first = await world.promise(hub, 0)
    second = await world.promise(hub, 1)
    await world.open(hub, second - 1)
    await world.close(hub)
    async with at_work(world.claims()):
        await world.wait(first)
    assert await world.paid() == first


async def test_the_rest_is_claimed_once_the_deposit_was_topped_up(world: PromisedNode) -> None:
    hub = world.hub()
    first = await world.promise(hub, 0)
    second = await world.promise(hub, 1)
    await world.open(hub, first)
    async with at_work(world.claims(replace(WATCH, threshold=1))):
        await world.wait(first)
        await world.ledger.top_up(world.payer, hub.channel, second - first)
        await world.wait(second)
    assert (await world.paid(), await world.sent()) == (second, 2)


async def test_it_claims_from_the_threshold_on(world: PromisedNode) -> None:
    small, large = world.hub(1), world.hub(2)
    little = await world.promise(small, 0)
    much = await world.promise(large, 1, 2)
    for hub in (small, large):
        await world.open(hub, 10 * much)
    async with at_work(world.claims(replace(WATCH, threshold=little + 1))):
        await world.wait(much)
        more = await world.promise(small, 3)
        await world.wait(much + more)
    assert await world.sent() == 2


async def test_the_last_act_claims_whatever_is_worth_it(world: PromisedNode) -> None:
    hub, dust = world.hub(1), world.hub(2)
    owed = await world.promise(hub, 0, 1)
    await world.promise(dust, 2)
    for each in (hub, dust):
        await world.open(each, 10 * owed)
    await world.claims(replace(WATCH, dust=owed)).finish()
    assert await world.paid() == owed
    await world.claims(replace(WATCH, dust=owed)).finish()
    assert await world.sent() == 1


async def test_a_last_claim_that_cannot_be_made_goes_on_at_the_next_start(
    world: PromisedNode, caplog: pytest.LogCaptureFixture
) -> None:
    hub = world.hub()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    await world.rpc.call("evm_setAutomine", False)
    try:
        await world.claims(leaving_s=0.5).finish()
        assert "they go on at the next start" in caplog.text
    finally:
        await world.rpc.call("evm_setAutomine", True)
    await world.rpc.call("evm_mine")
    with caplog.at_level(logging.INFO):
        async with at_work(world.claims()):
            await world.wait(owed)
            await until(lambda: "of an earlier run go on" in caplog.text)
    assert await world.sent() == 1


@pytest.mark.parametrize("step", ["add", "sign", "sent", "mined", "confirmed"])
async def test_a_crash_after_any_written_step_claims_once(
    world: PromisedNode, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = world.hub()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    await world.close(hub)
    written, died = getattr(Journal, step), asyncio.Event()
    loop = asyncio.get_running_loop()

    def dies(self: Journal, *given: Any) -> Any:
        if died.is_set():
            raise Internal("dead already")
        written(self, *given)
        loop.call_soon_threadsafe(died.set)
        raise Internal(f"died after {step}")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, step, dies)
        async with at_work(world.claims()):
            await asyncio.wait_for(died.wait(), 20)
    count = ClaimCount()
    async with at_work(world.claims(count=count)):
        await world.wait(owed)
        await until(lambda: count.reachable)
    assert (await world.paid(), await world.sent()) == (owed, 1)
    await world.claims().finish()
    assert await world.sent() == 1


async def test_an_outbox_that_dies_is_said_and_started_again(
    world: PromisedNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = world.hub()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    await world.close(hub)
    honest, full = Journal.sign, iter([True])

    def sign(self: Journal, *given: Any) -> None:
        if next(full, False):
            raise DiskFull("the outbox cannot grow: its disk is full")
        honest(self, *given)

    monkeypatch.setattr(Journal, "sign", sign)
    async with at_work(world.claims()):
        await world.wait(owed)
    assert "task outbox of claims died; next try in" in caplog.text
    assert await world.sent() == 1


async def test_an_endpoint_that_is_away_in_between_is_waited_for(world: PromisedNode) -> None:
    hub, count = world.hub(), ClaimCount()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    transport = FaultyTransport(HttpTransport(world.url))
    async with RpcClient(transport) as rpc, at_work(world.claims(rpc=rpc, count=count)):
        await until(lambda: count.reachable)
        transport.down = True
        await world.close(hub)
        await until(lambda: not count.reachable)
        # It goes away again with the claim signed and written down, and not sent.
        tried = asyncio.Event()

        def busy(method: str) -> dict[str, Any] | None:
            if method != "eth_sendRawTransaction":
                return None
            tried.set()
            return {"code": -32000, "message": "busy"}

        transport.refuse = busy
        transport.down = False
        await asyncio.wait_for(tried.wait(), 30)
        transport.down = True
        await until(lambda: not count.reachable)
        assert await world.paid() == 0
        transport.down, transport.refuse = False, lambda method: None
        await world.wait(owed)
    assert await world.sent() == 1


async def test_two_watchers_on_one_key_both_get_through(world: PromisedNode) -> None:
    hubs = [world.hub(number) for number in (1, 2)]
    owed = [await world.promise(hub, number) for number, hub in enumerate(hubs)]
    for hub, units in zip(hubs, owed, strict=True):
        await world.open(hub, units)
        await world.close(hub)
    # Both claim all, each through an outbox of its own; whoever is second finds its nonce used, or nothing left.
    async with at_work(world.claims()), at_work(world.claims(file="other")):
        await world.wait(sum(owed))
    async with at_work(world.claims()), at_work(world.claims(file="other")):
        later = world.hub(3)
        more = await world.promise(later, 5)
        await world.open(later, more)
        await world.close(later)
        await world.wait(sum(owed) + more)
    assert await world.paid() == sum(owed) + more


async def test_one_bad_claim_does_not_cost_the_others(world: PromisedNode) -> None:
    hubs = [world.hub(number) for number in (1, 2)]
    owed = [await world.promise(hub, number) for number, hub in enumerate(hubs)]
    for hub, units in zip(hubs, owed, strict=True):
        await world.open(hub, units)
        await world.close(hub)
    world.books.books.keeper.shelf.books()[1].voucher_signature = bytes(65)
    count = ClaimCount()
    async with at_work(world.claims(count=count)):
        await world.wait(owed[0])
        await until(lambda: count.refused == 1)
    assert await world.paid() == owed[0]


async def test_an_owner_is_told_what_a_claim_waits_for(
    world: PromisedNode, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.node.claims.LOOK_S", 0.05)
    await world.rpc.call("anvil_setBalance", world.gas.address, hex(0))
    hub, count = world.hub(), ClaimCount()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    await world.close(hub)
    with caplog.at_level(logging.INFO):
        async with at_work(world.claims(count=count)):
            await until(lambda: count.waiting == 1)
            assert f"{world.gas.address} has too little of the chain's coin" in caplog.text
            assert caplog.text.count("a claim waits: ") == 1
            await world.rpc.call("anvil_setBalance", world.gas.address, hex(ETHER))
            await world.wait(owed)
            await until(lambda: "has coin for claims again" in caplog.text and count.waiting == 0)


def with_settings(world: PromisedNode, deployment: Deployment | None = None, **changes: Any) -> BookClaims:
    file = world.network_file()
    if deployment is not None:
        file.write_bytes(deployment_to_json(deployment))
    settings = NodeSettings(
        directory=world.directory,
        rpc=("http://127.0.0.1:1", world.url),
        network_file=file,
        confirmations=0,
        **changes,
    )
    key = HeadKey(world.directory, world.gas.address, key=world.gas)
    shelf = world.books.books.keeper.shelf
    return BookClaims(settings, key, shelf.books, world.books.store, ClaimCount())


async def test_a_node_claims_as_its_settings_say(world: PromisedNode) -> None:
    hub = world.hub()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed)
    claims = with_settings(world, claim_credits=f"{owed / 10**9:.9f}")
    async with at_work(claims, poll_s=0.05):
        await world.wait(owed)
        await until(lambda: claims.vouchers.covered_units(hub.channel.id) == owed)
    assert (world.directory / f"claims-{world.deployment.chain_id}.db").exists()


async def test_a_chain_that_is_not_the_networks_is_not_used(
    world: PromisedNode, caplog: pytest.LogCaptureFixture
) -> None:
    where = Address("0x" + "22" * 20)
    forged = Deployment(NETWORK, 31337, where, where, where, where, where, 10**9, 0)
    claims = with_settings(world, forged)
    async with at_work(claims):
        await until(lambda: "does not use this chain" in caplog.text)
    await claims.finish()
    assert not list(world.directory.glob("claims*"))


async def test_the_contract_refuses_what_the_deposit_does_not_cover(world: PromisedNode) -> None:
    """Why the highest voucher is not always the one to claim."""
    hub = world.hub()
    owed = await world.promise(hub, 0)
    await world.open(hub, owed - 1)
    claim = world.books.books.keeper.shelf.books()[0].claim
    assert isinstance(claim, SignedClaim)
    with pytest.raises(Reverted, match="DepositExceeded"):
        await world.ledger.settle(world.gas, [claim])
