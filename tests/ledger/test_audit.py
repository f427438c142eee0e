"""The audit finds nothing in an honest record, and every planted deviation by its code."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.ids import JobId, task_id
from farlane.errors import FarlaneError
from farlane.ledger import port
from farlane.ledger.accounts import NO_ADDRESS
from farlane.ledger.audit.audit import Audit, audit
from farlane.ledger.audit.chain_replay import ChainReplay
from farlane.ledger.audit.chain_view import ChainView, accounts_of
from farlane.ledger.audit.deviations import MEANINGS, Deviations
from farlane.ledger.audit.receipts_audit import NamedReceipt
from farlane.ledger.deploy import Deployment
from farlane.ledger.leaf import Outcome, pack, unpack
from farlane.ledger.memory import MemoryLedger
from farlane.ledger.port import SignedClaim
from farlane.ledger.receipt import Receipt
from farlane.ledger.record import (
    Entry,
    RecordBook,
    RecordHeader,
    RecordLeaves,
    RecordVoucher,
    entry_of,
    line_of,
)
from farlane.ledger.record_file import read_record, write_record
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Delegation, SignedHead, SignedVoucher, TreeHead, Voucher
from farlane.testing.signed_books import (
    START_S,
    UNITS_PER_CREDIT,
    SignedBook,
    a_key,
    a_leaf,
    filled_book,
    record_of,
    signed_book,
)

DOMAIN = Domain(31337, a_key(999).address, "ab" * 16)
HEADER = RecordHeader(DOMAIN, UNITS_PER_CREDIT)
DEPLOYMENT = Deployment(
    DOMAIN.network,
    31337,
    a_key(998).address,
    DOMAIN.contract,
    NO_ADDRESS,
    NO_ADDRESS,
    NO_ADDRESS,
    UNITS_PER_CREDIT,
    0,
)
NOW_S = START_S + 60.0


def books() -> list[SignedBook]:
    return [filled_book(1, DOMAIN), filled_book(2, DOMAIN, delegated=False)]


BOOKS = books()
RECORD = list(record_of(HEADER, *BOOKS))


async def _chain() -> ChainView:
    """A chain on which both channels were opened and the second voucher of each was settled."""
    ledger = MemoryLedger(DOMAIN, now=START_S)
    for book in BOOKS:
        await ledger.mint(book.payer, book.payer.address, 10**9)
        await ledger.deposit(book.payer, 10**9)
        await ledger.open_channel(book.payer, book.channel, 10**6)
        signed = [record for record in book.records if hasattr(record, "cumulative")][1]
        voucher = Voucher(book.channel.id, signed.cumulative, signed.tasks, signed.root)
        await ledger.settle(
            book.provider, [SignedClaim(book.channel, SignedVoucher(voucher, signed.signature))]
        )
    await ledger.withdraw(BOOKS[0].provider, a_key(77).address, 5)
    events = await ledger.events()
    accounts = accounts_of(events)
    counted = ChainReplay(Deviations())
    counted.apply(events)
    balances = {account: await ledger.balance(account) for account in accounts}
    channels = {book.channel.id: await ledger.channel(book.channel.id) for book in BOOKS}
    return ChainView(
        DEPLOYMENT, 99, events, balances, {one: counted.settlements[one] for one in accounts}, channels,
        2 * 10**9 - 5, await ledger.transaction_count(),
    )  # fmt: skip


CHAIN = asyncio.run(_chain())


def receipt_of(book: SignedBook, index: int = 1) -> Receipt:
    signed = next(record for record in book.records if hasattr(record, "cumulative"))
    leaves = [
        raw for entry in record_of(HEADER, book) if isinstance(entry, RecordLeaves) for raw in entry.leaves
    ]
    tree, channel = Tree(map(leaf_hash, leaves)), book.channel
    return Receipt(
        DOMAIN, channel, unpack(leaves[index]), index, tuple(tree.inclusion(index, signed.tasks)),
        SignedHead(TreeHead(channel.id, signed.tasks, signed.root), signed.head_signature),
        Delegation(channel.provider, book.node.address, signed.expires), signed.delegation_signature,
        SignedVoucher(Voucher(channel.id, signed.cumulative, signed.tasks, signed.root), signed.signature),
    )  # fmt: skip


def checked(
    record: list[Entry], chain: ChainView | None = None, receipts: tuple[NamedReceipt, ...] = ()
) -> Audit:
    return audit(record, chain, receipts, now_s=NOW_S)


def codes(found: Audit) -> set[str]:
    return {one.code for one in found.deviations}


def test_an_honest_network_has_no_deviation() -> None:
    receipts = tuple(NamedReceipt(f"r{at}", receipt_of(book)) for at, book in enumerate(BOOKS))
    found = checked(RECORD, CHAIN, receipts)
    assert found.deviations == ()
    assert found.clean
    totals = found.totals
    assert (totals.books, totals.leaves, totals.vouchers, totals.events) == (2, 24, 6, 7)
    assert totals.owed_nano == totals.signed_units == 24 * 8334
    assert totals.settled_units == 16 * 8334
    assert totals.earned == {book.provider.address: 12 * 8334 for book in BOOKS}


def with_leaf(**changes: int | bytes) -> list[Entry]:
    """An honest book but for one leaf, which both sides have signed all the same."""
    book = filled_book(1, DOMAIN, 1)
    book.add([a_leaf(task_id(JobId(7), 0), **changes)], JobId(7))
    book.sign()
    return list(record_of(HEADER, book))


def changed(kind: type, at: int, **changes: Any) -> list[Entry]:
    rows = [row for row, entry in enumerate(RECORD) if isinstance(entry, kind)]
    row = rows[at]
    return [*RECORD[:row], dataclasses.replace(RECORD[row], **changes), *RECORD[row + 1 :]]


def without(kind: type, at: int) -> list[Entry]:
    rows = [row for row, entry in enumerate(RECORD) if isinstance(entry, kind)]
    return [*RECORD[: rows[at]], *RECORD[rows[at] + 1 :]]


def swapped_leaves() -> list[Entry]:
    leaves = next(entry for entry in RECORD if isinstance(entry, RecordLeaves)).leaves
    return changed(RecordLeaves, 0, leaves=[leaves[1], leaves[0], *leaves[2:]])


def unreadable() -> list[Entry]:
    leaves = next(entry for entry in RECORD if isinstance(entry, RecordLeaves)).leaves
    return changed(RecordLeaves, 0, leaves=[b"\x09" + leaves[0][1:], *leaves[1:]])


def same_attempt_twice() -> list[Entry]:
    first, second = filled_book(1, DOMAIN, 1), filled_book(2, DOMAIN, 1)
    second.add([a_leaf(task_id(JobId(100), 2))], JobId(100))
    second.sign()
    return list(record_of(HEADER, first, second))


def in_parts(*parts: int) -> list[Entry]:
    """An honest book of one attempt whose leaves are these parts; 0 is its end."""
    book = signed_book(1, DOMAIN)
    task = task_id(JobId(7), 0)
    book.add([a_leaf(task, part=part, outcome=Outcome.INTERIM if part else 0) for part in parts], JobId(7))
    book.sign()
    return list(record_of(HEADER, book))


PLANTED_IN_RECORD: dict[str, Callable[[], list[Entry]]] = {
    "leaf-unreadable": unreadable,
    "leaf-outcome": lambda: with_leaf(outcome=3),
    "leaf-blame": lambda: with_leaf(outcome=1, failure=1, blame=2),
    "leaf-unpaid-charged": lambda: with_leaf(outcome=2, failure=15, blame=2),
    "leaf-moved": lambda: with_leaf(amount_nano=8335),
    "leaf-time": lambda: with_leaf(ended_ms=1000),
    "leaf-gpu": lambda: with_leaf(gpu_count=1),
    "attempt-twice": same_attempt_twice,
    "attempt-parts": lambda: in_parts(1, 3, 0),
    "book-order": lambda: changed(RecordLeaves, 0, book=2),
    "channel-twice": lambda: changed(RecordBook, 1, channel=BOOKS[0].channel),
    "leaves-gap": lambda: without(RecordLeaves, 1),
    "voucher-order": lambda: changed(RecordVoucher, 1, tasks=4),
    "voucher-place": lambda: changed(RecordVoucher, 1, tasks=9),
    "voucher-accounts": lambda: changed(
        RecordBook, 0, channel=dataclasses.replace(BOOKS[0].channel, provider=NO_ADDRESS)
    ),
    "root-mismatch": swapped_leaves,
    "cumulative-mismatch": lambda: changed(RecordVoucher, 0, cumulative=1),
    "head-signature": lambda: changed(RecordVoucher, 0, head_signature=RECORD[3].signature),  # type: ignore[union-attr]
    "voucher-signature": lambda: changed(RecordVoucher, 0, signature=RECORD[3].head_signature),  # type: ignore[union-attr]
    "delegation": lambda: changed(RecordVoucher, 0, expires=START_S),
}


@pytest.mark.parametrize("code", PLANTED_IN_RECORD)
def test_what_is_planted_in_a_record_is_found(code: str) -> None:
    found = checked(PLANTED_IN_RECORD[code]())
    assert code in codes(found)
    assert not found.clean
    one = next(one for one in found.deviations if one.code == code)
    assert one.where
    assert one.expected != one.found
    assert one.meaning


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((1, 2, 3, 0), []),
        ((1, 2), []),  # it still runs
        ((2, 3, 0), [("part 1", "part 2")]),
        ((1, 3, 4, 0), [("part 2", "part 3")]),
        ((1, 2, 2, 3, 0), [("part 3", "part 2")]),
        ((2, 1, 3, 0), [("part 1", "part 2"), ("part 3", "part 1")]),
        ((0, 1), [("no part after the attempt's end", "part 1")]),
        ((1, 0, 2), [("part 1", "part 2"), ("no part after the attempt's end", "part 2")]),
    ],
)
def test_parts_stand_in_their_order_and_before_the_end(
    parts: tuple[int, ...], found: list[tuple[str, str]]
) -> None:
    audited = checked(in_parts(*parts))
    assert [(one.expected, one.found) for one in audited.deviations if one.code == "attempt-parts"] == found
    assert ("attempt-twice" in codes(audited)) == (len(set(parts)) < len(parts))


def test_parts_of_one_attempt_go_on_in_the_next_book() -> None:
    first, second = signed_book(1, DOMAIN), signed_book(2, DOMAIN)
    task = task_id(JobId(7), 0)
    for book, parts in ((first, (1, 2)), (second, (3, 0))):
        book.add(
            [a_leaf(task, part=part, outcome=Outcome.INTERIM if part else 0) for part in parts], JobId(7)
        )
        book.sign()
    assert checked(list(record_of(HEADER, first, second))).clean


def chain_with(**changes: Any) -> ChainView:
    return dataclasses.replace(CHAIN, **changes)


def events_with(kind: type, at: int, **changes: Any) -> ChainView:
    rows = [row for row, event in enumerate(CHAIN.events) if isinstance(event, kind)]
    events = list(CHAIN.events)
    events[rows[at]] = dataclasses.replace(events[rows[at]], **changes)
    return chain_with(events=events)


def closed() -> ChainView:
    channel = BOOKS[0].channel.id
    state = CHAIN.channels[channel]
    end = port.ChannelClosed(98, b"\x09" * 32, 0, channel, state.deposit - state.claimed)
    return chain_with(events=[*CHAIN.events, end])


PAYER, CHANNEL = BOOKS[0].payer.address, BOOKS[0].channel.id
PLANTED_ON_CHAIN: dict[str, Callable[[], tuple[list[Entry], ChainView]]] = {
    "chain-contract": lambda: (RECORD, ChainView(DEPLOYMENT, 0, problem="another contract")),
    "chain-domain": lambda: (RECORD, chain_with(deployment=dataclasses.replace(DEPLOYMENT, chain_id=1))),
    "chain-units": lambda: (RECORD, chain_with(deployment=dataclasses.replace(DEPLOYMENT, units_per_credit=1))),
    "chain-event": lambda: (RECORD, events_with(port.VoucherSettled, 0, paid=1)),
    "chain-balance": lambda: (RECORD, chain_with(balances={**CHAIN.balances, PAYER: 1})),
    "chain-settlements": lambda: (RECORD, chain_with(settlements={**CHAIN.settlements, PAYER: 7})),
    "chain-channel": lambda: (
        RECORD, chain_with(channels={**CHAIN.channels, CHANNEL: port.ChannelState(10**6, 0, 0)})
    ),
    "chain-token-short": lambda: (RECORD, chain_with(token_balance=CHAIN.token_balance - 1)),
    "chain-token-surplus": lambda: (RECORD, chain_with(token_balance=CHAIN.token_balance + 1)),
    "chain-count": lambda: (RECORD, chain_with(transactions=9)),
    "channel-missing": lambda: (RECORD, chain_with(events=CHAIN.events[:1], channels={})),
    "channel-short": lambda: (RECORD, events_with(port.ChannelOpened, 0, amount=8 * 8334)),
    "settled-mismatch": lambda: (RECORD, events_with(port.VoucherSettled, 1, root=b"\1" * 32)),
    "settled-beyond": lambda: (RECORD, events_with(port.VoucherSettled, 1, tasks=1000)),
    "channel-unclaimed": lambda: (RECORD, closed()),
    "channel-outside": lambda: (list(record_of(HEADER, BOOKS[0])), CHAIN),
}  # fmt: skip


@pytest.mark.parametrize("code", PLANTED_ON_CHAIN)
def test_what_is_planted_on_the_chain_is_found(code: str) -> None:
    record, chain = PLANTED_ON_CHAIN[code]()
    found = checked(record, chain)
    assert code in codes(found)
    assert found.clean == (code in ("channel-outside", "chain-token-surplus"))


def other_history() -> list[Entry]:
    """The same two sides and channel, but with other leaves, signed by both."""
    book = filled_book(1, DOMAIN, 0)
    for batch in range(3):
        job = JobId(500 + batch)
        book.add([a_leaf(task_id(job, row)) for row in range(4)], job)
        book.sign()
    return list(record_of(HEADER, book))


def cheaper() -> list[Entry]:
    book = filled_book(1, DOMAIN, 0)
    book.add([a_leaf(task_id(JobId(100), row), amount_nano=1) for row in range(4)], JobId(100))
    book.sign()
    return list(record_of(HEADER, book))


GENUINE = receipt_of(BOOKS[0])
PLANTED_BY_RECEIPTS: dict[str, tuple[Callable[[], list[Entry]], Receipt]] = {
    "receipt-invalid": (lambda: RECORD, dataclasses.replace(GENUINE, index=0)),
    "receipt-network": (
        lambda: [dataclasses.replace(HEADER, domain=Domain(1, DOMAIN.contract, "cd"))],
        GENUINE,
    ),
    "book-hidden": (lambda: list(record_of(HEADER, BOOKS[1])), GENUINE),
    "tree-short": (lambda: [*RECORD[:2]], GENUINE),
    "tree-forked": (other_history, GENUINE),
    "receipt-leaf": (other_history, GENUINE),
    "receipt-promise": (cheaper, GENUINE),
}


@pytest.mark.parametrize("code", PLANTED_BY_RECEIPTS)
def test_a_hub_that_hides_or_forks_is_found_by_a_receipt(code: str) -> None:
    record, receipt = PLANTED_BY_RECEIPTS[code]
    found = checked(record(), None, (NamedReceipt("r.json", receipt),))
    assert code in codes(found)
    assert not found.clean


def test_every_code_is_planted_somewhere() -> None:
    assert {*PLANTED_IN_RECORD, *PLANTED_ON_CHAIN, *PLANTED_BY_RECEIPTS} == set(MEANINGS)


LINES = [line_of(entry) for entry in RECORD]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_changed_character_of_a_line_is_found(data: Any) -> None:
    row = data.draw(st.integers(0, len(LINES) - 1))
    line = LINES[row]
    at = data.draw(st.integers(0, len(line) - 2))
    wrong = line[:at] + bytes([line[at] ^ data.draw(st.integers(1, 255))]) + line[at + 1 :]
    try:
        record = [entry_of(one) for one in (*LINES[:row], wrong, *LINES[row + 1 :])]
        if record == RECORD:
            return  # another spelling of the same
        if row == 0 and dataclasses.replace(record[0], units_per_credit=HEADER.units_per_credit) == HEADER:  # type: ignore[type-var]
            return  # nobody signs what a credit is; only the network file tells
        found = checked(record)
    except FarlaneError:
        return
    assert not found.clean


@given(st.integers(0, 23), st.integers(0, 235), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_of_a_leaf_is_found(leaf: int, byte: int, flip: int) -> None:
    record = list(RECORD)
    rows = [row for row, entry in enumerate(record) if isinstance(entry, RecordLeaves)]
    row, index = rows[leaf // 4], leaf % 4
    entry = record[row]
    assert isinstance(entry, RecordLeaves)
    raw = bytearray(entry.leaves[index])
    raw[byte] ^= flip
    leaves = [*entry.leaves[:index], bytes(raw), *entry.leaves[index + 1 :]]
    record[row] = dataclasses.replace(entry, leaves=leaves)
    assert "root-mismatch" in codes(checked(record))


def test_an_honest_file_is_audited_as_it_is_read(tmp_path: Path) -> None:
    write_record(tmp_path / "record.gz", HEADER, LINES[1:])
    assert audit(read_record(tmp_path / "record.gz"), CHAIN, now_s=NOW_S).clean


def test_bytes_moved_may_cost_up_to_what_the_auditor_allows() -> None:
    assert audit(with_leaf(amount_nano=8335), now_s=NOW_S, moved_nano=1).clean


def test_leaves_behind_the_newest_voucher_are_counted() -> None:
    book = filled_book(1, DOMAIN, 1)
    book.add([a_leaf(task_id(JobId(7), 0))], JobId(7))
    found = checked(list(record_of(HEADER, book)))
    assert found.clean
    assert (found.totals.unsigned_leaves, found.totals.unsigned_nano) == (1, 8334)
    assert unpack(pack(a_leaf(task_id(JobId(7), 0)))).task == 7 << 24
