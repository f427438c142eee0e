"""The feed: brings a node every leaf of its books in order, from what it has to what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from farlane.domain.bookkeeping import VoucherSigned
from farlane.hub.books.books import HubBook, Signing
from farlane.hub.store.port import Store
from farlane.wire.books import (
    BookMark,
    BookTerms,
    LeavesAppended,
    LedgerDomain,
    VoucherGiven,
    leaves_to_wire,
    terms_to_wire,
    voucher_to_wire,
)
from farlane.wire.outbox import Outbox
from farlane.wire.v1 import node_pb2

CHUNK_LEAVES = 4096


class BookFeed:
    """One node's stream of leaves and vouchers. Live leaves go out at once; what a node missed is read again.

    Args:
        outbox: of the node's stream.
        marks: what the node had of each book when it joined.
    """

    def __init__(self, outbox: Outbox[node_pb2.NodeCommand], marks: Mapping[int, BookMark]) -> None:
        self.marks = marks
        self._outbox = outbox
        self._sent: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._behind: set[int] = set()
        self._wake = asyncio.Event()

    def introduce(self, found: HubBook, signing: Signing | None) -> None:
        """Tell the node of a book: its terms, its newest voucher, and the leaves it lacks."""
        number = found.opened.book
        self._outbox.put(node_pb2.NodeCommand(terms=terms_to_wire(_terms(found, signing))))
        mark = self.marks.get(number)
        if number not in self._sent:
            self._sent[number] = mark.size if mark is not None else 0
            self._durable[number] = found.durable
            self._check(number)
        if found.voucher is not None and (mark is None or mark.tasks < found.voucher.tasks):
            self.voucher(found.voucher)

    def knows(self, number: int) -> bool:
        """Tell whether a book was introduced."""
        return number in self._sent

    def leaves(
        self, number: int, first: int, leaves: Sequence[bytes], statements: Mapping[int, bytes]
    ) -> None:
        """Send leaves that have become durable, unless the node is still being brought up to them.

        Args:
            number: of the book.
            first: index of the first of them.
            leaves: packed.
            statements: what replicas have served, packed, by row.
        """
        self._durable[number] = first + len(leaves)
        if self._sent[number] == first and number not in self._behind:
            self._send(number, first, leaves, statements)
        else:
            self._check(number)

    def voucher(self, signed: VoucherSigned) -> None:
        """Send a voucher that has become durable."""
        given = VoucherGiven(signed.book, signed.tasks, signed.cumulative, signed.root, signed.signature)
        self._outbox.put(node_pb2.NodeCommand(voucher=voucher_to_wire(given)))

    async def run(self, store: Store) -> None:
        """Bring the node up to what is durable, whenever it is behind, until the stream ends."""
        while not self._outbox.closed:
            await self._wake.wait()
            self._wake.clear()
            for number in list(self._behind):
                await self._catch_up(store, number)

    async def _catch_up(self, store: Store, number: int) -> None:
        loop = asyncio.get_running_loop()
        while (first := self._sent[number]) < self._durable[number]:
            if not await self._outbox.room():
                return
            count = min(CHUNK_LEAVES, self._durable[number] - first)
            leaves = await loop.run_in_executor(None, store.leaves, number, first, count)
            found = await loop.run_in_executor(None, store.statements, number, first, count)
            self._send(number, first, leaves, {index - first: raw for index, raw in found.items()})
        self._behind.discard(number)

    def _check(self, number: int) -> None:
        if self._sent[number] < self._durable[number]:
            self._behind.add(number)
            self._wake.set()

    def _send(
        self, number: int, first: int, leaves: Sequence[bytes], statements: Mapping[int, bytes]
    ) -> None:
        for start in range(0, len(leaves), CHUNK_LEAVES):
            part = leaves[start : start + CHUNK_LEAVES]
            stated = {
                row - start: raw for row, raw in statements.items() if start <= row < start + CHUNK_LEAVES
            }
            appended = leaves_to_wire(LeavesAppended(number, first + start, part, stated))
            self._outbox.put(node_pb2.NodeCommand(leaves=appended))
        self._sent[number] = first + len(leaves)


def _terms(found: HubBook, signing: Signing | None) -> BookTerms:
    opened = found.opened
    domain = None
    if signing is not None:
        at = signing.domain
        domain = LedgerDomain(at.chain_id, at.contract, at.network, signing.units_per_credit)
    return BookTerms(
        opened.book,
        opened.organisation,
        opened.payer,
        opened.provider,
        opened.signer,
        opened.salt,
        found.durable,
        domain,
    )
