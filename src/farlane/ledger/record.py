"""The public record: every book of a hub as lines of JSON, so that anybody can replay them; no names, no payloads.

Lines stand book by book: a book, then its leaves and vouchers in order, each voucher right behind the last leaf that
it covers. Everything in them is covered by a signature, but for leaves behind the newest voucher.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from farlane.errors import InvalidInput, TooLarge
from farlane.ledger.json_fields import Fields
from farlane.ledger.leaf import LEAF_BYTES
from farlane.ledger.typed_data import Domain, network_salt
from farlane.ledger.vouchers import Channel

FORMAT = "farlane-record-1"
LEAVES_PER_LINE = 1024
MAX_LINE_BYTES = 512 * 1024
"""A line of `LEAVES_PER_LINE` leaves has about 322 KiB."""


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The first line: where signatures count, and units of the token in a credit."""

    domain: Domain
    units_per_credit: int


@dataclass(frozen=True, slots=True)
class RecordBook:
    """A book begins: its number and its channel."""

    book: int
    channel: Channel


@dataclass(frozen=True, slots=True)
class RecordLeaves:
    """Packed leaves `first` and after of a book."""

    book: int
    first: int
    leaves: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class RecordVoucher:
    """Head and voucher over a book's first `tasks` leaves; fields as in `bookkeeping.VoucherSigned`."""

    book: int
    tasks: int
    cumulative: int
    root: bytes
    signature: bytes
    head_signature: bytes
    node_key: str
    expires: int
    delegation_signature: bytes


@dataclass(frozen=True, slots=True)
class RecordEnd:
    """The last line: how much there was, and the SHA-256 of all lines before."""

    books: int
    leaves: int
    vouchers: int
    digest: bytes


