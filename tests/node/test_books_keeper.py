"""A node's keeper against hubs that keep their books well: heads, vouchers, restarts, delegates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.errors import InvalidInput, InvalidSignature
from farlane.ledger.accounts import NO_ADDRESS, PrivateKey
from farlane.ledger.delegations import delegation_to_json, sign_delegation
from farlane.node.books.opening import Rhythm
from farlane.node.books.shelf import MAX_BOOKS
from farlane.node.books.signing import load_head_key
from farlane.testing.kept_books import KEY, KeptBooks
from farlane.testing.scripted_book import DOMAIN, NETWORK, ScriptedBook

OTHER = PrivateKey.generate()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[KeptBooks]:
    kept = KeptBooks(tmp_path)
    kept.join()
    yield kept
    kept.books.close()
    kept.store.close()


@pytest.fixture
def hub() -> ScriptedBook:
    return ScriptedBook(KEY.address)


async def test_leaves_become_a_head_and_the_head_a_voucher(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0, 1)))
    assert not node.heads(), "nothing is signed before it is durable, nor before its time"
    head = await node.head()
    assert (head.size, head.root) == (2, hub.book.frontier.root())
    owed = node.books.keeper.exposures()["lab"].unpaid_nano
    assert owed == hub.book.owed_nano
    node.hear(voucher=hub.answer(head, KEY.address))
    await node.settle()
    assert node.books.keeper.exposures()["lab"].total_nano == 0
    figures = node.books.read()
    assert (figures.leaves, figures.heads, figures.vouchers, figures.objections) == (2, 1, 1, 0)
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert len(node.heads()) == 1, "what is paid is not signed again"


async def test_a_head_is_signed_at_once_after_enough_leaves(tmp_path: Path, hub: ScriptedBook) -> None:
    node = KeptBooks(tmp_path, Rhythm(3, 3600.0))
    node.join()
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0, 1)))
    await node.settle()
    assert not node.heads()
    node.hear(leaves=hub.append(*node.work(2)))
    await node.settle()
    assert [head.size for head in node.heads()] == [3]
    node.store.close()


async def test_no_head_before_the_domain_is_known(node: KeptBooks, hub: ScriptedBook) -> None:
    hub.domain = None
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    await node.settle()
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert not node.heads()
    hub.domain = DOMAIN
    node.hear(terms=hub.terms())
    assert (await node.head()).size == 1


@pytest.mark.parametrize("party", ["payer", "provider", "signer"])
async def test_a_book_without_an_account_is_kept_and_never_signed(
    node: KeptBooks, hub: ScriptedBook, party: str
) -> None:
    node.hear(terms=hub.terms(**{party: NO_ADDRESS}))
    node.hear(leaves=hub.append(*node.work(0)))
    await node.settle()
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert not node.heads()
    assert node.books.read().leaves == 1


async def test_a_restart_goes_on_where_it_was(tmp_path: Path, hub: ScriptedBook) -> None:
    node = KeptBooks(tmp_path)
    node.join()
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    first = await node.head()
    node.hear(voucher=hub.answer(first, KEY.address))
    node.hear(leaves=hub.append(*node.work(1)))
    pending = await node.head()
    node.store.close()
    again = KeptBooks(tmp_path)
    (mark,) = again.books.keeper.marks()
    assert (mark.book, mark.size, mark.root, mark.tasks) == (1, 2, hub.book.frontier.root(), 1)
    owed = again.books.keeper.exposures()["lab"].unpaid_nano
    assert 0 < owed < hub.book.owed_nano
    again.join()
    again.hear(terms=hub.terms())
    again.hear(leaves=hub.append(*again.work(2)))
    # The answer to a head of before the restart still comes.
    again.hear(voucher=hub.answer(pending, KEY.address))
    head = await again.head()
    again.hear(voucher=hub.answer(head, KEY.address))
    assert again.books.keeper.exposures()["lab"].total_nano == 0
    again.store.close()


async def test_a_new_stream_asks_again_for_a_voucher_that_never_came(
    node: KeptBooks, hub: ScriptedBook
) -> None:
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    before = await node.head()
    node.lose()
    node.join()
    node.hear(terms=hub.terms())
    assert await node.head() == before
    assert len(node.heads()) == 2


async def test_a_node_that_lost_its_file_gets_leaves_and_voucher_again(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    (tmp_path / "lost").mkdir()
    (tmp_path / "new").mkdir()
    node = KeptBooks(tmp_path / "lost")
    node.join()
    node.hear(terms=hub.terms())
    leaves = node.work(0, 1, 2)
    node.hear(leaves=hub.append(*leaves[:2]))
    voucher = hub.answer(await node.head(), KEY.address)
    hub.append(leaves[2])
    node.store.close()
    fresh = KeptBooks(tmp_path / "new")
    fresh.join()
    assert fresh.books.keeper.marks() == []
    fresh.hear(terms=hub.terms())
    fresh.hear(voucher=voucher)
    fresh.hear(leaves=hub.message(0, leaves))
    await fresh.settle()
    (book,) = fresh.books.keeper.shelf.books()
    assert (book.durable.size, book.paid_tasks) == (3, 2)
    assert fresh.books.read().unremembered == 3
    (stored,) = fresh.store.load().books
    assert stored.voucher is not None
    assert stored.voucher.tasks == 2
    fresh.store.close()


async def test_a_delegate_signs_for_its_provider(tmp_path: Path) -> None:
    cold = PrivateKey.generate()
    delegation = sign_delegation(DOMAIN, cold, KEY.address, 2_000_000_000)
    file = tmp_path / "delegation.json"
    file.write_bytes(delegation_to_json(delegation))
    own = load_head_key(tmp_path)
    with pytest.raises(InvalidSignature, match="this node's key is"):
        load_head_key(tmp_path, delegation=file)
    mine = sign_delegation(DOMAIN, cold, own.address, 2_000_000_000)
    file.write_bytes(delegation_to_json(mine))
    key = load_head_key(tmp_path, cold.address, file, now=1_900_000_000.0)
    assert (key.provider, key.account.key, key.domain) == (cold.address, own.address, DOMAIN)
    with pytest.raises(InvalidSignature, match="has passed"):
        load_head_key(tmp_path, cold.address, file, now=2_000_000_000.0)
    await key.unlock()
    assert key.signing_key(1_999_999_999.0) is not None
    assert key.signing_key(2_000_000_000.0) is None


async def test_marks_are_of_the_network_that_the_hub_serves(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    await node.settle()
    assert len(node.books.keeper.marks()) == 1
    node.lose()
    node.join("cd" * 16)
    assert not node.books.keeper.marks()
    other = ScriptedBook(KEY.address, salt=b"o" * 32)
    node.hear(terms=other.terms())
    node.hear(leaves=other.append(*node.work(1)))
    await node.settle()
    assert node.books.read().books == 2


async def test_old_leaves_that_come_again_change_nothing(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms())
    leaves = node.work(0, 1)
    node.hear(leaves=hub.append(*leaves))
    node.hear(leaves=hub.message(0, leaves))
    later = node.work(2)
    hub.append(*later)
    node.hear(leaves=hub.message(1, [leaves[1], *later]))
    await node.settle()
    book = node.books.keeper.shelf.all[NETWORK, 1]
    assert (book.durable.size, book.durable.root) == (3, hub.book.frontier.root())
    assert node.books.read().objections == 0


async def test_books_that_were_never_introduced_end_the_stream(node: KeptBooks, hub: ScriptedBook) -> None:
    with pytest.raises(InvalidInput, match="not introduced"):
        node.hear(leaves=hub.append(*node.work(0)))
    node.hear(terms=hub.terms())
    node.lose()
    node.join()
    with pytest.raises(InvalidInput, match="not introduced on this stream"):
        node.hear(leaves=hub.append(*node.work(1)))


async def test_more_books_than_a_node_keeps_are_not_taken_up(node: KeptBooks) -> None:
    hub = ScriptedBook(KEY.address)
    for number in range(1, MAX_BOOKS + 100):
        hub.number, hub.salt = number, number.to_bytes(32, "big")
        node.hear(terms=hub.terms())
    assert node.books.read().books == MAX_BOOKS
    with pytest.raises(InvalidInput, match="one too many"):
        node.hear(leaves=hub.append(*node.work(0)))
    assert node.store.load().books == (), "a book is kept with its first leaves"
