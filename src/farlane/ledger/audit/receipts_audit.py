"""Receipts of others against the record: what a hub signed once it must still show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farlane.ledger.audit.claims import Claims, LeafClaim, SizeClaim
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.audit.record_audit import BookSum
from farlane.ledger.leaf import pack
from farlane.ledger.receipt import Receipt, verify
from farlane.ledger.record import RecordHeader
from farlane.ledger.tree import leaf_hash


@dataclass(frozen=True, slots=True)
class NamedReceipt:
    """A receipt and where it came from."""

    name: str
    receipt: Receipt


def sound_receipts(receipts: Iterable[NamedReceipt], into: Deviations) -> list[NamedReceipt]:
    """Return those that prove something; a receipt that does not cannot accuse anybody."""
    sound = []
    for one in receipts:
        failed = [finding for finding in verify(one.receipt) if not finding.ok]
        for finding in failed:
            into.add("receipt-invalid", one.name, finding.check, finding.message)
        if not failed:
            sound.append(one)
    return sound


def claim_receipts(receipts: Iterable[NamedReceipt], claims: Claims) -> None:
    """Note what receipts say, to be held against the record's leaves."""
    for one in receipts:
        receipt, source = one.receipt, f"receipt {one.name}"
        voucher, channel = receipt.voucher.voucher, receipt.channel.id
        claims.add_leaf(channel, receipt.index, LeafClaim(source, leaf_hash(pack(receipt.leaf))))
        claims.add_size(channel, voucher.tasks, SizeClaim(source, False, voucher.root, voucher.cumulative))


def check_receipts(
    receipts: Iterable[NamedReceipt], header: RecordHeader, books: Mapping[bytes, BookSum], into: Deviations
) -> None:
    """Find receipts that the record has no place for."""
    for one in receipts:
        receipt = one.receipt
        if receipt.domain != header.domain:
            into.add("receipt-network", one.name, header.domain, receipt.domain)
            continue
        book = books.get(receipt.channel.id)
        if book is None:
            into.add("book-hidden", one.name, f"a book with channel 0x{receipt.channel.id.hex()}", "none")
        elif receipt.head.head.size > book.leaves:
            size = receipt.head.head.size
            into.add(
                "tree-short",
                f"book {book.book}, {one.name}",
                f"at least {size} leaves",
                f"{book.leaves} leaves",
            )
