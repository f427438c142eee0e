"""Messages about books: round trip, and refusal of everything that cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.wire import books
from farlane.wire.limits import MAX_INTEGER, MAX_MESSAGE_BYTES
from farlane.wire.v1 import node_pb2

LEAF = 236
NUMBERS = st.integers(0, MAX_INTEGER)
HASHES = st.binary(min_size=32, max_size=32)
SIGNATURES = st.binary(min_size=65, max_size=65)
ADDRESSES = st.from_regex(r"0x[0-9a-fA-F]{40}", fullmatch=True)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
DOMAINS = st.builds(
    books.LedgerDomain,
    st.integers(1, MAX_INTEGER),
    ADDRESSES,
    st.binary(min_size=1, max_size=32).map(bytes.hex),
    st.integers(1, books.MAX_UNITS_PER_CREDIT),
)
ACCOUNTS = st.builds(books.NodeAccount, ADDRESSES, ADDRESSES, NUMBERS, SIGNATURES | st.just(b""))
MARKS = st.lists(
    st.builds(books.BookMark, NUMBERS, st.integers(7, MAX_INTEGER), HASHES, st.integers(0, 7)),
    unique_by=lambda mark: mark.book,
    max_size=4,
)
TERMS = st.builds(
    books.BookTerms, NUMBERS, NAMES, ADDRESSES, ADDRESSES, ADDRESSES, HASHES, NUMBERS, st.none() | DOMAINS
)
LEAVES = st.builds(
    books.LeavesAppended,
    NUMBERS,
    NUMBERS,
    st.lists(st.binary(min_size=LEAF, max_size=LEAF), min_size=1, max_size=4),
)
HEADS = st.builds(books.HeadSigned, NUMBERS, NUMBERS, HASHES, SIGNATURES)
VOUCHERS = st.builds(books.VoucherGiven, NUMBERS, NUMBERS, st.integers(0, 2**96 - 1), HASHES, SIGNATURES)
CREDITS = st.builds(books.CreditState, NAMES, st.booleans(), NAMES | st.just(""))

ADDRESS = "0x" + "aB" * 20
HASH, SIGNATURE = b"h" * 32, b"s" * 65
DOMAIN = books.LedgerDomain(31337, ADDRESS, "ab" * 16, 10**6)


def through(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


@settings(deadline=None)
@given(ACCOUNTS, MARKS)
def test_account_and_marks_survive_the_wire(account: books.NodeAccount, marks: list[books.BookMark]) -> None:
    hello = node_pb2.NodeHello(account=books.account_to_wire(account), books=books.marks_to_wire(marks))
    received = through(hello)
    assert books.account_from_wire(received) == account
    assert books.marks_from_wire(received) == {mark.book: mark for mark in marks}


def test_a_hello_without_an_account_has_none() -> None:
    assert books.account_from_wire(node_pb2.NodeHello()) is None
    assert books.marks_from_wire(node_pb2.NodeHello()) == {}


@settings(deadline=None)
@given(TERMS)
def test_terms_survive_the_wire(terms: books.BookTerms) -> None:
    assert books.terms_from_wire(through(books.terms_to_wire(terms))) == terms


@settings(deadline=None)
@given(LEAVES)
def test_leaves_survive_the_wire(appended: books.LeavesAppended) -> None:
    assert books.leaves_from_wire(through(books.leaves_to_wire(appended)), LEAF) == appended


@settings(deadline=None)
@given(HEADS, VOUCHERS, CREDITS)
def test_heads_vouchers_and_credit_survive_the_wire(
    head: books.HeadSigned, voucher: books.VoucherGiven, credit: books.CreditState
) -> None:
    assert books.head_from_wire(through(books.head_to_wire(head))) == head
    assert books.voucher_from_wire(through(books.voucher_to_wire(voucher))) == voucher
    assert books.credit_from_wire(through(books.credit_to_wire(credit))) == credit


def test_the_largest_batch_of_leaves_fits_one_message() -> None:
    largest = books.LeavesAppended(MAX_INTEGER, MAX_INTEGER, [bytes(LEAF)] * books.MAX_LEAVES)
    message = node_pb2.NodeCommand(leaves=books.leaves_to_wire(largest))
    assert message.ByteSize() < MAX_MESSAGE_BYTES


def test_a_long_reason_loses_its_end() -> None:
    sent = books.credit_to_wire(books.CreditState("lab", True, "x" * 5000))
    assert books.credit_from_wire(sent).reason == "x" * books.MAX_REASON_CHARS


def test_a_number_that_cannot_travel_is_refused_before_it_does() -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        books.head_to_wire(books.HeadSigned(-1, 0, HASH, SIGNATURE))


def hello(**fields: Any) -> node_pb2.NodeHello:
    account = {"key": ADDRESS, "provider": ADDRESS, **fields}
    return node_pb2.NodeHello(account=node_pb2.NodeAccount(**account))


def marks(*given: node_pb2.BookMark) -> node_pb2.NodeHello:
    return node_pb2.NodeHello(books=given)


def mark(**fields: Any) -> node_pb2.BookMark:
    return node_pb2.BookMark(**{"book": 1, "size": 3, "root": HASH, "tasks": 2, **fields})


def terms(**fields: Any) -> node_pb2.BookTerms:
    good = books.BookTerms(1, "lab", ADDRESS, ADDRESS, ADDRESS, HASH, 0, DOMAIN)
    message = books.terms_to_wire(good)
    message.MergeFrom(node_pb2.BookTerms(**fields))
    return message


def domain(**fields: Any) -> node_pb2.BookTerms:
    return terms(domain=node_pb2.LedgerDomain(**fields))


def leaves(data: bytes) -> node_pb2.LeavesAppended:
    return node_pb2.LeavesAppended(book=1, first=0, leaves=data)


def head(**fields: Any) -> node_pb2.HeadSigned:
    return node_pb2.HeadSigned(**{"book": 1, "size": 1, "root": HASH, "signature": SIGNATURE, **fields})


def voucher(**fields: Any) -> node_pb2.VoucherGiven:
    good = {"book": 1, "tasks": 1, "cumulative": b"\1", "root": HASH, "signature": SIGNATURE}
    return node_pb2.VoucherGiven(**{**good, **fields})


def read_leaves(message: node_pb2.LeavesAppended) -> books.LeavesAppended:
    return books.leaves_from_wire(message, LEAF)


@pytest.mark.parametrize(
    ("read", "message", "complaint"),
    [
        (books.account_from_wire, hello(key="0x12"), "node's key is '0x12'"),
        (books.account_from_wire, hello(provider=""), "node's provider is ''"),
        (books.account_from_wire, hello(provider=ADDRESS + "\n"), "node's provider"),
        (books.account_from_wire, hello(signature=b"short"), "delegation's signature has 5 bytes"),
        (books.account_from_wire, hello(expires=2**64 - 1), "end of the delegation"),
        (books.marks_from_wire, marks(mark(), mark()), "marks a book twice"),
        (books.marks_from_wire, marks(mark(root=b"")), "root of a mark has 0 bytes"),
        (books.marks_from_wire, marks(mark(tasks=4)), "tasks of a mark's voucher is 4; expected 0 to 3"),
        (books.marks_from_wire, marks(mark(size=2**63)), "size of a mark"),
        (books.terms_from_wire, terms(payer="bank"), "payer is 'bank'"),
        (books.terms_from_wire, terms(salt=b"1"), "salt has 1 bytes"),
        (books.terms_from_wire, terms(organisation="x" * 201), "has 201 characters"),
        (books.terms_from_wire, terms(size=2**63), "size of a book"),
        (books.terms_from_wire, node_pb2.BookTerms(book=1), "organisation of a book is missing"),
        (books.terms_from_wire, domain(network="zz"), "'zz' is not a network's id"),
        (books.terms_from_wire, domain(network="a" * 66), "not a network's id"),
        (books.terms_from_wire, domain(contract="0x"), "contract of a ledger"),
        (books.terms_from_wire, domain(chain_id=2**63), "id of a chain"),
        (books.terms_from_wire, domain(units_per_credit=10**19), "units of the token"),
        (read_leaves, leaves(b""), "0 bytes of leaves"),
        (read_leaves, leaves(bytes(LEAF + 1)), "237 bytes of leaves"),
        (books.head_from_wire, head(root=b"r"), "root of a tree head has 1 bytes"),
        (books.head_from_wire, head(signature=b"s" * 64), "signature of a tree head has 64 bytes"),
        (books.head_from_wire, head(book=2**63), "number of a book"),
        (books.voucher_from_wire, voucher(cumulative=bytes(13)), "amount of a voucher has 13 bytes"),
        (books.voucher_from_wire, voucher(root=b""), "root of a voucher"),
        (books.voucher_from_wire, voucher(tasks=2**63), "tasks of a voucher"),
        (books.credit_from_wire, node_pb2.CreditState(stopped=True), "organisation whose credit changed"),
        (
            books.credit_from_wire,
            node_pb2.CreditState(organisation="lab", reason="x" * 1025),
            "1025 characters",
        ),
    ],
)
def test_what_cannot_be_is_refused(read: Callable[[Any], object], message: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint) as refused:
        read(through(message))
    assert isinstance(refused.value, FarlaneError)


def test_more_than_the_cap_is_refused() -> None:
    with pytest.raises(TooLarge, match="at most 16384"):
        read_leaves(leaves(bytes(LEAF * (books.MAX_LEAVES + 1))))
    with pytest.raises(InvalidInput, match="10001 marks of books"):
        books.marks_from_wire(marks(*(mark(book=number) for number in range(10_001))))
