"""The bookkeeper: puts the books between the engine, which makes them durable, and the nodes' streams."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from farlane.domain.bookkeeping import BookRecord, LeavesBooked, VoucherSigned
from farlane.domain.ids import NodeId
from farlane.domain.records import AttemptsFailed, LeasesMetered, TasksEnded
from farlane.errors import Conflict, InvalidSignature
from farlane.hub.books.books import HubBook, HubBooks, NodeAccount, Signing, WaitingHead
from farlane.hub.reactor.commands import Append
from farlane.hub.reactor.state import HubState
from farlane.ledger.accounts import parse_address
from farlane.ledger.vouchers import Delegation
from farlane.wire.books import HeadSigned
from farlane.wire.books import NodeAccount as WireAccount

if TYPE_CHECKING:
    from farlane.hub.engine import Engine
    from farlane.hub.sessions import NodeSession, Sessions

log = logging.getLogger(__name__)
Effect = Callable[[], None]


class Bookkeeper:
    """Books what ends, tells nodes, and answers their heads.

    Args:
        books: the hub's.
        state: the reactor's, for looking up.
        sessions: the nodes' streams.
    """

    def __init__(self, books: HubBooks, state: HubState, sessions: Sessions) -> None:
        self._books, self._state, self._sessions = books, state, sessions
        self.disputes: dict[int, str] = {}
        """Book -> why its node and this hub disagree."""

    def keep(self, command: Append) -> tuple[Sequence[BookRecord], Effect | None]:
        """Return the leaves of attempts that ended on a node, or of parts of them, and what tells that node."""
        record = command.record
        if not isinstance(record, TasksEnded | AttemptsFailed | LeasesMetered) or not record.node:
            return (), None
        spec, node = self._state.jobs[record.job].spec, self._state.nodes[record.node].spec
        records = self._books.book(record, spec, node, command.leases)
        booked = records[-1]
        assert isinstance(booked, LeavesBooked)
        return records, lambda: self._tell(booked)

    def introduce(self, session: NodeSession, account: WireAccount | None) -> None:
        """Hear who a node is, and tell it of its books; one that contradicts ours is not used any more."""
        if account is None:
            return
        self._books.attach(session.node, _account(account))
        superseded = [
            found for found in self._books.of_node(session.node) if found.channel.provider != account.provider
        ]
        for found in superseded:  # its owner is paid elsewhere from now on
            self._books.supersede(found.opened.book)
        older = [
            found for found in self._books.unsigned_of(session.node) if found.opened.book not in self.disputes
        ]
        for found in (*older, *self._books.of_node(session.node)):
            mark = session.feed.marks.get(found.opened.book)
            boundary = found.book.boundary()
            if mark is not None and (
                mark.size > boundary.size or (mark.size == boundary.size and mark.root != boundary.root)
            ):
                self._dispute(found, "the node has other leaves than this hub")
            else:
                session.feed.introduce(found, self._books.signing)

    def set_signing(self, signing: Signing) -> None:
        """Hear that the chain is there: every node learns the domain and can sign."""
        self._books.signing = signing
        for session in self._sessions.nodes.values():
            for found in self._books.all.values():
                if found.opened.node == session.node and session.feed.knows(found.opened.book):
                    session.feed.introduce(found, signing)
        self._books.on_seen()

    def head_signed(self, engine: Engine, session: NodeSession, head: HeadSigned) -> None:
        """Answer a head with a voucher once that is durable. A head that proves a fork ends the use of its book.

        Raises:
            FarlaneError: the node speaks of books that are not its own.
        """
        try:
            self._answer(engine, WaitingHead(session.node, head.book, head.size, head.root, head.signature))
        except Conflict as error:
            log.debug("head of book %d: %s", head.book, error.message)  # a boundary that is no longer kept
        except InvalidSignature as error:
            self._dispute(self._books.all[head.book], error.message)

    def answer_waiting(self, engine: Engine) -> None:
        """Answer heads that came before there was anything behind a voucher for them, as far as there is now."""
        before = {self._books.all[number].opened.organisation for number in self._books.waiting}
        for head in list(self._books.waiting.values()):
            del self._books.waiting[head.book]
            try:
                self._answer(engine, head)
            except (Conflict, InvalidSignature) as error:
                log.debug("head of book %d: %s", head.book, error.message)  # its node signs it anew
        for organisation in sorted(
            before - {self._books.all[one].opened.organisation for one in self._books.waiting}
        ):
            log.info("every head of %s's nodes has its voucher", organisation)

    def _answer(self, engine: Engine, head: WaitingHead) -> None:
        signed = self._books.sign(head.node, head.book, head.size, head.root, head.signature, engine.now())
        if signed is not None:
            engine.append(signed, lambda: self._give(head.node, signed))

    def _dispute(self, found: HubBook, why: str) -> None:
        number, opened = found.opened.book, found.opened
        log.error(
            "book %d (%s, node %s) is in dispute and not used any more: %s", number, opened.organisation, opened.node,
            why,
        )  # fmt: skip
        self.disputes[number] = why
        self._books.waiting.pop(number, None)
        self._books.supersede(number)

    def _tell(self, booked: LeavesBooked) -> None:
        found, session = self._books.all[booked.book], self._sessions.nodes.get(booked.node)
        found.durable = booked.first + len(booked.leaves)
        if session is None or booked.node not in self._books.nodes:
            return
        if session.feed.knows(booked.book):
            session.feed.leaves(booked.book, booked.first, booked.leaves, booked.statements)
        else:
            session.feed.introduce(found, self._books.signing)

    def _give(self, node: NodeId, signed: VoucherSigned) -> None:
        session = self._sessions.nodes.get(node)
        if session is not None and session.feed.knows(signed.book):
            session.feed.voucher(signed)


def _account(account: WireAccount) -> NodeAccount:
    """Return an account as the books use it.

    Raises:
        InvalidInput: an address with a wrong digit.
    """
    key, provider = parse_address(account.key), parse_address(account.provider)
    return NodeAccount(key, Delegation(provider, key, account.expires), account.signature)
