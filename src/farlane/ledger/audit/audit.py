"""The whole audit: one pass over the record, with chain and receipts at hand."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address
from farlane.ledger.audit.chain_audit import check_books, check_state, claim_settlements, same_ledger
from farlane.ledger.audit.chain_replay import ChainReplay
from farlane.ledger.audit.chain_view import ChainView
from farlane.ledger.audit.claims import Claims
from farlane.ledger.audit.deviations import Deviation, Deviations, Severity
from farlane.ledger.audit.receipts_audit import NamedReceipt, check_receipts, claim_receipts, sound_receipts
from farlane.ledger.audit.record_audit import BookSum, RecordAudit
from farlane.ledger.record import Entry, RecordHeader


@dataclass(slots=True)
class Totals:
    """What the record and the chain come to. nano: nano-credits; units: of the token.

    unsigned_leaves, unsigned_nano: booked behind the newest voucher of each book; earned, spent: by account, over all
    leaves; settled_units, locked_units, deposited_units, withdrawn_units: as the chain's events say, 0 without one.
    """

    books: int = 0
    leaves: int = 0
    vouchers: int = 0
    receipts: int = 0
    events: int = 0
    block: int = 0
    owed_nano: int = 0
    unsigned_leaves: int = 0
    unsigned_nano: int = 0
    signed_units: int = 0
    settled_units: int = 0
    locked_units: int = 0
    deposited_units: int = 0
    withdrawn_units: int = 0
    units_per_credit: int = 1
    earned: dict[Address, int] = field(default_factory=dict)
    spent: dict[Address, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found: deviations (at most `deviations.MAX_KEPT` of them), how many there were, and sums."""

    deviations: Sequence[Deviation]
    counts: dict[Severity, int]
    totals: Totals
    asked_chain: bool

    @property
    def deviating(self) -> int:
        """Return how many deviations there are; notices are none."""
        return self.counts[Severity.ERROR] + self.counts[Severity.WARNING]

    @property
    def clean(self) -> bool:
        """Tell whether nothing deviates."""
        return not self.deviating


def audit(
    record: Iterable[Entry],
    chain: ChainView | None = None,
    receipts: Sequence[NamedReceipt] = (),
    *,
    now_s: float,
    moved_nano: int = 0,
) -> Audit:
    """Replay a record, and hold it against chain and receipts. Memory: 20 bytes a leaf, and something for each book.

    Args:
        record: its lines, in order; read once.
        chain: what a chain says; None to check the record by itself.
        receipts: whatever nodes and publishers kept.
        now_s: the time, unix seconds.
        moved_nano: what one leaf may cost for bytes moved, in nano-credits.

    Raises:
        InvalidInput: the record has no header.
        FarlaneError: whatever `record` raises where it cannot be read.
    """
    into, claims = Deviations(), Claims()
    sound = sound_receipts(receipts, into)
    claim_receipts(sound, claims)
    if chain is not None:
        claim_settlements(chain, claims)
    replay = RecordAudit(claims, now_s, moved_nano, secrets.token_bytes(16), into)
    for entry in record:
        replay.take(entry)
    replay.end()
    if replay.header is None:
        raise InvalidInput("the record is empty: it has not even a first line; export it again")
    check_receipts(sound, replay.header, replay.books, into)
    totals = _totals(replay.header, list(replay.books.values()))
    totals.receipts = len(receipts)
    if chain is not None:
        _check_chain(replay.header, replay.books, chain, totals, into)
    return Audit(tuple(into.kept), into.counts, totals, chain is not None)


def _check_chain(
    header: RecordHeader, books: dict[bytes, BookSum], chain: ChainView, totals: Totals, into: Deviations
) -> None:
    if not same_ledger(header, chain, into):
        return
    replay = ChainReplay(into)
    replay.apply(chain.events)
    check_state(chain, replay, into)
    check_books(books, chain, replay, into)
    totals.events, totals.block = len(chain.events), chain.block
    totals.settled_units = sum(state.claimed for state in replay.channels.values())
    totals.locked_units = replay.locked
    totals.deposited_units, totals.withdrawn_units = replay.deposited, replay.withdrawn


def _totals(header: RecordHeader, books: Sequence[BookSum]) -> Totals:
    earned: defaultdict[Address, int] = defaultdict(int)
    spent: defaultdict[Address, int] = defaultdict(int)
    for book in books:
        earned[book.channel.provider] += book.owed_nano
        spent[book.channel.payer] += book.owed_nano
    return Totals(
        books=len(books),
        leaves=sum(book.leaves for book in books),
        vouchers=sum(book.vouchers for book in books),
        owed_nano=sum(book.owed_nano for book in books),
        unsigned_leaves=sum(max(0, book.leaves - book.tasks) for book in books),
        unsigned_nano=sum(book.owed_nano - book.signed_nano for book in books),
        signed_units=sum(book.signed_units for book in books),
        units_per_credit=header.units_per_credit,
        earned=dict(sorted(earned.items())),
        spent=dict(sorted(spent.items())),
    )
