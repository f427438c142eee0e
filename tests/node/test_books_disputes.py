"""A node's keeper against hubs that cheat: it objects, keeps the evidence, and signs nothing more."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import task_id
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import pack, unpack
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Voucher, sign_voucher
from farlane.testing.kept_books import JOB, KEY, KeptBooks, leaf_of
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


async def test_a_hub_hears_again_on_every_stream_whose_work_is_not_taken(
    node: KeptBooks, hub: ScriptedBook
) -> None:
    node.hear(terms=hub.terms())
    change(node, hub)
    node.lose()
    node.join()
    assert node.credits() == [("lab", True), ("lab", True)]