Entry = RecordHeader | RecordBook | RecordLeaves | RecordVoucher | RecordEnd


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a record was read: the book of the last line, and its leaves and covered leaves until then."""

    book: int = 0
    leaves: int = 0
    tasks: int = 0

    def after(self, entry: Entry) -> Cursor:
        """Return the cursor behind one more line."""
        if isinstance(entry, RecordBook):
            return Cursor(entry.book)
        if isinstance(entry, RecordLeaves):
            return Cursor(entry.book, entry.first + len(entry.leaves), self.tasks)
        if isinstance(entry, RecordVoucher):
            return Cursor(entry.book, self.leaves, entry.tasks)
        return self


def pieces(first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of leaves `first .. stop - 1` that stand on one line each, wherever reading began."""
    while first < stop:
        until = min(stop, (first // LEAVES_PER_LINE + 1) * LEAVES_PER_LINE)
        yield first, until
        first = until


def line_of(entry: Entry) -> bytes:
    """Return an entry's line; equal entries have equal lines."""
    kind, values = _WRITERS[type(entry)](entry)
    return json.dumps({"kind": kind, **values}, separators=(",", ":")).encode() + b"\n"


def entry_of(line: bytes) -> Entry:
    """Read a line. Its form is checked here; whether it is true is for `farlane.ledger.audit`.

    Raises:
        TooLarge: no line is so long.
        InvalidInput: it is no line of a record that this farlane knows.
    """
    if len(line) > MAX_LINE_BYTES:
        raise TooLarge(f"a line of a record has at most {MAX_LINE_BYTES} bytes; this one has {len(line)}")
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not a line of a public record: {error}") from error
    fields = Fields("record", "line", document)
    kind = fields.take("kind", str)
    if kind not in _READERS:
        raise InvalidInput(
            f"the record has a line of kind {kind!r:.40}, which this farlane does not know: upgrade it"
        )
    entry = _READERS[kind](fields)
    fields.end()
    return entry


def _write_header(entry: Any) -> tuple[str, dict[str, Any]]:
    domain = entry.domain
    return "record", {
        "format": FORMAT,
        "network": domain.network,
        "chain_id": domain.chain_id,
        "contract": domain.contract,
        "units_per_credit": str(entry.units_per_credit),
    }


def _write_book(entry: Any) -> tuple[str, dict[str, Any]]:
    channel = entry.channel
    parties = {"payer": channel.payer, "provider": channel.provider, "signer": channel.signer}
    return "book", {"book": entry.book, **parties, "salt": channel.salt.hex()}


def _write_leaves(entry: Any) -> tuple[str, dict[str, Any]]:
    packed = base64.b64encode(b"".join(entry.leaves)).decode()
    return "leaves", {"book": entry.book, "first": entry.first, "leaves": packed}


def _write_voucher(entry: Any) -> tuple[str, dict[str, Any]]:
    return "voucher", {
        "book": entry.book,
        "tasks": entry.tasks,
        "cumulative": str(entry.cumulative),
        "root": entry.root.hex(),
        "signature": entry.signature.hex(),
        "head_signature": entry.head_signature.hex(),
        "node_key": entry.node_key,
        "expires": entry.expires,
        "delegation_signature": entry.delegation_signature.hex(),
    }


def _write_end(entry: Any) -> tuple[str, dict[str, Any]]:
    counts = {"books": entry.books, "leaves": entry.leaves, "vouchers": entry.vouchers}
    return "end", {**counts, "digest": entry.digest.hex()}


def _read_header(fields: Fields) -> RecordHeader:
    if (found := fields.take("format", str)) != FORMAT:
        raise InvalidInput(f"the record has format {found!r:.40}; this farlane knows {FORMAT!r}: upgrade it")
    network = fields.take("network", str)
    network_salt(network)
    domain = Domain(fields.number("chain_id"), fields.address("contract"), network)
    units = fields.long_number("units_per_credit", 96)
    if not units:
        raise InvalidInput("the record's units_per_credit is 0; expected at least 1")
    return RecordHeader(domain, units)


def _read_book(fields: Fields) -> RecordBook:
    book = fields.number("book")
    payer, provider, signer = (fields.address(name) for name in ("payer", "provider", "signer"))
    return RecordBook(book, Channel(payer, provider, signer, fields.digits("salt", 32)))


def _read_leaves(fields: Fields) -> RecordLeaves:
    book, first, text = fields.number("book"), fields.number("first"), fields.take("leaves", str)
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(f"the record's leaves are not base64: {error}") from error
    if not raw or len(raw) % LEAF_BYTES:
        raise InvalidInput(
            f"the record has {len(raw)} bytes of leaves; expected a multiple of {LEAF_BYTES}, not 0"
        )
    leaves = [raw[at : at + LEAF_BYTES] for at in range(0, len(raw), LEAF_BYTES)]
    if len(leaves) > LEAVES_PER_LINE:
        raise TooLarge(f"the record has {len(leaves)} leaves on a line; expected at most {LEAVES_PER_LINE}")
    return RecordLeaves(book, first, leaves)


def _read_voucher(fields: Fields) -> RecordVoucher:
    return RecordVoucher(
        fields.number("book"),
        fields.number("tasks"),
        fields.long_number("cumulative", 96),
        fields.digits("root", 32),
        fields.digits("signature", 65),
        fields.digits("head_signature", 65),
        fields.address("node_key"),
        fields.number("expires"),
        fields.digits("delegation_signature", None),
    )


def _read_end(fields: Fields) -> RecordEnd:
    books, leaves, vouchers = (fields.number(name) for name in ("books", "leaves", "vouchers"))
    return RecordEnd(books, leaves, vouchers, fields.digits("digest", 32))


_WRITERS: dict[type, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    RecordHeader: _write_header,
    RecordBook: _write_book,
    RecordLeaves: _write_leaves,
    RecordVoucher: _write_voucher,
    RecordEnd: _write_end,
}
_READERS: dict[str, Callable[[Fields], Entry]] = {
    "record": _read_header,
    "book": _read_book,
    "leaves": _read_leaves,
    "voucher": _read_voucher,
    "end": _read_end,
}
