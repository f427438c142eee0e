"""The record replayed: every leaf, tree, head, voucher and delegation of it, in one pass over its lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from farlane.errors import FarlaneError, InvalidInput
from farlane.ledger.accounts import NO_ADDRESS, Address
from farlane.ledger.audit.attempts_seen import AttemptsSeen, PartsSeen
from farlane.ledger.audit.claims import Claims, SizeClaim
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.audit.leaf_checks import check_leaf
from farlane.ledger.leaf import unpack
from farlane.ledger.record import Entry, RecordBook, RecordHeader, RecordLeaves, RecordVoucher
from farlane.ledger.tree import Frontier, leaf_hash
from farlane.ledger.vouchers import (
    MAX_UNITS,
    Channel,
    Delegation,
    SignedHead,
    SignedVoucher,
    TreeHead,
    Voucher,
    check_delegation,
    check_head,
    check_voucher,
    units_floor,
)


@dataclass(slots=True)
class BookSum:
    """What a book comes to: leaves and what they cost, and what its newest voucher promises for how many of them."""

    book: int
    channel: Channel
    leaves: int = 0
    owed_nano: int = 0
    tasks: int = 0
    signed_units: int = 0
    signed_nano: int = 0
    vouchers: int = 0


@dataclass(slots=True)
class _Open:
    """The book that is being read: its sum, its tree, and when the newest leaf behind the last voucher ended."""

    sum: BookSum
    frontier: Frontier = field(default_factory=Frontier)
    newest_ms: int = 0


class RecordAudit:
    """Replays a record line by line.

    Args:
        claims: what others say of its trees.
        now_s: the time of the audit, unix seconds.
        moved_nano: what a leaf may cost for bytes moved.
        key: random bytes, see `AttemptsSeen`.
        into: takes what is wrong.
    """

    def __init__(self, claims: Claims, now_s: float, moved_nano: int, key: bytes, into: Deviations) -> None:
        self.header: RecordHeader | None = None
        self.books: dict[bytes, BookSum] = {}
        self._claims, self._now_ms, self._moved, self._into = claims, int(now_s * 1000), moved_nano, into
        self._seen, self._parts = AttemptsSeen(key), PartsSeen()
        self._open: _Open | None = None
        self._numbers: list[int] = []

    def take(self, entry: Entry) -> None:
        """Replay one line.

        Raises:
            InvalidInput: the record has no header.
        """
        if isinstance(entry, RecordHeader):
            self.header = entry
        elif isinstance(entry, RecordBook):
            self._begin(entry)
        elif isinstance(entry, RecordLeaves):
            self._leaves(entry)
        elif isinstance(entry, RecordVoucher):
            self._voucher(entry)

    def end(self) -> None:
        """Say what only the whole shows."""
        for first, second in self._seen.doubles():
            places = [f"book {self._numbers[book]} leaf {index}" for book, index in (first, second)]
            self._into.add("attempt-twice", places[1], "each attempt once", f"also {places[0]}")
        for part, place in self._parts.after_their_end(self._seen):
            self._into.add("attempt-parts", place, "no part after the attempt's end", f"part {part}")

    def _begin(self, entry: RecordBook) -> None:
        if self._numbers and entry.book <= self._numbers[-1]:
            self._into.add(
                "book-order", f"book {entry.book}", f"a number above {self._numbers[-1]}", entry.book
            )
        self._numbers.append(entry.book)
        self._open = _Open(BookSum(entry.book, entry.channel))
        known = self.books.setdefault(entry.channel.id, self._open.sum)
        if known is not self._open.sum:
            self._into.add(
                "channel-twice",
                f"book {entry.book}",
                "a channel of its own",
                f"the channel of book {known.book}",
            )

    def _current(self, book: int, what: str) -> _Open | None:
        if self._open is None or self._open.sum.book != book:
            inside = "no book" if self._open is None else f"book {self._open.sum.book}"
            self._into.add(
                "book-order", f"{what} of book {book}", "inside of its book", f"inside of {inside}"
            )
            return None
        return self._open

    def _leaves(self, entry: RecordLeaves) -> None:
        found = self._current(entry.book, "leaves")
        if found is None:
            return
        if entry.first != found.sum.leaves:
            self._into.add(
                "leaves-gap", f"book {entry.book}", f"leaf {found.sum.leaves}", f"leaf {entry.first}"
            )
        for raw in entry.leaves:
            self._leaf(found, raw)

    def _leaf(self, found: _Open, raw: bytes) -> None:
        total, index = found.sum, found.sum.leaves
        place, hash_ = f"book {total.book} leaf {index}", leaf_hash(raw)
        found.frontier.append(hash_)
        total.leaves += 1
        for claim in self._claims.leaves.get(total.channel.id, {}).get(index, ()):
            if claim.hash != hash_:
                self._into.add("receipt-leaf", f"{place}, {claim.source}", claim.hash.hex(), hash_.hex())
        try:
            leaf = unpack(raw)
        except InvalidInput as error:
            self._into.add("leaf-unreadable", place, "a leaf", error.message)
        else:
            total.owed_nano += leaf.amount_nano
            found.newest_ms = max(found.newest_ms, leaf.ended_ms)
            self._seen.add(leaf, len(self._numbers) - 1, index)
            if missing := self._parts.add(leaf, place):
                self._into.add("attempt-parts", place, f"part {missing}", f"part {leaf.part}")
            check_leaf(leaf, place, self._now_ms, self._moved, self._into)
        for size_claim in self._claims.sizes.get(total.channel.id, {}).get(total.leaves, ()):
            self._compare(found, size_claim)

    def _compare(self, found: _Open, claim: SizeClaim) -> None:
        total, root = found.sum, found.frontier.root()
        where = f"book {total.book} at {total.leaves} leaves, {claim.source}"
        if claim.root != root:
            code = "settled-mismatch" if claim.on_chain else "tree-forked"
            self._into.add(code, where, f"root {root.hex()}", f"root {claim.root.hex()}")
        owed = self._units(total.owed_nano)
        if claim.cumulative != owed:
            code = "settled-mismatch" if claim.on_chain else "receipt-promise"
            self._into.add(code, where, f"{owed} units", f"{claim.cumulative} units")

    def _voucher(self, entry: RecordVoucher) -> None:
        found = self._current(entry.book, "a voucher")
        if found is None:
            return
        total, where = found.sum, f"book {entry.book} voucher at {entry.tasks} leaves"
        channel = total.channel
        if NO_ADDRESS in (channel.payer, channel.provider, channel.signer):
            self._into.add("voucher-accounts", where, "accounts on both sides", NO_ADDRESS)
        if entry.tasks <= total.tasks or entry.cumulative < total.signed_units:
            before = f"more than {total.tasks} leaves and at least {total.signed_units} units"
            self._into.add(
                "voucher-order", where, before, f"{entry.tasks} leaves and {entry.cumulative} units"
            )
        if entry.tasks != total.leaves:
            self._into.add("voucher-place", where, f"{total.leaves} leaves", f"{entry.tasks} leaves")
        if entry.root != (root := found.frontier.root()):
            self._into.add("root-mismatch", where, root.hex(), entry.root.hex())
        if entry.cumulative != (owed := self._units(total.owed_nano)):
            self._into.add("cumulative-mismatch", where, f"{owed} units", f"{entry.cumulative} units")
        self._signatures(entry, channel, found.newest_ms / 1000, where)
        found.newest_ms = 0
        total.tasks, total.signed_units, total.signed_nano = entry.tasks, entry.cumulative, total.owed_nano
        total.vouchers += 1

    def _signatures(self, entry: RecordVoucher, channel: Channel, at_s: float, where: str) -> None:
        domain, key = self._domain().domain, Address(entry.node_key)
        delegation = Delegation(channel.provider, key, entry.expires)
        voucher = Voucher(channel.id, entry.cumulative, entry.tasks, entry.root)
        head = TreeHead(channel.id, entry.tasks, entry.root)
        try:
            check_head(domain, SignedHead(head, entry.head_signature), key)
        except FarlaneError as error:
            self._into.add("head-signature", where, f"signed by {key}", error.message)
        try:
            check_voucher(domain, SignedVoucher(voucher, entry.signature), channel.signer)
        except FarlaneError as error:
            self._into.add("voucher-signature", where, f"signed by {channel.signer}", error.message)
        try:
            check_delegation(domain, delegation, entry.delegation_signature, at_s)
        except FarlaneError as error:
            self._into.add("delegation", where, f"signed by {channel.provider}", error.message)
        if key == channel.provider and (entry.expires or entry.delegation_signature):
            self._into.add(
                "delegation", where, "none, provider and key are one", f"one until {entry.expires}"
            )

    def _units(self, nano: int) -> int:
        return min(MAX_UNITS, units_floor(nano, self._domain().units_per_credit))

    def _domain(self) -> RecordHeader:
        if self.header is None:
            raise InvalidInput("the record has no header; export it again")
        return self.header
