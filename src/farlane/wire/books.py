"""What hub and node say of their books, to and from the wire: accounts, terms, leaves, heads, vouchers and credit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from farlane.errors import InvalidInput
from farlane.wire import limits
from farlane.wire.v1 import node_pb2

MAX_LEAVES = 16_384
"""Leaves of one message: with 236 bytes each they stay below the cap of a message."""
MAX_MARKS = 10_000
"""Books a hello may name."""
MAX_REASON_CHARS = 1024
MAX_STATEMENT_BYTES = 256
HASH_BYTES = 32
SIGNATURE_BYTES = 65
CUMULATIVE_BYTES = 12
"""Amounts of a channel are uint96 in the contract."""
MAX_UNITS_PER_CREDIT = 10**18
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NETWORK = re.compile(r"(?:[0-9a-fA-F]{2}){1,32}")


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """Who a node is on the ledger; addresses as EIP-55 writes them.

    key: signs tree heads; provider: is paid; expires, signature: the delegation that lets one sign for the other
    until then (unix seconds), 0 and empty where the two are one.
    """

    key: str
    provider: str
    expires: int = 0
    signature: bytes = b""


@dataclass(frozen=True, slots=True)
class BookMark:
    """What a node has of a book: leaves, their root, and how many of them its newest voucher covers."""

    book: int
    size: int
    root: bytes
    tasks: int


@dataclass(frozen=True, slots=True)
class LedgerDomain:
    """Where signatures count, and units of the token that make one credit; network: hex digits."""

    chain_id: int
    contract: str
    network: str
    units_per_credit: int


@dataclass(frozen=True, slots=True)
class BookTerms:
    """A book the hub keeps with this node: its channel, and how many leaves the hub has of it.

    domain: None until the hub knows it; no heads are signed before.
    """

    book: int
    organisation: str
    payer: str
    provider: str
    signer: str
    salt: bytes
    size: int
    domain: LedgerDomain | None


@dataclass(frozen=True, slots=True)
class LeavesAppended:
    """Packed leaves `first` and after of a book; statements: what replicas have served, packed, by row."""

    book: int
    first: int
    leaves: Sequence[bytes]
    statements: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeadSigned:
    """The node's signature over a book's first `size` leaves."""

    book: int
    size: int
    root: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class VoucherGiven:
    """The session key's promise of `cumulative` units for a book's first `tasks` leaves."""

    book: int
    tasks: int
    cumulative: int
    root: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class CreditState:
    """A node takes no more work of an organisation, and why; or it does again."""

    organisation: str
    stopped: bool
    reason: str = ""


def account_to_wire(account: NodeAccount) -> node_pb2.NodeAccount:
    """Return a node's account as it travels."""
    with limits.sendable("the node's account"):
        return node_pb2.NodeAccount(
            key=account.key, provider=account.provider, expires=account.expires, signature=account.signature
        )


def account_from_wire(hello: node_pb2.NodeHello) -> NodeAccount | None:
    """Read who a node is on the ledger; None where it has no account.

    Raises:
        InvalidInput: what it says is no account.
    """
    return account_of(hello.account) if hello.HasField("account") else None


def account_of(message: node_pb2.NodeAccount) -> NodeAccount:
    """Read an account; raises as `account_from_wire`."""
    if message.signature:
        _exactly("the delegation's signature", message.signature, SIGNATURE_BYTES)
    return NodeAccount(
        _address("the node's key", message.key),
        _address("the node's provider", message.provider),
        _number("the end of the delegation", message.expires),
        message.signature,
    )


def marks_to_wire(marks: Iterable[BookMark]) -> list[node_pb2.BookMark]:
    """Return what a node has of its books as it travels."""
    with limits.sendable("the marks of a node's books"):
        return [
            node_pb2.BookMark(book=mark.book, size=mark.size, root=mark.root, tasks=mark.tasks)
            for mark in marks
        ]


