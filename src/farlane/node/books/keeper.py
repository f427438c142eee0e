"""The keeper: takes terms, leaves and vouchers from the hub, signs heads, and stops work that nobody pays for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

from farlane.errors import Conflict, FarlaneError, InvalidSignature
from farlane.kit.clock import Clock
from farlane.ledger.books import Boundary
from farlane.ledger.leaf import LEAF_BYTES
from farlane.ledger.vouchers import TreeHead, sign_head
from farlane.node.books.checking import LeafChecker, unstated_requests
from farlane.node.books.credit import CreditLine, Exposure
from farlane.node.books.disputes import leaves_as_evidence
from farlane.node.books.entries import (
    BookDisputed,
    BookOpened,
    Entry,
    HeadKept,
    HubNamed,
    LeavesKept,
    VoucherKept,
)
from farlane.node.books.memory import Memory, Settled
from farlane.node.books.node_book import NodeBook, restored
from farlane.node.books.opening import OpenedBooks
from farlane.node.books.reading import BooksReading
from farlane.node.books.shelf import BookShelf
from farlane.node.machine.machine import InProgress
from farlane.wire import books as wire
from farlane.wire.v1 import node_pb2

log = logging.getLogger(__name__)

RETRY_S = 10.0
"""How often a node looks whether its full disk has room again."""
ANSWER_S = 60.0
"""A head that no voucher has answered for so long is sent again."""


class KeeperOwner(Protocol):
    """Whose books they are."""

    def send(self, message: node_pb2.NodeMessage) -> None:
        """Say something to the hub."""
        ...

    def credit_changed(self, organisation: str, reason: str) -> None:
        """Take no more work of an organisation; "" for a reason: do again."""
        ...

    def in_progress(self) -> Iterable[InProgress]:
        """Return the present execution of every slot in use."""
        ...

    def reconnect(self, reason: str) -> None:
        """End the stream and open another."""
        ...


class BookKeeper:
    """Keeps all books of a node; it lives on the event loop that made it.

    Args:
        opened: the file, the key and the rhythm.
        memory: what the node remembers of attempts.
        organisation: the node's own.
        hub_key: SHA-256 of the hub's TLS key.
        owner: whose books they are.
        clock: the machine's.
    """

    def __init__(
        self,
        opened: OpenedBooks,
        memory: Memory,
        *,
        organisation: str,
        hub_key: bytes,
        owner: KeeperOwner,
        clock: Clock,
    ) -> None:
        self._store, self._key, self._rhythm = opened.store, opened.key, opened.rhythm
        self._memory, self._disputes, self._clock = memory, opened.disputes, clock
        self._organisation, self._hub_key, self._owner = organisation, hub_key, owner
        self.shelf = BookShelf(restored(opened.stored.books), self._key.provider, opened.pinned)
        self.covered_units: Callable[[bytes], int | None] = lambda channel: None
        """How much of a channel's voucher its deposit covers, None where that is not known."""
        self._checker = LeafChecker(memory, opened.stored.prices)
        self._credit = CreditLine(opened.rhythm.credit_nano)
        self._hubs = dict(opened.stored.hubs)
        self._loop = asyncio.get_running_loop()
        self._count = BooksReading()
        self.claimed = self._count.claimed
        self._retry_s = 0.0
        self._joined = self._closed = False

    def account(self) -> node_pb2.NodeAccount:
        """Return who the node is on the ledger, for its hello."""
        return wire.account_to_wire(self._key.account)

    def marks(self) -> list[node_pb2.BookMark]:
        """Return what the node has of this hub's books, for its hello."""
        return wire.marks_to_wire(self.shelf.marks(self._hubs.get(self._hub_key, "")))

    def on_joined(self, network: str) -> None:
        """Hear that a hub took the node in; it is told again whose work is not taken."""
        self.shelf.join(network)
        self.look_at_credit()
        self._joined = True
        if self._hubs.get(self._hub_key) != network:
            self._hubs[self._hub_key] = network
            self._append([HubNamed(self._hub_key, network)])
        # Of others a hub knows nothing that would have to be taken back.
        for organisation in {*self._credit.stopped, *self.shelf.organisations()}:
            self._tell_credit(organisation, self._credit.stopped.get(organisation, ""))

    def on_lost(self) -> None:
        """Hear that the stream ended."""
        self.shelf.leave()
        self._joined = False

    def on_terms(self, message: node_pb2.BookTerms) -> None:
        """Hear of a book.

        Raises:
            InvalidInput: no terms of a book.
        """
        terms = wire.terms_from_wire(message)
        book, problem = self.shelf.introduce(terms)
        if book is None:
            if self.shelf.ignored == 1:
                log.error("the hub introduces more books than a node keeps: book %d is ignored", terms.book)
            return
        if problem is not None:
            sent = asdict(terms) | {"salt": terms.salt.hex()}
            self._object(book, problem, {"terms": sent})
        elif book.stored and book.terms.domain is not None:
            self._append([BookOpened(book.id, book.network, book.terms)])

    def on_leaves(self, message: node_pb2.LeavesAppended) -> None:
        """Take leaves into a book, or object to them.

        Raises:
            InvalidInput: no leaves, or of a book that was not introduced.
            TooLarge: too many at once.
        """
        appended = wire.leaves_from_wire(message, LEAF_BYTES)
        book = self.shelf.introduced(appended.book)
        if book.objection or self._store.refusal is not None:
            self._count.refused_leaves += len(appended.leaves)
            return
        leaves, problem = self._fresh(book, appended)
        settled: list[Settled] = []
        known = len(appended.leaves) - len(leaves)
        unstated = 0
        for row, raw in enumerate(leaves, known):
            statement = appended.statements.get(row, b"")
            leaf, problem = self._checker.judge(raw, statement)
            if leaf is None or problem is not None:
                break
            settled.append(self._memory.settle(leaf))
            unstated += unstated_requests(settled[-1], statement)
        if problem is not None:
            self._restore(settled)
            self._count.refused_leaves += len(appended.leaves)
            self._object(book, problem, leaves_as_evidence(appended))
        elif leaves:
            self._count.unstated += unstated
            # A node that lost its file is given the newest voucher before the leaves it is for: they end where it does.
            early = book.early
            cut = 0 if early is None else early.tasks - book.book.size
            if early is not None and 0 < cut <= len(leaves):
                self._keep_leaves(book, leaves[:cut], settled[:cut])
                self._take_voucher(book, early)
                leaves, settled = leaves[cut:], settled[cut:]
            if leaves:
                self._keep_leaves(book, leaves, settled)

    def on_voucher(self, message: node_pb2.VoucherGiven) -> None:
        """Take a voucher, or object to it.

        Raises:
            InvalidInput: no voucher, or of a book that was not introduced.
        """
        given = wire.voucher_from_wire(message)
        self._take_voucher(self.shelf.introduced(given.book), given)

    def tick(self) -> None:
        """Look at the clock: heads that are due, credit, a disk that was full."""
        now = self._clock.monotonic()
        if self._store.refusal is not None:
            if now - self._retry_s >= RETRY_S:
                self._retry_s = now
                self._store.try_again(self._on_loop(self._written_again))
        else:
            for book in self.shelf.at_hand():
                if book.head_size > book.paid_tasks and now - book.head_s >= ANSWER_S:
                    book.head_size = 0
                if book.signable and now - book.head_s >= self._rhythm.head_s:
                    self._sign(book)
        self.look_at_credit()

    def look_at_credit(self) -> None:
        """Stop work that nobody pays for, and let it go on when somebody does."""
        for organisation in self._credit.decide(self.exposures(), self._grounds()):
            reason = self._credit.stopped.get(organisation, "")
            if reason:
                log.warning("no more work of %s is taken: %s", organisation, reason)
            else:
                log.info("work of %s is taken again", organisation)
            # The hub hears it before what is handed back.
            self._tell_credit(organisation, reason)
            self._owner.credit_changed(organisation, reason)

    def exposures(self) -> dict[str, Exposure]:
        """Return what every organisation owes."""
        unpaid = self.shelf.unpaid_nano(self.covered_units)
        unbooked = self._memory.unbooked_nano
        running = self._memory.running_nano(self._owner.in_progress())
        return {
            name: Exposure(unpaid.get(name, 0), unbooked.get(name, 0), running.get(name, 0))
            for name in {*unpaid, *unbooked, *running}
        }

    def read(self) -> BooksReading:
        """Return all figures."""
        count, memory = self._count, self._memory
        count.books, count.remembered, count.forgotten = len(self.shelf.all), len(memory), memory.forgotten
        count.disputed = sum(bool(book.objection) for book in self.shelf.all.values())
        count.writable = self._store.refusal is None
        count.exposures, count.stopped = self.exposures(), dict(self._credit.stopped)
        return count

    def close(self) -> None:
        """Let nothing more happen; what waits is made durable when the store is closed."""
        self._closed = True

    def _fresh(self, book: NodeBook, appended: wire.LeavesAppended) -> tuple[Sequence[bytes], str | None]:
        """Return the leaves that are new; those that came before must be what they were."""
        size = book.book.size
        if appended.first > size:
            return (), f"leaves {size} to {appended.first - 1} are missing"
        known = min(size - appended.first, len(appended.leaves))
        if known:
            before = self._store.leaves(book.id, appended.first, known)
            for number, (kept, sent) in enumerate(zip(before, appended.leaves, strict=False)):
                if kept != sent:
                    return (), f"leaf {appended.first + number} came again and is another one now"
        return appended.leaves[known:], None

    def _keep_leaves(self, book: NodeBook, leaves: Sequence[bytes], settled: Sequence[Settled]) -> None:
        count = self._count
        count.leaves += len(leaves)
        for one in settled:
            if one.found is None:
                count.unremembered += 1
            elif one.found.owed_nano and not one.amount_nano and not one.part:
                count.forfeited += 1
        first = book.book.size
        if not book.signable:
            book.head_s = self._clock.monotonic()
        boundary = book.book.append(leaves)
        entries: list[Entry] = [] if book.stored else [BookOpened(book.id, book.network, book.terms)]
        book.stored = True
        kept = LeavesKept(
            book.id, first, leaves, book.book.frontier.to_bytes(), boundary.owed_nano, self._clock.now()
        )

        def durable(error: FarlaneError | None) -> None:
            if error is None:
                book.durable = boundary
                if boundary.size - max(book.head_size, book.paid_tasks) >= self._rhythm.head_tasks:
                    self._sign(book)
            else:
                self._restore(settled)

        self._append([*entries, kept], durable)

    def _take_voucher(self, book: NodeBook, given: wire.VoucherGiven) -> None:
        try:
            taken = book.take(given)
        except Conflict as error:
            log.warning("a voucher of book %d is of no use yet: %s", given.book, error.message)
            book.early = given if given.tasks > book.book.size else book.early
            return
        except InvalidSignature as error:
            sent = {"root": given.root.hex(), "signature": given.signature.hex()}
            self._object(book, error.message, asdict(given) | sent)
            return
        if taken:
            self._count.vouchers += 1
            kept = VoucherKept(
                book.id, given.tasks, given.cumulative, given.root, given.signature, self._clock.now()
            )
            self._append([kept])
            self.look_at_credit()

    def _sign(self, book: NodeBook) -> None:
        """Sign the newest durable boundary; the signature is kept before it is sent."""
        domain, key, boundary = book.domain, self._key.signing_key(self._clock.now()), book.durable
        if domain is None or key is None or self._store.refusal is not None:
            return
        book.head_size, book.head_s = boundary.size, self._clock.monotonic()
        signed = sign_head(domain, key, TreeHead(book.channel.id, boundary.size, boundary.root))
        kept = HeadKept(book.id, boundary, signed.signature, self._clock.now())

        def durable(error: FarlaneError | None) -> None:
            if error is None:
                self._send_head(book, boundary, signed.signature)

        self._append([kept], durable)

    def _send_head(self, book: NodeBook, boundary: Boundary, signature: bytes) -> None:
        # The stream may have ended, or another hub's begun, while it was written.
        if self._joined and book in self.shelf.at_hand():
            self._count.heads += 1
            head = wire.HeadSigned(book.terms.book, boundary.size, boundary.root, signature)
            self._owner.send(node_pb2.NodeMessage(head=wire.head_to_wire(head)))

    def _object(self, book: NodeBook, problem: str, sent: Mapping[str, object]) -> None:
        self._count.objections += 1
        if book.objection:
            return
        book.objection = problem
        log.error("book %d with %s stands still: %s", book.terms.book, book.terms.organisation, problem)
        book.evidence = self._disputes.keep(book, problem, sent, self._clock.now())
        entries: list[Entry] = [] if book.stored else [BookOpened(book.id, book.network, book.terms)]
        book.stored = True
        self._append([*entries, BookDisputed(book.id, problem, book.evidence)])
        self.look_at_credit()

    def _grounds(self) -> dict[str, str]:
        """Return why work of an organisation is not taken, credit aside."""
        grounds = {}
        for book in self.shelf.all.values():
            if book.objection and self._disputes.lasts(book):
                settle = (
                    f"; settle it with the hub's operator, then remove {book.evidence}"
                    if book.evidence
                    else ""
                )
                grounds[book.terms.organisation] = (
                    f"book {book.terms.book} is in dispute: {book.objection}{settle}"
                )
        if self._store.refusal is not None:
            for organisation in self._organisations():
                grounds[organisation] = self._store.refusal.message
        return grounds

    def _organisations(self) -> set[str]:
        return {self._organisation, *self.shelf.organisations()}

    def _tell_credit(self, organisation: str, reason: str) -> None:
        if not self._joined:
            return  # the next hub is told when it takes the node in
        state = wire.CreditState(organisation, bool(reason), reason)
        self._owner.send(node_pb2.NodeMessage(credit=wire.credit_to_wire(state)))

    def _restore(self, settled: Sequence[Settled]) -> None:
        for one in reversed(settled):
            self._memory.restore(one)

    def _append(
        self, entries: Sequence[Entry], then: Callable[[FarlaneError | None], object] = lambda error: None
    ) -> None:
        if not self._closed:
            self._store.append(entries, self._on_loop(then))

    def _on_loop(self, call: Callable[..., object]) -> Callable[..., None]:
        """Return what calls back on the event loop, from the storage thread."""

        def later(*facts: object) -> None:
            # While the node goes down there may be no loop any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(lambda: None if self._closed else call(*facts))

        return later

    def _written_again(self, writable: bool) -> None:
        """Go on after a full disk from what is durable; the hub sends the rest again."""
        if not writable:
            return
        log.info("the node's books can be written again")
        stored = self._store.load()
        self.shelf.replace_all(restored(stored.books))
        self._owner.reconnect("the node's books can be written again")
        self.look_at_credit()
