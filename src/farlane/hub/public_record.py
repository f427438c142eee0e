"""The public record read from the store, line by line, from any place on."""

from __future__ import annotations

from collections.abc import Iterator

from farlane.domain.bookkeeping import BookState, VoucherSigned
from farlane.hub.books.books import channel_of
from farlane.hub.store.port import Store
from farlane.ledger.record import Cursor, Entry, RecordBook, RecordLeaves, RecordVoucher, pieces
from farlane.ledger.tree import Frontier

PAGE_VOUCHERS = 256


def entries(store: Store, after: Cursor) -> Iterator[Entry]:
    """Yield the record's entries behind a cursor, without header and end.

    What is booked while this runs may be missing: each book ends where it ended at the beginning.
    """
    for state in store.books():
        number = state.opened.book
        if number < after.book:
            continue
        if number > after.book:
            yield RecordBook(number, channel_of(state.opened))
        at = after if number == after.book else Cursor(number)
        yield from _rest(store, state, at)


def _rest(store: Store, state: BookState, at: Cursor) -> Iterator[Entry]:
    """Yield leaves and vouchers of one book behind a cursor."""
    book, first, tasks = state.opened.book, at.leaves, at.tasks
    size = Frontier.from_bytes(state.frontier).size if state.frontier else 0
    while page := [one for one in store.vouchers(book, tasks, PAGE_VOUCHERS) if one.tasks <= size]:
        for signed in page:
            tasks = signed.tasks
            if tasks < first:
                continue  # signed since the leaves were read; a later voucher covers them too
            yield from _leaves(store, book, first, signed.tasks)
            yield _voucher(signed)
            first = tasks
    yield from _leaves(store, book, first, size)


def _leaves(store: Store, book: int, first: int, stop: int) -> Iterator[Entry]:
    for start, end in pieces(first, stop):
        yield RecordLeaves(book, start, store.leaves(book, start, end - start))


def _voucher(signed: VoucherSigned) -> RecordVoucher:
    return RecordVoucher(
        signed.book,
        signed.tasks,
        signed.cumulative,
        signed.root,
        signed.signature,
        signed.head_signature,
        signed.node_key,
        signed.expires,
        signed.delegation_signature,
    )
