"""A node's keeper against hubs that keep their books well, and hubs that do not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import task_id
from farlane.errors import InvalidInput, InvalidSignature
from farlane.ledger.accounts import NO_ADDRESS, PrivateKey
from farlane.ledger.delegations import delegation_to_json, sign_delegation
from farlane.ledger.leaf import pack, unpack
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Voucher, sign_voucher
from farlane.node.books.opening import Rhythm
from farlane.node.books.shelf import MAX_BOOKS
from farlane.node.books.signing import load_head_key
from farlane.testing.kept_books import JOB, KEY, SPEC, KeptBooks, leaf_of
from farlane.testing.scripted_book import DOMAIN, NETWORK, ScriptedBook
from farlane.wire.books import LedgerDomain, VoucherGiven, voucher_to_wire

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


Attack = Callable[[KeptBooks, ScriptedBook], None]


def drop(node: KeptBooks, hub: ScriptedBook) -> None:
    leaves = node.work(1, 2)
    hub.append(leaves[0])
    node.hear(leaves=hub.append(leaves[1]))


def duplicate(node: KeptBooks, hub: ScriptedBook) -> None:
    (leaf,) = node.work(1)
    node.hear(leaves=hub.append(leaf, leaf))


def book_twice(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(leaves=hub.append(leaf_of(task_id(JOB, 0))))


def change(node: KeptBooks, hub: ScriptedBook) -> None:
    (leaf,) = node.work(1)
    less = replace(unpack(leaf), amount_nano=unpack(leaf).amount_nano - 1)
    node.hear(leaves=hub.append(pack(less)))


def rewrite(node: KeptBooks, hub: ScriptedBook) -> None:
    changed = replace(unpack(leaf_of(task_id(JOB, 0))), ended_ms=1)
    node.hear(leaves=hub.message(0, [pack(changed)]))


def shrink(node: KeptBooks, hub: ScriptedBook) -> None:
    node.lose()
    node.join()
    node.hear(terms=hub.terms(size=0))


def change_signer(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms(signer=OTHER.address))


def change_domain(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms(domain=LedgerDomain(1, DOMAIN.contract, NETWORK, 10**9)))


def share_a_channel(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms(book=2))


def pay_a_stranger(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms(book=2, salt=b"2" * 32, provider=OTHER.address))


ATTACKS: dict[str, tuple[Attack, str]] = {
    "drops a leaf": (drop, "leaves 1 to 1 are missing"),
    "books an attempt twice in a batch": (duplicate, "in a book already"),
    "books an attempt twice": (book_twice, "in a book already"),
    "changes a leaf": (change, "amount_nano"),
    "rewrites an old leaf": (rewrite, "leaf 0 came again and is another one now"),
    "forks the tree after a reconnection": (shrink, "has 0 leaves of book 1 and sent 1"),
    "changes the signer": (change_signer, "changed the signer"),
    "changes the domain": (change_domain, "changed the domain"),
    "keeps two books on one channel": (share_a_channel, "one voucher would pay for two"),
    "pays somebody else": (pay_a_stranger, "this node's work is paid to"),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_hub_that_cheats_in_its_book_gets_nothing_more(
    node: KeptBooks, hub: ScriptedBook, name: str
) -> None:
    attack, complaint = ATTACKS[name]
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    await node.settle()
    good = node.books.keeper.shelf.all[NETWORK, 1].durable
    attack(node, hub)
    await node.settle()
    assert complaint in node.stopped["lab"]
    assert node.credits()[-1] == ("lab", True)
    assert node.books.read().objections == 1
    (evidence,) = node.evidence.iterdir()
    assert complaint in json.loads(evidence.read_bytes())["objection"]
    # Up to the last good boundary it is still signed: that is owed.
    book = node.books.keeper.shelf.all[NETWORK, 1]
    assert book.durable == good
    head = await node.head() if book in node.books.keeper.shelf.at_hand() else None
    assert head is None or (head.size, head.root) == (good.size, good.root)


async def test_a_dispute_outlives_a_restart_and_ends_with_its_evidence(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    node = KeptBooks(tmp_path)
    node.join()
    node.hear(terms=hub.terms())
    change(node, hub)
    await node.settle()
    node.store.close()
    again = KeptBooks(tmp_path)
    again.join()
    again.books.keeper.tick()
    assert "amount_nano" in again.stopped["lab"]
    assert str(again.evidence) in again.stopped["lab"], "people must know what to remove"
    again.hear(terms=hub.terms())
    again.hear(leaves=hub.message(0, again.work(1)))
    assert again.books.read().refused_leaves == 1
    for file in again.evidence.iterdir():
        file.unlink()
    again.books.keeper.tick()
    assert again.stopped["lab"] == ""
    assert again.credits() == [("lab", True), ("lab", False)], "told on the new stream, then taken back"
    again.hear(leaves=hub.message(0, again.work(2)))
    assert again.books.read().refused_leaves == 2, "the book itself stays closed: the hub opens another"
    again.store.close()


@pytest.mark.parametrize(
    ("cheat", "complaint"),
    [
        ({"signer": OTHER}, "the voucher is signed by"),
        ({"domain": Domain(31337, DOMAIN.contract, "cd" * 16)}, "the voucher is signed by"),
        ({"domain": Domain(1, DOMAIN.contract, NETWORK)}, "the voucher is signed by"),
        ({"less": 1}, "for 1 tasks that cost"),
    ],
)
async def test_a_voucher_that_is_worth_less_is_objected_to(
    node: KeptBooks, hub: ScriptedBook, cheat: dict[str, object], complaint: str
) -> None:
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    head = await node.head()
    node.hear(voucher=hub.answer(head, KEY.address, **cheat))  # type: ignore[arg-type]
    await node.settle()
    assert complaint in node.stopped["lab"]
    assert node.books.read().vouchers == 0
    assert node.books.keeper.exposures()["lab"].unpaid_nano == hub.book.owed_nano


async def test_a_voucher_over_another_tree_is_objected_to(node: KeptBooks, hub: ScriptedBook) -> None:
    node.hear(terms=hub.terms())
    leaves = node.work(0, 1)
    node.hear(leaves=hub.message(0, leaves))
    hub.append(leaves[1], leaves[0])  # the hub's own order is another
    head = await node.head()
    other_root = hub.book.frontier.root()
    assert head.root != other_root
    promise = Voucher(hub.channel.id, hub.book.owed_nano, 2, other_root)
    signed = sign_voucher(DOMAIN, hub.signer, promise)
    given = VoucherGiven(1, 2, promise.cumulative, other_root, signed.signature)
    node.hear(voucher=voucher_to_wire(given))
    assert "the trees differ at 2 leaves" in node.stopped["lab"]


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


async def test_work_stops_at_the_credit_and_goes_on_when_it_is_paid(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    hour = unpack(leaf_of(task_id(JOB, 0), SPEC)).amount_nano
    node = KeptBooks(tmp_path, Rhythm(1000, 5.0, credit_nano=3 * hour))
    node.join()
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    node.work(1)
    node.running = [(JOB, (), 1_800_000)]
    node.books.keeper.tick()
    assert not node.stopped, "booked, ended and running come to two and a half"
    node.running = [(JOB, (), 3_600_001)]
    node.books.keeper.tick()
    assert "owes this node" in node.stopped["lab"]
    assert "raise node.credit" in node.stopped["lab"]
    node.running = []
    node.hear(voucher=hub.answer(await node.head(), KEY.address))
    assert node.stopped["lab"] == ""
    assert node.credits() == [("lab", True), ("lab", False)]
    node.store.close()


async def test_a_hub_hears_again_on_every_stream_whose_work_is_not_taken(
    node: KeptBooks, hub: ScriptedBook
) -> None:
    node.hear(terms=hub.terms())
    change(node, hub)
    node.lose()
    node.join()
    assert node.credits() == [("lab", True), ("lab", True)]


async def test_a_full_disk_stops_work_and_nothing_is_signed_until_there_is_room(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    node = KeptBooks(tmp_path, max_bytes=1)
    node.join()
    node.hear(terms=hub.terms())
    leaves = node.work(*range(5000))
    node.hear(leaves=hub.append(*leaves))
    await node.settle()
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert "disk is full" in node.stopped["lab"]
    assert not node.heads()
    assert not node.books.read().writable
    assert node.books.keeper.exposures()["lab"].total_nano >= hub.book.owed_nano
    node.store.limit(None)
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert node.reconnects == ["the node's books can be written again"]
    node.lose()
    node.join()
    node.hear(terms=hub.terms())
    assert node.books.keeper.marks() == []
    node.hear(leaves=hub.message(0, leaves))
    head = await node.head()
    assert (head.size, head.root) == (5000, hub.book.frontier.root())
    assert node.stopped["lab"] == ""
    node.store.close()
