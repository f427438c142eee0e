"""Bookkeeping: the records of who owes whom for which work, beside those of the work itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from farlane.domain.ids import JobId, NodeId


@dataclass(frozen=True, slots=True)
class BookOpened:
    """A book was opened between an organisation and a node: one channel, one append-only tree of leaves.

    A later book between the same two takes its place. payer, provider, signer: addresses as EIP-55 writes them;
    salt: 32 bytes; node_organisation: whose machine it is.
    """

    book: int
    organisation: str
    node: NodeId
    node_organisation: str
    payer: str
    provider: str
    signer: str
    salt: bytes
    at: float


@dataclass(frozen=True, slots=True)
class LeavesBooked:
    """Leaves `first .. first + len(leaves) - 1` were added to a book, all of one job.

    leaves: packed, all of one length; frontier, owed_nano: the book behind them; lease_ms and spent (nano-credits)
    are sums over them; statements: what replicas have served, by row, packed (`farlane.ledger.statement`).
    """

    book: int
    first: int
    leaves: list[bytes]
    job: JobId
    organisation: str
    project: str
    publisher: str
    node: NodeId
    node_organisation: str
    at: float
    lease_ms: int
    spent: int
    owed_nano: int
    frontier: bytes
    statements: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VoucherSigned:
    """The node signed the tree's head at `tasks` leaves and the payer's session key answered with a voucher.

    cumulative: units of the token, at most 96 bits; node_key: who signed the head; delegation and its signature let
    that key sign for the provider until `expires` (0 and empty where key and provider are one).
    """

    book: int
    tasks: int
    cumulative: int
    root: bytes
    signature: bytes
    head_signature: bytes
    node_key: str
    expires: int
    delegation_signature: bytes
    at: float


BookRecord = BookOpened | LeavesBooked | VoucherSigned


@dataclass(frozen=True, slots=True)
class BookState:
    """A book as its last records leave it; frontier and owed_nano are empty and 0 before the first leaf."""

    opened: BookOpened
    frontier: bytes
    owed_nano: int
    voucher: VoucherSigned | None
