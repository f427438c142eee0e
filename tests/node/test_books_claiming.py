"""A node that looks at the chain itself: what covers its vouchers, and claims that do not wait for any hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.errors import ChainUnavailable, InvalidSetting, NotFound
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment, DeploymentPlan, deploy, deployment_to_json
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.memory import MemoryLedger
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.rpc import RpcClient
from farlane.ledger.vouchers import Voucher
from farlane.node.books.claiming import ChainWatch, covered_by, must_claim, watch_chain
from farlane.node.books.opening import open_books
from farlane.node.books.signing import HeadKey
from farlane.node.settings import NodeSettings
from farlane.testing.builders import RATES
from farlane.testing.kept_books import KEY, KeptBooks
from farlane.testing.scripted_book import DOMAIN, NETWORK, ScriptedBook

PAYER = PrivateKey.generate()
HEAD_KEY = HeadKey(Path("keys"), KEY.address, key=KEY)
PROMISE = Voucher(b"c" * 32, 100, 3, b"r" * 32)


class AwayLedger(MemoryLedger):
    """A chain that can be away."""

    away = False

    async def channel(self, channel: bytes) -> ChannelState:
        if self.away:
            raise ChainUnavailable("the chain's endpoint does not answer")
        return await super().channel(channel)


@pytest.mark.parametrize(
    ("state", "covered", "claim"),
    [
        (ChannelState(0, 0, 0), 0, False),
        (ChannelState(200, 0, 0), 200, False),
        (ChannelState(200, 0, 1_800_000_000), 200, True),
        (ChannelState(200, 100, 1_800_000_000), 200, False),
        (ChannelState(60, 40, 1_800_000_000), 60, True),
        (ChannelState(60, 60, 1_800_000_000), 60, False),
        (ChannelState(200, 40, CLOSED), 40, False),
    ],
)
def test_what_a_channel_pays_and_when_it_must_be_claimed(
    state: ChannelState, covered: int, claim: bool
) -> None:
    assert (covered_by(state), must_claim(state, PROMISE)) == (covered, claim)


async def paid_node(tmp_path: Path, hub: ScriptedBook) -> KeptBooks:
    """Return a node that has worked and has a voucher."""
    node = KeptBooks(tmp_path)
    node.join()
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0, 1)))
    node.hear(voucher=hub.answer(await node.head(), KEY.address))
    return node


async def test_only_what_a_deposit_covers_counts_as_paid(tmp_path: Path) -> None:
    hub = ScriptedBook(KEY.address, payer=PAYER.address)
    node = await paid_node(tmp_path, hub)
    ledger = AwayLedger(DOMAIN)
    watch = ChainWatch(ledger, HEAD_KEY, node.books.keeper.shelf.books)
    node.books.keeper.covered_units = watch.covered_units
    owed = hub.book.owed_nano
    assert node.books.keeper.exposures()["lab"].unpaid_nano == 0, "nobody has looked yet"
    await watch.look()
    assert node.books.keeper.exposures()["lab"].unpaid_nano == owed, "there is no such channel"
    await ledger.mint(PAYER, PAYER.address, 10**12)
    await ledger.deposit(PAYER, 10**12)
    await ledger.open_channel(PAYER, hub.channel, owed // 2)
    await watch.look()
    assert node.books.keeper.exposures()["lab"].unpaid_nano == owed - owed // 2
    await ledger.top_up(PAYER, hub.channel, owed)
    await watch.look()
    assert node.books.keeper.exposures()["lab"].unpaid_nano == 0
    ledger.away = True
    with pytest.raises(ChainUnavailable):
        await watch.look()
    assert watch.covered_units(hub.channel.id) == owed // 2 + owed, "what was seen last stands"
    node.store.close()


async def test_a_payer_that_closes_finds_the_voucher_claimed(tmp_path: Path) -> None:
    hub = ScriptedBook(KEY.address, payer=PAYER.address)
    node = await paid_node(tmp_path, hub)
    node.store.close()
    ledger = AwayLedger(DOMAIN)
    await ledger.mint(PAYER, PAYER.address, 10**12)
    await ledger.deposit(PAYER, 10**12)
    await ledger.open_channel(PAYER, hub.channel, 10**11)
    again = KeptBooks(tmp_path)  # restarted, and no hub anywhere
    watch = ChainWatch(ledger, HEAD_KEY, again.books.keeper.shelf.books)
    assert await watch.look() == []
    await ledger.start_close(PAYER, hub.channel)
    (claim,) = await watch.look()
    assert claim.signed.voucher.tasks == 2
    assert await ledger.balance(KEY.address) == hub.book.owed_nano > 0
    assert await watch.look() == [], "once is enough"
    again.store.close()


async def test_one_bad_claim_does_not_cost_the_others(tmp_path: Path) -> None:
    good, bad = (ScriptedBook(KEY.address, number=number, payer=PAYER.address) for number in (1, 2))
    node = await paid_node(tmp_path, good)
    node.hear(terms=bad.terms())
    node.hear(leaves=bad.append(*node.work(2)))
    node.hear(voucher=bad.answer(await node.head(), KEY.address))
    ledger = AwayLedger(DOMAIN)
    await ledger.mint(PAYER, PAYER.address, 10**12)
    await ledger.deposit(PAYER, 10**12)
    for book in (good, bad):
        await ledger.open_channel(PAYER, book.channel, 10**11)
        await ledger.start_close(PAYER, book.channel)
    node.books.keeper.shelf.books()[1].voucher_signature = bytes(65)
    await ChainWatch(ledger, HEAD_KEY, node.books.keeper.shelf.books).look()
    assert await ledger.balance(KEY.address) == good.book.owed_nano > 0
    node.store.close()


async def test_books_of_other_chains_are_left_alone(tmp_path: Path) -> None:
    hub = ScriptedBook(KEY.address, payer=PAYER.address)
    node = await paid_node(tmp_path, hub)
    watch = ChainWatch(AwayLedger(replace(DOMAIN, chain_id=1)), HEAD_KEY, node.books.keeper.shelf.books)
    assert await watch.look() == []
    assert watch.covered_units(hub.channel.id) is None
    node.store.close()


async def test_a_key_without_coin_is_said_clearly(caplog: pytest.LogCaptureFixture) -> None:
    async def none() -> int:
        return 0

    with caplog.at_level(logging.ERROR):
        await ChainWatch(AwayLedger(DOMAIN), HEAD_KEY, list, none).check_gas()
    assert f"{KEY.address} has too little of the chain's coin" in caplog.text


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"rpc": "http://127.0.0.1:1"}, InvalidSetting, "without node.network_file"),
        ({"network_file": Path("/nowhere")}, NotFound, "node.network_file"),
        ({"credit": "much"}, InvalidSetting, "node.credit"),
        ({"provider": DOMAIN.contract}, InvalidSetting, "farlane key delegate"),
        ({"delegation": Path("/nowhere")}, NotFound, "node.delegation"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], complaint: str
) -> None:
    settings = replace(NodeSettings(directory=tmp_path), **changes)  # type: ignore[arg-type]
    with pytest.raises(error, match=complaint):
        open_books(settings, RATES, 0.0)


def test_the_nodes_key_is_made_once_and_known_without_opening_it(tmp_path: Path) -> None:
    settings = NodeSettings(directory=tmp_path)
    first = open_books(settings, RATES, 0.0)
    first.store.close()
    assert first.key.key is not None
    assert first.stored.prices == (RATES,)
    again = open_books(replace(settings, credit="unlimited"), replace(RATES, gib_moved=7), 0.0)
    again.store.close()
    assert (again.key.address, again.key.key) == (first.key.address, None)
    assert again.stored.prices == (RATES, replace(RATES, gib_moved=7))
    assert again.rhythm.credit_nano is None


async def test_the_key_opens_when_it_is_needed(tmp_path: Path) -> None:
    first = open_books(NodeSettings(directory=tmp_path), RATES, 0.0)
    first.store.close()
    again = open_books(NodeSettings(directory=tmp_path), RATES, 0.0)
    again.store.close()
    await again.key.unlock()
    assert again.key.key is not None
    assert again.key.key.address == first.key.address


@pytest.mark.real
async def test_a_node_alone_with_a_real_chain_claims_before_its_payer_has_closed(
    tmp_path: Path, anvil_url: str
) -> None:
    deployer = PrivateKey.generate()
    async with RpcClient(anvil_url) as rpc:
        for key in (deployer, PAYER):
            await rpc.call("anvil_setBalance", key.address, hex(10**20))
        deployment = await deploy(rpc, deployer, DeploymentPlan(NETWORK, deployer.address))
        ledger = EthereumLedger(rpc, deployment)
        hub = ScriptedBook(KEY.address, payer=PAYER.address, domain=deployment.domain)
        node = await paid_node(tmp_path, hub)
        await ledger.mint(deployer, PAYER.address, 10**12)
        await ledger.deposit(PAYER, 10**12)
        await ledger.open_channel(PAYER, hub.channel, 10**11)
        await ledger.start_close(PAYER, hub.channel)
        file = tmp_path / "network.json"
        file.write_bytes(deployment_to_json(deployment))
        settings = NodeSettings(directory=tmp_path, rpc=anvil_url, network_file=file)
        watches: list[ChainWatch] = []
        work = asyncio.create_task(
            watch_chain(settings, HEAD_KEY, node.books.keeper.shelf.books, watches.append, poll_s=0.05)
        )
        try:
            # Without coin for gas nothing is claimed; the log says so, and it goes on when there is some.
            await until(lambda: bool(watches) and watches[0].covered_units(hub.channel.id) == 10**11)
            assert await ledger.balance(KEY.address) == 0
            await rpc.call("anvil_setBalance", KEY.address, hex(10**18))
            async with asyncio.timeout(20):
                while await ledger.balance(KEY.address) != hub.book.owed_nano:
                    await asyncio.sleep(0.05)
        finally:
            work.cancel()
            await asyncio.wait([work])
    assert hub.book.owed_nano > 0
    node.store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.real
async def test_a_chain_that_is_not_the_networks_is_not_used(
    tmp_path: Path, anvil_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "network.json"
    where = Address("0x" + "22" * 20)
    forged = Deployment(NETWORK, 31337, where, where, where, where, where, 10**9, 0)
    file.write_bytes(deployment_to_json(forged))
    settings = NodeSettings(directory=tmp_path, rpc=anvil_url, network_file=file)
    watches: list[ChainWatch] = []
    with caplog.at_level(logging.ERROR):
        await watch_chain(settings, HEAD_KEY, list, watches.append)
    assert not watches
    assert "does not use this chain" in caplog.text