def marks_from_wire(hello: node_pb2.NodeHello) -> dict[int, BookMark]:
    """Read what a node has of its books, by book.

    Raises:
        InvalidInput: too many, one twice, or a mark that cannot be.
    """
    limits.at_most("marks of books in a node's hello", hello.books, MAX_MARKS)
    marks = {message.book: _mark(message) for message in hello.books}
    if len(marks) != len(hello.books):
        raise InvalidInput("a node's hello marks a book twice; expected each book once")
    return marks


def terms_to_wire(terms: BookTerms) -> node_pb2.BookTerms:
    """Return a book's terms as they travel."""
    with limits.sendable("the terms of a book"):
        return node_pb2.BookTerms(
            book=terms.book, organisation=terms.organisation, payer=terms.payer, provider=terms.provider,
            signer=terms.signer, salt=terms.salt, size=terms.size, domain=_domain_to_wire(terms.domain),
        )  # fmt: skip


def terms_from_wire(message: node_pb2.BookTerms) -> BookTerms:
    """Read a book's terms.

    Raises:
        InvalidInput: an address, salt, domain or number that is none.
    """
    return BookTerms(
        book=_number("the number of a book", message.book),
        organisation=limits.text(
            "organisation of a book", message.organisation, limits.MAX_NAME_CHARS, required=True
        ),
        payer=_address("a book's payer", message.payer),
        provider=_address("a book's provider", message.provider),
        signer=_address("a book's signer", message.signer),
        salt=_exactly("a book's salt", message.salt, HASH_BYTES),
        size=_number("the size of a book", message.size),
        domain=_domain_from_wire(message.domain) if message.HasField("domain") else None,
    )


def leaves_to_wire(appended: LeavesAppended) -> node_pb2.LeavesAppended:
    """Return appended leaves as they travel."""
    rows = sorted(appended.statements)
    with limits.sendable("leaves of a book"):
        return node_pb2.LeavesAppended(
            book=appended.book, first=appended.first, leaves=b"".join(appended.leaves), statement_rows=rows,
            statements=[appended.statements[row] for row in rows],
        )  # fmt: skip


def leaves_from_wire(message: node_pb2.LeavesAppended, leaf_bytes: int) -> LeavesAppended:
    """Read appended leaves of `leaf_bytes` each.

    Raises:
        InvalidInput: none, a part of one, or statements that belong to none.
        TooLarge: more than `MAX_LEAVES`.
    """
    joined = message.leaves
    count, rest = divmod(len(joined), leaf_bytes)
    if rest or not count:
        raise InvalidInput(
            f"{len(joined)} bytes of leaves; expected a multiple of {leaf_bytes}, at least one leaf"
        )
    if count > MAX_LEAVES:
        raise limits.too_many_rows("a batch of leaves", count, MAX_LEAVES)
    leaves = [joined[at : at + leaf_bytes] for at in range(0, len(joined), leaf_bytes)]
    return LeavesAppended(
        _number("the number of a book", message.book),
        _number("the first leaf of a batch", message.first),
        leaves,
        _statements(message, count),
    )


def head_to_wire(head: HeadSigned) -> node_pb2.HeadSigned:
    """Return a signed head as it travels."""
    with limits.sendable("a tree head"):
        return node_pb2.HeadSigned(book=head.book, size=head.size, root=head.root, signature=head.signature)


def head_from_wire(message: node_pb2.HeadSigned) -> HeadSigned:
    """Read a signed head; whose signature it is has to be checked.

    Raises:
        InvalidInput: its root or signature has another length, or a number cannot be.
    """
    return HeadSigned(
        _number("the number of a book", message.book),
        _number("the size of a tree head", message.size),
        _exactly("the root of a tree head", message.root, HASH_BYTES),
        _exactly("the signature of a tree head", message.signature, SIGNATURE_BYTES),
    )


def voucher_to_wire(voucher: VoucherGiven) -> node_pb2.VoucherGiven:
    """Return a voucher as it travels."""
    with limits.sendable("a voucher"):
        return node_pb2.VoucherGiven(
            book=voucher.book,
            tasks=voucher.tasks,
            cumulative=voucher.cumulative.to_bytes(CUMULATIVE_BYTES, "big"),
            root=voucher.root,
            signature=voucher.signature,
        )


