"""The shelf: all books of a node, those of the present stream at hand; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from farlane.errors import InvalidInput
from farlane.ledger.accounts import NO_ADDRESS, Address
from farlane.ledger.typed_data import Domain
from farlane.node.books.node_book import NodeBook
from farlane.wire.books import MAX_MARKS, BookMark, BookTerms

MAX_BOOKS = 1000
"""Books with one hub. What it introduces beyond is not taken up: no leaf of those comes in."""


class BookShelf:
    """Books by network and number.

    Args:
        books: from the file.
        provider: who is to be paid for this node's work.
        pinned: where signatures must count, if the node's owner has said so.
    """

    def __init__(self, books: Iterable[NodeBook], provider: Address, pinned: Domain | None = None) -> None:
        self.all = {(book.network, book.terms.book): book for book in books}
        self.network = ""
        """Of the hub whose stream stands."""
        self.ignored = 0
        """Books that were not taken up."""
        self._provider, self._pinned = provider, pinned
        self._introduced: dict[int, NodeBook] = {}
        self._channels = {book.channel.id for book in self.all.values()}
        self._taken_up = 0
        """Books of the network at hand."""
        self._last_id = max((book.id for book in self.all.values()), default=0)

    def replace_all(self, books: Iterable[NodeBook]) -> None:
        """Start over from what is durable."""
        self.all = {(book.network, book.terms.book): book for book in books}
        self._channels = {book.channel.id for book in self.all.values()}
        self._introduced = {}

    def join(self, network: str) -> None:
        """Hear whose books come from now on."""
        self.network = network
        self._introduced = {}
        self._taken_up = sum(known == network for known, _ in self.all)

    def leave(self) -> None:
        """Hear that the stream ended: the next one introduces its books anew."""
        self._introduced = {}
        for book in self.all.values():
            book.head_size = 0

    def introduced(self, number: int) -> NodeBook:
        """Return a book that this stream has introduced.

        Raises:
            InvalidInput: it has not.
        """
        found = self._introduced.get(number)
        if found is None:
            raise InvalidInput(
                f"the hub speaks of book {number}, which it has not introduced on this stream (or which was one too "
                f"many: a node keeps {MAX_BOOKS} with one hub)",
                book=number,
            )
        return found

    def at_hand(self) -> Iterable[NodeBook]:
        """Return the books of the present stream."""
        return self._introduced.values()

    def books(self) -> list[NodeBook]:
        """Return all books."""
        return list(self.all.values())

    def organisations(self) -> set[str]:
        """Return whose books there are."""
        return {book.terms.organisation for book in self.all.values()}

    def introduce(self, terms: BookTerms) -> tuple[NodeBook | None, str | None]:
        """Take up a book, or go on with it.

        Returns:
            The book, None where it is one too many; and what is wrong with its terms.
        """
        key = self.network, terms.book
        book = self.all.get(key)
        if book is not None:
            problem = book.terms_problem(terms)
            if problem is None and terms.domain is not None and book.terms.domain is None:
                book.terms = replace(book.terms, domain=terms.domain)
        elif self._taken_up >= MAX_BOOKS:
            self.ignored += 1
            return None, None
        else:
            self._last_id += 1
            self._taken_up += 1
            book = self.all[key] = NodeBook(self._last_id, self.network, terms)
            problem = self._channel_problem(book)
            self._channels.add(book.channel.id)
        self._introduced[terms.book] = book
        return book, problem or self._stranger_problem(terms)

    def marks(self, network: str) -> list[BookMark]:
        """Return what is durable of a network's books, the newest where they are too many."""
        books = [book for book in self.all.values() if book.network == network and book.durable.size]
        books.sort(key=lambda book: book.terms.book)
        return [
            BookMark(book.terms.book, book.durable.size, book.durable.root, book.paid_tasks)
            for book in books[-MAX_MARKS:]
        ]

    def unpaid_nano(self, covered_units: Callable[[bytes], int | None]) -> dict[str, int]:
        """Return what organisations owe beyond their vouchers, in nano-credits.

        Args:
            covered_units: how much of a channel's voucher its deposit covers, None where that is not known.
        """
        sums: dict[str, int] = {}
        for book in self.all.values():
            owed = book.unpaid_nano(covered_units(book.channel.id))
            sums[book.terms.organisation] = sums.get(book.terms.organisation, 0) + owed
        return sums

    def _channel_problem(self, book: NodeBook) -> str | None:
        if book.channel.id in self._channels:
            return (
                f"book {book.terms.book} is kept on a channel that another book has already: one voucher would pay "
                "for two"
            )
        return None

    def _stranger_problem(self, terms: BookTerms) -> str | None:
        if terms.provider not in (self._provider, NO_ADDRESS):
            return f"book {terms.book} pays {terms.provider}; this node's work is paid to {self._provider}"
        domain, pinned = terms.domain, self._pinned
        if domain is None or pinned is None:
            return None
        found = Domain(domain.chain_id, Address(domain.contract), domain.network)
        if found != pinned:
            return f"book {terms.book} is kept on {found}; the node's network file says {pinned}"
        return None
