"""The books as plain lists: what the in-memory store keeps of them, and how it answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from farlane.domain.bookkeeping import BookOpened, BookRecord, BookState, LeavesBooked, VoucherSigned
from farlane.domain.ids import TaskId, job_of
from farlane.domain.usage import UsageRow, month_of

TASK_BYTES = slice(1, 9)
"""Where a packed leaf names its task (`farlane.ledger.leaf`)."""
_OUTCOME, _INTERIM = 19, 3
"""Where a packed leaf says how its attempt ended, and what stands there where it goes on."""


def count_ended(leaves: Sequence[bytes]) -> int:
    """Return how many packed leaves are of attempts that have ended."""
    return sum([leaf[_OUTCOME] != _INTERIM for leaf in leaves])


@dataclass(slots=True)
class _Book:
    opened: BookOpened
    batches: list[LeavesBooked] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    statements: dict[int, bytes] = field(default_factory=dict)
    vouchers: list[VoucherSigned] = field(default_factory=list)


class BookHistory:
    """The books' records, by book."""

    def __init__(self) -> None:
        self._books: dict[int, _Book] = {}
        self._batches: list[LeavesBooked] = []

    def add(self, record: BookRecord) -> None:
        """Add one record at the end."""
        if isinstance(record, BookOpened):
            self._books[record.book] = _Book(record)
        elif isinstance(record, LeavesBooked):
            found = self._books[record.book]
            found.batches.append(record)
            found.leaves += record.leaves
            found.statements.update({record.first + row: raw for row, raw in record.statements.items()})
            self._batches.append(record)
        else:
            self._books[record.book].vouchers.append(record)

    def records(self) -> Iterator[BookRecord]:
        """Yield everything, book by book."""
        for book in self._books.values():
            yield book.opened
            yield from book.batches
            yield from book.vouchers

    def states(self) -> list[BookState]:
        """Return every book as its last records leave it."""
        found = []
        for _, book in sorted(self._books.items()):
            frontier, owed = (
                (book.batches[-1].frontier, book.batches[-1].owed_nano) if book.batches else (b"", 0)
            )
            found.append(BookState(book.opened, frontier, owed, book.vouchers[-1] if book.vouchers else None))
        return found

    def leaves(self, book: int, first: int, count: int) -> list[bytes]:
        """Return leaves of a book, fewer where it ends."""
        found = self._books.get(book)
        return [] if found is None else found.leaves[first : first + count]

    def statements(self, book: int, first: int, count: int) -> dict[int, bytes]:
        """Return what replicas have served as some leaves of a book state it, by index."""
        found = self._books.get(book)
        known = {} if found is None else found.statements
        return {index: raw for index, raw in sorted(known.items()) if first <= index < first + count}

    def leaf_places(self, task: TaskId) -> list[tuple[int, int]]:
        """Return (book, index) of every leaf of a task, oldest first."""
        wanted = task.to_bytes(8, "big")
        return [
            (batch.book, batch.first + row)
            for batch in self._batches
            if batch.job == job_of(task)
            for row, leaf in enumerate(batch.leaves)
            if leaf[TASK_BYTES] == wanted
        ]

    def vouchers(self, book: int, after: int, limit: int) -> list[VoucherSigned]:
        """Return a book's vouchers over more than `after` leaves, oldest first."""
        found = self._books.get(book)
        return [] if found is None else [one for one in found.vouchers if one.tasks > after][:limit]

    def usage(self, first_month: str, last_month: str) -> list[UsageRow]:
        """Return what was booked in these months, by month and then by name."""
        sums: dict[tuple[str, ...], list[int]] = {}
        for book in self._books.values():
            for batch in book.batches:
                month = month_of(batch.at)
                if first_month <= month <= last_month:
                    names = (
                        month, batch.organisation, batch.project, batch.publisher, batch.node, batch.node_organisation
                    )  # fmt: skip
                    row = sums.setdefault(names, [0, 0, 0])
                    for at, more in enumerate((count_ended(batch.leaves), batch.lease_ms, batch.spent)):
                        row[at] += more
        return [UsageRow(*names, *row) for names, row in sorted(sums.items())]  # type: ignore[arg-type]
