"""What of a node's vouchers its deposits cover, and which of them it claims: books and file, no chain."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.memory import MemoryLedger
from farlane.ledger.outbox.intents import GasPolicy
from farlane.ledger.port import CLOSED, ChannelState, SignedClaim
from farlane.node.books.claim_terms import ClaimTerms
from farlane.node.books.claiming import BookVouchers, rules_of
from farlane.testing.kept_books import KEY, KeptBooks
from farlane.testing.scripted_book import DOMAIN, ScriptedBook

PAYER = PrivateKey.generate()


async def voucher_for(node: KeptBooks, hub: ScriptedBook, *indices: int) -> int:
    """Let the node work and be promised payment; returns the units promised in all."""
    node.hear(leaves=hub.append(*node.work(*indices)))
    node.hear(voucher=hub.answer(await node.head(), KEY.address))
    assert hub.book.voucher is not None
    return hub.book.voucher.cumulative


def vouchers_of(node: KeptBooks) -> BookVouchers:
    found = BookVouchers(DOMAIN, node.books.keeper.shelf.books, node.store)
    node.books.keeper.covered_units = found.covered_units
    return found


def amounts(claims: list[SignedClaim]) -> list[int]:
    return [each.signed.voucher.cumulative for each in claims]


@pytest.fixture
def hub() -> ScriptedBook:
    return ScriptedBook(KEY.address, payer=PAYER.address)


async def joined(tmp_path: Path, *hubs: ScriptedBook) -> KeptBooks:
    node = KeptBooks(tmp_path)
    node.join()
    for hub in hubs:
        node.hear(terms=hub.terms())
    return node


async def test_the_newest_and_the_newest_covered_are_offered(tmp_path: Path, hub: ScriptedBook) -> None:
    node = await joined(tmp_path, hub)
    vouchers = vouchers_of(node)
    assert vouchers.channels() == [hub.channel.id]
    assert await vouchers.claims({hub.channel.id: ChannelState(10, 0, 0)}) == [], "nothing is promised yet"
    first, second, third = [await voucher_for(node, hub, index) for index in range(3)]
    for deposit, offered in (
        (third, [third]),
        (third - 1, [third, second]),
        (second, [third, second]),
        (second - 1, [third, first]),
        (first - 1, [third]),
        (third + 1, [third]),
    ):
        claims = await vouchers.claims({hub.channel.id: ChannelState(deposit, 0, 0)})
        assert amounts(claims) == offered
    assert await vouchers.claims({}) == [], "nobody has looked"
    node.store.close()


async def test_a_restart_forgets_no_voucher_that_is_covered(tmp_path: Path, hub: ScriptedBook) -> None:
    node = await joined(tmp_path, hub)
    first, second = [await voucher_for(node, hub, index) for index in range(2)]
    node.store.close()
    again = KeptBooks(tmp_path)
    claims = await vouchers_of(again).claims({hub.channel.id: ChannelState(first, 0, 1_800_000_000)})
    assert amounts(claims) == [second, first]
    covered = claims[1].signed
    assert (covered.voucher.tasks, covered.voucher.channel) == (1, hub.channel.id)
    await again.settle()
    again.store.close()


async def test_a_file_of_the_first_version_holds_every_voucher(tmp_path: Path, hub: ScriptedBook) -> None:
    """What is covered is found in the table that the file has always had: nothing needs to be carried over."""
    node = await joined(tmp_path, hub)
    first, second = [await voucher_for(node, hub, index) for index in range(2)]
    node.store.close()
    with sqlite3.connect(tmp_path / "books.db") as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        rows = file.execute("SELECT cumulative FROM vouchers ORDER BY tasks").fetchall()
    file.close()
    assert (version, rows) == (1, [(str(first),), (str(second),)])


async def test_amounts_beyond_64_bits_are_told_apart(tmp_path: Path, hub: ScriptedBook) -> None:
    node = await joined(tmp_path, hub)
    await voucher_for(node, hub, 0)
    node.store.close()
    with sqlite3.connect(tmp_path / "books.db") as file:
        file.execute("DELETE FROM vouchers")
        for tasks, cumulative in enumerate((9, 10, 2**64, 10**20, 2**96 - 1)):
            row = (1, tasks, str(cumulative), bytes(32), bytes(65), 0.0)
            file.execute("INSERT INTO vouchers VALUES (?, ?, ?, ?, ?, ?)", row)
    file.close()
    again = KeptBooks(tmp_path)
    found = [again.store.covered(1, units) for units in (8, 9, 99, 2**64 - 1, 2**64, 10**20, 2**96 - 1)]
    assert [None if each is None else each.cumulative for each in found] == [
        None, 9, 10, 10, 2**64, 10**20, 2**96 - 1,
    ]  # fmt: skip
    again.store.close()


async def test_only_what_a_deposit_covers_counts_as_paid(tmp_path: Path, hub: ScriptedBook) -> None:
    node = await joined(tmp_path, hub)
    first = await voucher_for(node, hub, 0)
    owed = await voucher_for(node, hub, 1)
    ledger, vouchers = MemoryLedger(DOMAIN), vouchers_of(node)

    async def unpaid() -> int:
        await vouchers.claims({hub.channel.id: await ledger.channel(hub.channel.id)})
        return node.books.keeper.exposures()["lab"].unpaid_nano

    assert node.books.keeper.exposures()["lab"].unpaid_nano == 0, "nobody has looked yet"
    assert await unpaid() == owed, "there is no such channel"
    await ledger.mint(PAYER, PAYER.address, 10**12)
    await ledger.deposit(PAYER, 10**12)
    await ledger.open_channel(PAYER, hub.channel, first + 1)
    assert await unpaid() == owed - first, "a deposit between two vouchers pays the lower one alone"
    await ledger.top_up(PAYER, hub.channel, owed)
    assert await unpaid() == 0
    assert vouchers.covered_units(hub.channel.id) == first + 1 + owed
    await vouchers.claims({hub.channel.id: ChannelState(owed, first, CLOSED)})
    assert node.books.keeper.exposures()["lab"].unpaid_nano == owed - first
    node.store.close()


async def test_a_promise_that_is_not_covered_is_said_once(
    tmp_path: Path, hub: ScriptedBook, caplog: pytest.LogCaptureFixture
) -> None:
    node = await joined(tmp_path, hub)
    first = await voucher_for(node, hub, 0)
    second = await voucher_for(node, hub, 1)
    vouchers = vouchers_of(node)
    for _ in range(2):
        await vouchers.claims({hub.channel.id: ChannelState(first, 0, 0)})
    (line,) = [record.getMessage() for record in caplog.records if "does not cover" in record.message]
    assert f"deposit of {first} units does not cover the {second}" in line
    node.store.close()


async def test_books_of_other_chains_are_left_alone(tmp_path: Path, hub: ScriptedBook) -> None:
    node = await joined(tmp_path, hub)
    await voucher_for(node, hub, 0)
    vouchers = BookVouchers(replace(DOMAIN, chain_id=1), node.books.keeper.shelf.books, node.store)
    assert vouchers.channels() == []
    assert await vouchers.claims({hub.channel.id: ChannelState(10**12, 0, 0)}) == []
    assert vouchers.covered_units(hub.channel.id) is None
    node.store.close()


def test_settings_become_units_and_wei() -> None:
    rules = rules_of(ClaimTerms(2 * 10**9, 7, 3), 10**18)
    assert (rules.watch.threshold, rules.watch.dust, rules.outbox.confirmations) == (2 * 10**18, 10**17, 3)
    assert rules.watch.policy == GasPolicy(7, 70)
    assert rules_of(ClaimTerms(0, 7, 3), 10**18).watch.threshold is None
    assert rules_of(ClaimTerms(10**9, 7, 3), 1).watch.dust == 1
