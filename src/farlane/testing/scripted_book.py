"""A hub's side of one book, honest until a test makes it otherwise: leaves, messages and vouchers with real keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from farlane.domain.billing import meter
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import TaskId
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GpuKind
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.books import Book
from farlane.ledger.leaf import NONE, Outcome
from farlane.ledger.leaf_maker import LeafMaker, payload_digest
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, SignedHead, TreeHead, Voucher, check_head, sign_voucher
from farlane.wire import books as wire
from farlane.wire.v1 import node_pb2

NETWORK = "ab" * 16
DOMAIN = Domain(31337, Address("0x" + "11" * 20), NETWORK)
UNITS_PER_CREDIT = 10**9
ENDED_MS = 1_750_000_000_000


@dataclass(slots=True)
class ScriptedBook:
    """One book with one node.

    provider: whom the node wants to be paid; signer: the session key; domain: None while the hub knows none.
    """

    provider: Address
    number: int = 1
    organisation: str = "lab"
    domain: Domain | None = DOMAIN
    signer: PrivateKey = field(default_factory=PrivateKey.generate)
    payer: Address = field(default_factory=lambda: PrivateKey.generate().address)
    salt: bytes = b""
    book: Book = field(default_factory=Book)

    def __post_init__(self) -> None:
        self.salt = self.salt or self.number.to_bytes(32, "big")

    @property
    def channel(self) -> Channel:
        """Its channel."""
        return Channel(self.payer, self.provider, self.signer.address, self.salt)

    def terms(self, **changes: object) -> node_pb2.BookTerms:
        """Return its terms as they travel."""
        domain = self.domain
        known = None
        if domain is not None:
            known = wire.LedgerDomain(domain.chain_id, domain.contract, domain.network, UNITS_PER_CREDIT)
        terms = wire.BookTerms(
            self.number, self.organisation, self.payer, self.provider, self.signer.address, self.salt,
            self.book.size, known,
        )  # fmt: skip
        return wire.terms_to_wire(replace(terms, **changes))  # type: ignore[arg-type]

    def append(self, *leaves: bytes) -> node_pb2.LeavesAppended:
        """Add leaves to the hub's side; returns the message that brings them."""
        first = self.book.size
        self.book.append(leaves)
        return self.message(first, leaves)

    def message(self, first: int, leaves: Sequence[bytes]) -> node_pb2.LeavesAppended:
        """Return leaves as they travel, whatever the hub's side has."""
        return wire.leaves_to_wire(wire.LeavesAppended(self.number, first, leaves))

    def answer(
        self, head: node_pb2.HeadSigned, node_key: Address, *, signer: PrivateKey | None = None,
        domain: Domain | None = None, less: int = 0,
    ) -> node_pb2.VoucherGiven:  # fmt: skip
        """Check a head as a hub does; return the voucher for it.

        Args:
            head: what the node signed.
            node_key: who must have.
            signer: sign with another key.
            domain: sign for another network.
            less: promise so many units less.

        Raises:
            Conflict, InvalidSignature: the head is not one of this book.
        """
        found = wire.head_from_wire(head)
        assert self.domain is not None
        check_head(
            self.domain,
            SignedHead(TreeHead(self.channel.id, found.size, found.root), found.signature),
            node_key,
        )
        promise = self.book.promise(self.channel.id, found.size, found.root, UNITS_PER_CREDIT)
        if promise is None:
            assert self.book.voucher is not None
            promise = self.book.voucher
        self.book.give(promise)
        promise = Voucher(promise.channel, promise.cumulative - less, promise.tasks, promise.root)
        signed = sign_voucher(domain or self.domain, signer or self.signer, promise)
        return wire.voucher_to_wire(
            wire.VoucherGiven(self.number, promise.tasks, promise.cumulative, promise.root, signed.signature)
        )


def a_leaf(
    task: TaskId, spec: JobSpec, rates: RateVector, *, payload: bytes = b"", result: bytes = b"",
    lease_ms: int = 1, failure: FailureKind | None = None, outcome: Outcome | None = None,
    amount_nano: int | None = None, gpu: GpuKind | None = None,
) -> bytes:  # fmt: skip
    """Return the leaf of a function's first attempt, as a hub writes it."""
    price = meter(rates, spec, gpu)
    paid = failure is None or Failure(failure, "").rule.paid
    if amount_nano is None:
        asked = price.charge_ceiling(lease_ms, len(payload) + len(result))
        amount_nano = min(price.reserve_ceiling(len(payload)), asked) if paid else 0
    how = outcome if outcome is not None else Outcome.DONE if failure is None else Outcome.FAILED
    return LeafMaker(spec, rates, gpu).pack(
        task, 1, how, None if failure is None else Failure(failure, ""), payload_digest(payload, None),
        NONE if failure is not None else payload_digest(result, None), lease_ms, amount_nano, ENDED_MS,
    )  # fmt: skip


def a_part(
    task: TaskId,
    spec: JobSpec,
    rates: RateVector,
    part: int,
    *,
    payload: bytes = b"",
    before_ms: int,
    lease_ms: int,
) -> bytes:
    """Return an interim leaf of a function's first attempt, as a hub writes it; `before_ms` was booked before it."""
    price = meter(rates, spec)
    most = price.reserve_ceiling(len(payload))
    before, after = (min(most, price.charge_ceiling(ms, 0)) for ms in (before_ms, before_ms + lease_ms))
    return LeafMaker(spec, rates).pack(
        task,
        1,
        Outcome.INTERIM,
        None,
        payload_digest(payload, None),
        NONE,
        lease_ms,
        after - before,
        ENDED_MS,
        part,
    )
