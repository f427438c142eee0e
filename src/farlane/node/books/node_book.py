"""One book as the node keeps it: its terms, its tree, what is durable of it, and why it stands still; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from farlane.errors import InvalidSignature
from farlane.ledger.accounts import NO_ADDRESS, Address
from farlane.ledger.books import MAX_BOUNDARIES, Book, Boundary
from farlane.ledger.port import SignedClaim
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher, check_voucher
from farlane.node.books.entries import StoredBook
from farlane.wire.books import BookTerms, VoucherGiven


class _KeptBook(Book):
    """A book that knows, after a restart, the heads that may still be answered."""

    def __init__(self, stored: StoredBook, channel: bytes) -> None:
        newest = stored.voucher
        voucher = None if newest is None else Voucher(channel, newest.cumulative, newest.tasks, newest.root)
        super().__init__(stored.frontier, stored.owed_nano, voucher)
        self._boundaries = deque([*stored.heads, self.boundary()], maxlen=MAX_BOUNDARIES)


class NodeBook:
    """One book.

    Args:
        number: the node's own number of it, in its file.
        network: whose hub keeps the other side.
        terms: as the hub introduced it.
        stored: what the file has of it, None for a new one.
    """

    def __init__(self, number: int, network: str, terms: BookTerms, stored: StoredBook | None = None) -> None:
        self.id, self.network, self.terms = number, network, terms
        self.channel = channel_of(terms)
        self.book = Book() if stored is None else _KeptBook(stored, self.channel.id)
        self.stored = stored is not None
        """Whether the file has its terms."""
        self.durable: Boundary = self.book.boundary()
        """The newest boundary that is safe here: only that may be signed."""
        self.objection = "" if stored is None else stored.objection
        """Why no leaf is taken any more."""
        self.evidence = "" if stored is None else stored.evidence
        self.head_size = 0
        """Leaves under the last head signed on the present stream."""
        self.head_s = 0.0
        """When that was, or the book had its first leaves to sign; monotonic seconds."""
        self.early: VoucherGiven | None = None
        """A voucher that is for more leaves than have come."""
        self.voucher_signature = b"" if stored is None or stored.voucher is None else stored.voucher.signature

    @property
    def paid_tasks(self) -> int:
        """Leaves that the newest voucher covers."""
        return 0 if self.book.voucher is None else self.book.voucher.tasks

    @property
    def claim(self) -> SignedClaim | None:
        """Return the newest voucher as the contract takes it, None before the first."""
        voucher = self.book.voucher
        if voucher is None:
            return None
        return SignedClaim(self.channel, SignedVoucher(voucher, self.voucher_signature))

    @property
    def units_per_credit(self) -> int:
        """Units of the token in a credit; 1 where the domain is unknown, and with it nothing promised."""
        return 1 if self.terms.domain is None else self.terms.domain.units_per_credit

    @property
    def domain(self) -> Domain | None:
        """Return where signatures of this book count; None where nothing can be signed or paid."""
        known = self.terms.domain
        if known is None or NO_ADDRESS in (self.channel.payer, self.channel.provider, self.channel.signer):
            return None
        return Domain(known.chain_id, Address(known.contract), known.network)

    @property
    def signable(self) -> bool:
        """Tell whether there is something durable that no voucher covers and no head of this stream names."""
        return self.durable.size > max(self.paid_tasks, self.head_size)

    def unpaid_nano(self, covered_units: int | None = None) -> int:
        """Return what is owed beyond the newest voucher, in nano-credits."""
        return self.book.unpaid_nano(self.units_per_credit, covered_units)

    def take(self, given: VoucherGiven) -> bool:
        """Take a voucher; tells whether it is newer than the last one.

        Raises:
            Conflict: no batch ends where it does.
            InvalidSignature: it is not the signer's for this domain, over another tree, or promises too little.
        """
        domain = self.domain
        if domain is None:
            raise InvalidSignature("a voucher came for a book that has no domain or lacks an account")
        voucher = Voucher(self.channel.id, given.cumulative, given.tasks, given.root)
        if given.tasks <= self.paid_tasks:
            return False
        check_voucher(domain, SignedVoucher(voucher, given.signature), self.channel.signer)
        before = self.book.voucher
        if before is not None and before.cumulative > given.cumulative:
            raise InvalidSignature(
                f"the voucher promises {given.cumulative} units; the one before it {before.cumulative}"
            )
        taken = self.book.take(voucher, self.units_per_credit)
        if taken:
            self.voucher_signature = given.signature
        return taken

    def terms_problem(self, terms: BookTerms) -> str | None:
        """Return what is wrong with terms that came again; None where they go on with this book."""
        mine = self.terms
        for what in ("organisation", "payer", "provider", "signer", "salt"):
            if getattr(mine, what) != getattr(terms, what):
                return f"the hub changed the {what} of book {terms.book}"
        if None not in (mine.domain, terms.domain) and mine.domain != terms.domain:
            return f"the hub changed the domain of book {terms.book} from {mine.domain} to {terms.domain}"
        if terms.size < self.durable.size:
            return (
                f"the hub has {terms.size} leaves of book {terms.book} and sent {self.durable.size}: it has dropped "
                "some, or started its book anew"
            )
        return None


def channel_of(terms: BookTerms) -> Channel:
    """Return a book's channel."""
    return Channel(Address(terms.payer), Address(terms.provider), Address(terms.signer), terms.salt)


def restored(stored: Iterable[StoredBook]) -> list[NodeBook]:
    """Return the books of a file."""
    return [NodeBook(one.id, one.network, one.terms, one) for one in stored]
