"""Reading the books: channels, their leaves and vouchers, and what was used."""

from __future__ import annotations

import sqlite3

from farlane.domain.bookkeeping import BookState, VoucherSigned
from farlane.domain.ids import TaskId, job_of
from farlane.domain.usage import UsageRow
from farlane.hub.store.sqlite import encoding, queries, rows

TASK_BYTES = slice(1, 9)
"""Where a packed leaf names its task (`farlane.ledger.leaf`)."""


def books(connection: sqlite3.Connection) -> list[BookState]:
    """Return every book, oldest first, as its last records leave it."""
    found = []
    for row in connection.execute(queries.BOOKS).fetchall():
        opened = rows.read_book(row)
        last = connection.execute(queries.LAST_LEAVES, (opened.book,)).fetchone() or (b"", "0")
        voucher = connection.execute(queries.LAST_VOUCHER, (opened.book,)).fetchone()
        signed = None if voucher is None else rows.read_voucher(voucher)
        found.append(BookState(opened, last[0], int(last[1]), signed))
    return found


def leaves(connection: sqlite3.Connection, book: int, first: int, count: int) -> list[bytes]:
    """Return leaves `first .. first + count - 1` of a book, fewer where it ends.

    Raises:
        Corrupted: a batch does not match its checksum.
    """
    found: list[bytes] = []
    for start, blob in connection.execute(
        queries.LEAVES, {"book": book, "first": first, "end": first + count}
    ):
        batch = encoding.unpack_leaves(blob)
        found += batch[max(0, first - start) : first + count - start]
    return found


def leaf_places(connection: sqlite3.Connection, task: TaskId) -> list[tuple[int, int]]:
    """Return (book, index) of every leaf of a task, oldest first."""
    wanted = task.to_bytes(8, "big")
    return [
        (book, first + row)
        for book, first, blob in connection.execute(queries.LEAVES_OF_JOB, (job_of(task),))
        for row, leaf in enumerate(encoding.unpack_leaves(blob))
        if leaf[TASK_BYTES] == wanted
    ]


def vouchers(connection: sqlite3.Connection, book: int, after: int, limit: int) -> list[VoucherSigned]:
    """Return a book's vouchers over more than `after` leaves, oldest first."""
    return [rows.read_voucher(row) for row in connection.execute(queries.VOUCHERS, (book, after, limit))]


def usage(connection: sqlite3.Connection, first_month: str, last_month: str) -> list[UsageRow]:
    """Return what was booked in these months."""
    return [UsageRow(*row) for row in connection.execute(queries.USAGE, (first_month, last_month))]
