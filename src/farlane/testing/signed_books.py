"""Books with genuine signatures: records for a store, and the same as a public record, from keys that tests know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from farlane.domain.bookkeeping import BookOpened, BookRecord, LeavesBooked, VoucherSigned
from farlane.domain.ids import JobId, NodeId, TaskId, task_id
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.books import Book
from farlane.ledger.leaf import NONE, Leaf, pack
from farlane.ledger.record import Entry, RecordBook, RecordHeader, RecordLeaves, RecordVoucher
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    Channel,
    Delegation,
    TreeHead,
    delegation_digest,
    sign_head,
    sign_voucher,
)

START_S = 1_800_000_000
UNITS_PER_CREDIT = 10**9


def a_key(number: int) -> PrivateKey:
    """Return a key that every run knows."""
    return PrivateKey.from_bytes(sha256(b"farlane test key %d" % number).digest())


def a_leaf(task: TaskId, attempt: int = 1, **changes: int | bytes) -> Leaf:
    """Return the leaf of a task that was done in a second and a half."""
    values: dict[str, int | bytes] = {
        "copy": 0, "part": 0, "outcome": 0, "failure": 0, "blame": 0, "spec": b"\1" * 32, "model": NONE,
        "input": b"\2" * 32, "output": b"\3" * 32, "gpu": NONE, "cpu_milli": 1000, "memory_bytes": 1 << 30,
        "disk_bytes": 0, "gpu_count": 0, "lease_ms": 1500, "hourly_nano": 20_000_000, "amount_nano": 8334,
        "ended_ms": START_S * 1000,
    }  # fmt: skip
    return Leaf(task=task, attempt=attempt, **(values | changes))  # type: ignore[arg-type]  # by their names


@dataclass(slots=True)
class SignedBook:
    """One book whose keys are all here; every batch of leaves is one job.

    delegated: the node signs with a key of its own, for which the provider stands.
    """

    number: int
    domain: Domain
    payer: PrivateKey
    provider: PrivateKey
    session: PrivateKey
    node: PrivateKey
    units_per_credit: int = UNITS_PER_CREDIT
    book: Book = field(default_factory=Book)
    records: list[BookRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Open it."""
        self.records.append(
            BookOpened(
                self.number, "lab", NodeId(f"n{self.number}"), "lab", self.payer.address, self.provider.address,
                self.session.address, self.channel.salt, float(START_S),
            )
        )  # fmt: skip

    @property
    def channel(self) -> Channel:
        """Its channel."""
        salt = sha256(b"salt %d" % self.number).digest()
        return Channel(self.payer.address, self.provider.address, self.session.address, salt)

    def add(self, leaves: list[Leaf], job: JobId) -> None:
        """Book leaves of one job."""
        first, packed = self.book.size, [pack(leaf) for leaf in leaves]
        self.book.append(packed)
        self.records.append(
            LeavesBooked(
                self.number, first, packed, job, "lab", "", "lab/ada", NodeId(f"n{self.number}"), "lab",
                float(START_S), sum(leaf.lease_ms for leaf in leaves), sum(leaf.amount_nano for leaf in leaves),
                self.book.owed_nano, self.book.frontier.to_bytes(),
            )
        )  # fmt: skip

    def sign(self) -> VoucherSigned:
        """Sign head and voucher over all leaves so far."""
        boundary, channel = self.book.boundary(), self.channel
        voucher = self.book.promise(channel.id, boundary.size, boundary.root, self.units_per_credit)
        assert voucher is not None, "nothing new to sign"
        head = sign_head(self.domain, self.node, TreeHead(channel.id, boundary.size, boundary.root))
        expires, delegation_signature = 0, b""
        if self.node.address != self.provider.address:
            expires = START_S + 86_400
            delegation = Delegation(self.provider.address, self.node.address, expires)
            delegation_signature = self.provider.sign(delegation_digest(self.domain, delegation))
        self.book.give(voucher)
        signed = VoucherSigned(
            self.number, voucher.tasks, voucher.cumulative, voucher.root,
            sign_voucher(self.domain, self.session, voucher).signature, head.signature, self.node.address, expires,
            delegation_signature, float(START_S),
        )  # fmt: skip
        self.records.append(signed)
        return signed


def signed_book(number: int, domain: Domain, *, delegated: bool = True) -> SignedBook:
    """Return an open book with keys of its own."""
    payer, provider, session, node = (a_key(10 * number + role) for role in range(4))
    return SignedBook(number, domain, payer, provider, session, node if delegated else provider)


def filled_book(
    number: int, domain: Domain, batches: int = 3, rows: int = 4, *, delegated: bool = True
) -> SignedBook:
    """Return a book of some batches of `rows` tasks, each with its voucher; job ids are 100 x number and after."""
    found = signed_book(number, domain, delegated=delegated)
    for batch in range(batches):
        job = JobId(100 * number + batch)
        found.add([a_leaf(task_id(job, row)) for row in range(rows)], job)
        found.sign()
    return found


def record_of(header: RecordHeader, *books: SignedBook) -> Iterator[Entry]:
    """Yield the public record of books whose vouchers each stand right behind their leaves."""
    yield header
    for book in books:
        yield RecordBook(book.number, book.channel)
        for record in book.records:
            if isinstance(record, LeavesBooked):
                yield RecordLeaves(record.book, record.first, record.leaves)
            elif isinstance(record, VoucherSigned):
                yield RecordVoucher(
                    record.book, record.tasks, record.cumulative, record.root, record.signature,
                    record.head_signature, record.node_key, record.expires, record.delegation_signature,
                )  # fmt: skip