def voucher_from_wire(message: node_pb2.VoucherGiven) -> VoucherGiven:
    """Read a voucher; whose signature it is has to be checked.

    Raises:
        InvalidInput: a root, signature or amount of another length, or a number that cannot be.
    """
    if len(message.cumulative) > CUMULATIVE_BYTES:
        raise InvalidInput(
            f"the amount of a voucher has {len(message.cumulative)} bytes; expected at most {CUMULATIVE_BYTES}"
        )
    return VoucherGiven(
        _number("the number of a book", message.book),
        _number("the tasks of a voucher", message.tasks),
        int.from_bytes(message.cumulative, "big"),
        _exactly("the root of a voucher", message.root, HASH_BYTES),
        _exactly("the signature of a voucher", message.signature, SIGNATURE_BYTES),
    )


def credit_to_wire(state: CreditState) -> node_pb2.CreditState:
    """Return a credit state as it travels; a long reason loses its end."""
    with limits.sendable("the credit of an organisation"):
        return node_pb2.CreditState(
            organisation=state.organisation, stopped=state.stopped, reason=state.reason[:MAX_REASON_CHARS]
        )


def credit_from_wire(message: node_pb2.CreditState) -> CreditState:
    """Read a credit state.

    Raises:
        InvalidInput: no organisation, or a text that is too long.
    """
    organisation = limits.text(
        "organisation whose credit changed", message.organisation, limits.MAX_NAME_CHARS, required=True
    )
    reason = limits.text("reason of a credit state", message.reason, MAX_REASON_CHARS)
    return CreditState(organisation, message.stopped, reason)


def _statements(message: node_pb2.LeavesAppended, count: int) -> dict[int, bytes]:
    rows = list(message.statement_rows)
    if len(rows) != len(message.statements) or sorted(set(rows)) != rows or any(row >= count for row in rows):
        raise InvalidInput(
            f"{len(message.statements)} statements of what was served for rows {str(rows)[:60]} of {count} leaves; "
            "expected one for each row, in order"
        )
    if any(len(raw) > MAX_STATEMENT_BYTES for raw in message.statements):
        raise InvalidInput(f"a statement of what was served has more than {MAX_STATEMENT_BYTES} bytes")
    return dict(zip(rows, message.statements, strict=True))


def _mark(message: node_pb2.BookMark) -> BookMark:
    size = _number("the size of a mark", message.size)
    root = _exactly("the root of a mark", message.root, HASH_BYTES)
    tasks = limits.integer("the tasks of a mark's voucher", message.tasks, 0, size)
    return BookMark(_number("the number of a book", message.book), size, root, tasks)


def _domain_to_wire(domain: LedgerDomain | None) -> node_pb2.LedgerDomain | None:
    if domain is None:
        return None
    return node_pb2.LedgerDomain(
        chain_id=domain.chain_id,
        contract=domain.contract,
        network=domain.network,
        units_per_credit=domain.units_per_credit,
    )


def _domain_from_wire(message: node_pb2.LedgerDomain) -> LedgerDomain:
    if not _NETWORK.fullmatch(message.network):
        raise InvalidInput(f"{message.network[:40]!r} is not a network's id; expected up to 64 hex digits")
    return LedgerDomain(
        limits.integer("the id of a chain", message.chain_id, 1, limits.MAX_INTEGER),
        _address("the contract of a ledger", message.contract),
        message.network,
        limits.integer("units of the token in a credit", message.units_per_credit, 1, MAX_UNITS_PER_CREDIT),
    )


def _number(what: str, value: int) -> int:
    return limits.integer(what, value, 0, limits.MAX_INTEGER)


def _address(what: str, value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise InvalidInput(f"{what} is {value[:60]!r}; expected an address: 0x and 40 hex digits")
    return value


def _exactly(what: str, value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise InvalidInput(f"{what} has {len(value)} bytes; expected {length}")
    return value
