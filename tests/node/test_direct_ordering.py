"""The desk of direct calls, pure: what one payer may owe, over all its channels and in any order of events."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.jobs import CommandWork, JobSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, Resources
from farlane.errors import Conflict, Exhausted, FarlaneError, InsufficientFunds, InvalidSignature, NotFound
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.books import Boundary
from farlane.ledger.direct_leaf import Tariff
from farlane.ledger.port import ChannelState
from farlane.ledger.tree import Frontier
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher, sign_voucher
from farlane.node.direct.book_store import DirectBook
from farlane.node.direct.ordering import OrderDesk, TakenOrder
from farlane.node.direct.settings import DirectSettings
from farlane.wire.compute import ChannelFields, TaskOrder, VoucherFields

DOMAIN = Domain(1, Address("0x" + "c" * 40), "ab" * 16)
ONE = Address("0x" + "1" * 40)
SIGNER = PrivateKey.from_bytes(b"\1" * 32)
CHANNELS = [Channel(ONE, ONE, SIGNER.address, bytes([number]) * 32) for number in range(3)]
RESERVE, CREDIT, TASKS = 100, 350, 2
RATES = RateVector(1)
SPEC = JobSpec(name="d", command=CommandWork("true"), resources=Resources(1, 1, 0))
DESK = OrderDesk(
    DirectSettings(frozenset({ONE}), credit_nano=CREDIT, tasks=TASKS), DOMAIN, ONE, RATES,
    Capacity(1000, GIB, GIB), 10**9,
)  # fmt: skip


def taken(channel: Channel, place: int) -> TakenOrder:
    fields = ChannelFields(ONE, ONE, SIGNER.address, channel.salt)
    order = TaskOrder(fields, "t", SPEC, {}, place, RESERVE, bytes(65))
    return TakenOrder(order, channel, bytes(32), Tariff(RATES), RESERVE)


def grown(book: DirectBook, amount: int) -> DirectBook:
    frontier = book.frontier.copy()
    frontier.append(bytes(32))
    return dataclasses.replace(book, frontier=frontier, owed_nano=book.owed_nano + amount)


def paid(book: DirectBook) -> DirectBook:
    voucher = Voucher(book.channel.id, book.owed_nano, book.frontier.size, book.frontier.root())
    return dataclasses.replace(book, voucher=SignedVoucher(voucher, bytes(65)))


@dataclass
class Node:
    """A node's side in few lines: books, and what runs."""

    books: dict[Channel, DirectBook] = field(
        default_factory=lambda: {one: DirectBook(one, Frontier()) for one in CHANNELS}
    )
    running: list[TakenOrder] = field(default_factory=list)

    def order(self, channel: Channel) -> bool:
        book = self.books[channel]
        mine = sum(one.channel == channel for one in self.running)
        order = taken(channel, book.frontier.size + mine)
        try:
            DESK.check_order(order, book, self.running, list(self.books.values()))
        except (Exhausted, InsufficientFunds):
            return False
        self.running.append(order)
        return True

    def exposure(self) -> int:
        unpaid = sum(
            book.owed_nano - (book.voucher.voucher.cumulative if book.voucher else 0)
            for book in self.books.values()
        )
        return unpaid + RESERVE * len(self.running)


Moves = st.lists(
    st.tuples(st.sampled_from(["order", "end", "pay"]), st.integers(0, 2), st.integers(0, RESERVE)),
    max_size=40,
)


@settings(max_examples=300)
@given(Moves)
def test_a_payer_never_owes_more_than_the_credit_nor_more_tasks_than_allowed(
    moves: list[tuple[str, int, int]],
) -> None:
    node = Node()
    for move, number, amount in moves:
        channel = CHANNELS[number]
        if move == "order":
            room = node.exposure() + RESERVE <= CREDIT
            here = node.books[channel].unpaid_tasks + sum(one.channel == channel for one in node.running)
            assert node.order(channel) == (room and here < TASKS)
        elif move == "end" and node.running:
            ended = node.running.pop(number % len(node.running))
            node.books[ended.channel] = grown(node.books[ended.channel], amount)
        elif move == "pay" and node.books[channel].frontier.size:
            node.books[channel] = paid(node.books[channel])
        assert node.exposure() <= CREDIT
        assert all(book.unpaid_tasks <= TASKS for book in node.books.values())


def test_an_order_far_ahead_of_the_book_is_refused() -> None:
    book = DirectBook(CHANNELS[0], Frontier())
    DESK.check_order(taken(CHANNELS[0], TASKS - 1), book, [], [])
    with pytest.raises(Conflict, match="lost its book"):
        DESK.check_order(taken(CHANNELS[0], TASKS), book, [], [])


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (ChannelState(0, 0, 0), NotFound),
        (ChannelState(1000, 0, 99), Conflict),
        (ChannelState(2 * RESERVE + 49, 0, 0), InsufficientFunds),
        (ChannelState(2 * RESERVE + 50, 0, 0), None),
    ],
)
def test_the_deposit_covers_what_is_owed_and_what_runs_on_its_channel(
    state: ChannelState, kind: type[FarlaneError] | None
) -> None:
    book = grown(DirectBook(CHANNELS[0], Frontier()), 50)
    running = [taken(CHANNELS[0], 1), taken(CHANNELS[1], 0)]
    if kind is None:
        DESK.check_funds(taken(CHANNELS[0], 2), book, running, state)
        return
    with pytest.raises(kind):
        DESK.check_funds(taken(CHANNELS[0], 2), book, running, state)


def test_a_voucher_is_for_a_boundary_of_the_book_and_for_its_very_amount() -> None:
    first = grown(DirectBook(CHANNELS[0], Frontier()), 50)
    second = grown(first, 30)
    boundaries = {
        one.frontier.size: Boundary(one.frontier.size, one.frontier.root(), one.owed_nano)
        for one in (first, second)
    }

    def read(cumulative: int, tasks: int, root: bytes, book: DirectBook = second) -> SignedVoucher | None:
        signed = sign_voucher(DOMAIN, SIGNER, Voucher(book.channel.id, cumulative, tasks, root))
        return DESK.read_voucher(
            book, VoucherFields(cumulative, tasks, root, signed.signature), boundaries.get
        )

    root = second.frontier.root()
    found = read(80, 2, root)
    assert found is not None
    earlier = read(50, 1, first.frontier.root())  # of a result that ended before
    assert earlier is not None
    assert read(50, 1, first.frontier.root(), dataclasses.replace(second, voucher=found)) is None
    for cumulative, tasks, wrong_root in ((79, 2, root), (81, 2, root), (80, 2, bytes(32))):
        with pytest.raises(InvalidSignature):
            read(cumulative, tasks, wrong_root)
    with pytest.raises(Conflict, match="is for 3 tasks"):
        read(80, 3, root)
