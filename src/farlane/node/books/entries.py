"""What is written into a node's books and read back: entries as values, and the SQL of each."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from farlane.domain.prices import RateVector
from farlane.ledger.books import Boundary
from farlane.ledger.leaf import LEAF_BYTES
from farlane.ledger.tree import Frontier
from farlane.wire.books import BookTerms, LedgerDomain

_DEFLATE_LEVEL = 1


@dataclass(frozen=True, slots=True)
class HubNamed:
    """A hub, known by the SHA-256 of its TLS key, serves a network."""

    key: bytes
    network: str

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        connection.execute("INSERT OR REPLACE INTO hubs VALUES (?, ?)", (self.key, self.network))


@dataclass(frozen=True, slots=True)
class PricesAsked:
    """The node asks these prices, from now on."""

    rates: RateVector

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        connection.execute(
            "INSERT OR IGNORE INTO prices (rates) VALUES (?)", (json.dumps(asdict(self.rates)),)
        )


@dataclass(frozen=True, slots=True)
class BookOpened:
    """A book has its first leaves, or its domain became known. id: the node's own number of it."""

    id: int
    network: str
    terms: BookTerms

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        terms = self.terms
        domain = "" if terms.domain is None else json.dumps(asdict(terms.domain))
        connection.execute(
            "INSERT INTO books VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '0', '', '')"
            " ON CONFLICT (id) DO UPDATE SET domain = excluded.domain",
            (
                self.id, self.network, terms.book, terms.organisation, terms.payer, terms.provider, terms.signer,
                terms.salt, domain, Frontier().to_bytes(),
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeavesKept:
    """Leaves `first` and after, and the book behind them."""

    id: int
    first: int
    leaves: Sequence[bytes]
    frontier: bytes
    owed_nano: int
    at: float

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        packed = zlib.compress(b"".join(self.leaves), _DEFLATE_LEVEL)
        connection.execute(
            "INSERT INTO leaves VALUES (?, ?, ?, ?, ?)",
            (self.id, self.first, len(self.leaves), self.at, packed),
        )
        connection.execute(
            "UPDATE books SET frontier = ?, owed_nano = ? WHERE id = ?",
            (self.frontier, str(self.owed_nano), self.id),
        )


@dataclass(frozen=True, slots=True)
class HeadKept:
    """The node is about to send this signature over a boundary."""

    id: int
    boundary: Boundary
    signature: bytes
    at: float

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        found = self.boundary
        connection.execute(
            "INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?)",
            (self.id, found.size, found.root, str(found.owed_nano), self.signature, self.at),
        )


@dataclass(frozen=True, slots=True)
class VoucherKept:
    """The session key's promise, checked; heads before it need none any more."""

    id: int
    tasks: int
    cumulative: int
    root: bytes
    signature: bytes
    at: float

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        connection.execute(
            "INSERT OR REPLACE INTO vouchers VALUES (?, ?, ?, ?, ?, ?)",
            (self.id, self.tasks, str(self.cumulative), self.root, self.signature, self.at),
        )
        connection.execute("DELETE FROM heads WHERE book = ? AND size <= ?", (self.id, self.tasks))


@dataclass(frozen=True, slots=True)
class BookDisputed:
    """The node objects to what the hub sent: the book stands still. evidence: file with what it was."""

    id: int
    objection: str
    evidence: str

    def write(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        connection.execute(
            "UPDATE books SET objection = ?, evidence = ? WHERE id = ?",
            (self.objection, self.evidence, self.id),
        )


Entry = HubNamed | PricesAsked | BookOpened | LeavesKept | HeadKept | VoucherKept | BookDisputed


@dataclass(frozen=True, slots=True)
class StoredBook:
    """A book as its last entries leave it; heads: signed ones without a voucher, oldest first."""

    id: int
    network: str
    terms: BookTerms
    frontier: Frontier
    owed_nano: int
    objection: str
    evidence: str
    heads: tuple[Boundary, ...]
    voucher: VoucherKept | None


@dataclass(frozen=True, slots=True)
class StoredBooks:
    """All that a node starts from."""

    books: tuple[StoredBook, ...]
    hubs: dict[bytes, str]
    prices: tuple[RateVector, ...]


def read_books(connection: sqlite3.Connection) -> StoredBooks:
    """Read everything but the leaves.

    Raises:
        ValueError, InvalidInput: what is there cannot have been written by `Entry.write`.
    """
    books = tuple(_book(connection, row) for row in connection.execute("SELECT * FROM books ORDER BY id"))
    hubs = dict(connection.execute("SELECT key, network FROM hubs").fetchall())
    prices = tuple(
        _rates(json.loads(text)) for (text,) in connection.execute("SELECT rates FROM prices ORDER BY number")
    )
    return StoredBooks(books, hubs, prices)


def read_leaves(connection: sqlite3.Connection, book: int, first: int, count: int) -> list[bytes]:
    """Return leaves `first .. first + count - 1` of a book, fewer at its end."""
    rows = connection.execute(
        "SELECT first, packed FROM leaves WHERE book = ?1 AND first < ?2 AND first >= "
        "coalesce((SELECT max(first) FROM leaves WHERE book = ?1 AND first <= ?3), 0) ORDER BY first",
        (book, first + count, first),
    )
    found: list[bytes] = []
    for start, packed in rows:
        joined = zlib.decompress(packed)
        begin = max(0, first - start)
        end = min(len(joined) // LEAF_BYTES, first + count - start)
        found += [joined[at * LEAF_BYTES : (at + 1) * LEAF_BYTES] for at in range(begin, end)]
    return found


def read_covered(connection: sqlite3.Connection, book: int, units: int) -> VoucherKept | None:
    """Return a book's newest voucher that promises at most `units`; amounts of later vouchers are never lower."""
    row = connection.execute(
        "SELECT tasks, cumulative, root, signature, at FROM vouchers WHERE book = ?1 "
        "AND (length(cumulative), cumulative) <= (length(?2), ?2) ORDER BY tasks DESC LIMIT 1",
        (book, str(units)),
    ).fetchone()
    return None if row is None else VoucherKept(book, row[0], int(row[1]), *row[2:])


def _book(connection: sqlite3.Connection, row: tuple[object, ...]) -> StoredBook:
    (
        number,
        network,
        book,
        organisation,
        payer,
        provider,
        signer,
        salt,
        domain,
        frontier,
        owed,
        why,
        evidence,
    ) = row
    known = LedgerDomain(**json.loads(str(domain))) if domain else None
    tree = Frontier.from_bytes(frontier)  # type: ignore[arg-type]  # the schema is strict
    terms = BookTerms(book, organisation, payer, provider, signer, salt, tree.size, known)  # type: ignore[arg-type]
    newest = connection.execute(
        "SELECT tasks, cumulative, root, signature, at FROM vouchers WHERE book = ? ORDER BY tasks DESC LIMIT 1",
        (number,),
    ).fetchone()
    heads = connection.execute(
        "SELECT size, root, owed_nano FROM heads WHERE book = ? ORDER BY size", (number,)
    ).fetchall()
    return StoredBook(
        int(str(number)), str(network), terms, tree, int(str(owed)), str(why), str(evidence),
        tuple(Boundary(size, root, int(nano)) for size, root, nano in heads),
        None if newest is None else VoucherKept(int(str(number)), newest[0], int(newest[1]), *newest[2:]),
    )  # fmt: skip


def _rates(fields: dict[str, object]) -> RateVector:
    gpus = tuple((model, rate) for model, rate in fields.pop("gpu_second"))  # type: ignore[attr-defined]
    return RateVector(**fields, gpu_second=gpus)  # type: ignore[arg-type]
