"""Taking orders: what must hold before a node works for a promise, in the order of what it costs to check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from farlane.domain.prices import RateVector
from farlane.domain.resources import Capacity
from farlane.errors import (
    Conflict,
    Exhausted,
    InsufficientFunds,
    InvalidInput,
    InvalidSignature,
    NotFound,
    PermissionRefused,
)
from farlane.ledger.accounts import Address, parse_address
from farlane.ledger.books import Boundary
from farlane.ledger.direct_leaf import Tariff, check_direct_spec, input_digest, reserve_ceiling, tariff_for
from farlane.ledger.leaf import spec_digest
from farlane.ledger.orders import Order, check_order, task_digest
from farlane.ledger.port import ChannelState
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    MAX_UNITS,
    Channel,
    SignedVoucher,
    Voucher,
    check_voucher,
    nano_floor,
    units_floor,
)
from farlane.node.direct.book_store import DirectBook, DoneTask
from farlane.node.direct.settings import DirectSettings
from farlane.wire.compute import TaskOrder, VoucherFields

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class TakenOrder:
    """An order whose signature was checked.

    task: SHA-256 of its id; tariff: what it is charged by; reserve_nano: the most it may cost, in nano-credits.
    """

    order: TaskOrder
    channel: Channel
    task: bytes
    tariff: Tariff
    reserve_nano: int

    @property
    def number(self) -> tuple[bytes, int]:
        """Channel and place: what an order counts once by."""
        return self.channel.id, self.order.place


class OrderDesk:
    """Judges orders; pure.

    Args:
        settings: who may call, and how far a payer may owe.
        domain: where signatures count.
        provider: who is paid here.
        rates: what the node asks.
        capacity: its share for direct calls.
        units_per_credit: of the network's token.
    """

    def __init__(
        self,
        settings: DirectSettings,
        domain: Domain,
        provider: Address,
        rates: RateVector,
        capacity: Capacity,
        units_per_credit: int,
    ) -> None:
        self._settings, self._domain, self._provider = settings, domain, provider
        self._rates, self._capacity, self._units = rates, capacity, units_per_credit

    def read(self, order: TaskOrder) -> TakenOrder:
        """Check an order in itself: who asks, for what, and that it is signed.

        Raises:
            PermissionRefused: the payer is not let in here.
            InvalidInput: another node's channel, or work that direct calls do not do.
            InvalidSignature: somebody else signed it.
            Conflict: it was made at other prices.
            InsufficientFunds: it may cost more than this node's credit.
        """
        fields = order.channel
        payer, provider, signer = (
            parse_address(one) for one in (fields.payer, fields.provider, fields.signer)
        )
        channel = Channel(payer, provider, signer, fields.salt)
        self._check_parties(payer, provider)
        spec = order.spec
        check_direct_spec(spec, order.inputs, order.function, order.payload)
        if spec.function is not None and spec.function.python != PYTHON:
            raise InvalidInput(
                f"the function was pickled by Python {spec.function.python}; this node runs {PYTHON}: "
                "call it from the same minor version, or another node"
            )
        tariff = tariff_for(spec, self._rates, self._capacity)
        reserve = reserve_ceiling(tariff, spec, len(order.payload))
        task, given = task_digest(order.task), input_digest(spec, order.payload)
        signed = Order(channel.id, task, spec_digest(spec), given, order.place, order.limit_nano)
        check_order(self._domain, signed, order.signature, signer)
        self._check_price(order, reserve)
        return TakenOrder(order, channel, task, tariff, reserve)

    def _check_parties(self, payer: Address, provider: Address) -> None:
        if payer not in self._settings.payers:
            raise PermissionRefused(
                f"this node does no work for {payer}: its tasks run without a sandbox, so that only payers whom its "
                "owner has named are let in. Ask the owner for `--allow` with your address",
                payer=payer,
            )
        if provider != self._provider:
            raise InvalidInput(
                f"the channel pays {provider}; this node works for {self._provider}: open one to it"
            )

    def _check_price(self, order: TaskOrder, reserve: int) -> None:
        if order.limit_nano != reserve:
            # Equal, not only enough: both sides must reckon with the same prices.
            raise Conflict(
                f"the task may cost {reserve} nano-credits here and the order says {order.limit_nano}: the prices have "
                "changed; ask for them again"
            )
        if reserve > self._settings.credit_nano:
            raise InsufficientFunds(
                f"the task may cost {reserve} nano-credits; this node works for at most "
                f"{self._settings.credit_nano} before it is paid: ask for less time or fewer cores"
            )

    def check_repeat(self, taken: TakenOrder, done: DoneTask) -> bytes:
        """Return the result that is given again, where this very order was done already.

        Raises:
            Conflict: another order had its place, or its result is no longer kept.
        """
        if done.task != taken.task:
            raise Conflict(
                f"the order is for place {done.place} of its channel, where another task was done: it was replayed, or "
                "one side has lost its book; open a new channel",
                place=done.place,
            )
        if done.result is None:
            raise Conflict(f"the task at place {done.place} was done and paid long ago: its result is gone")
        return done.result

    def check_order(
        self, taken: TakenOrder, book: DirectBook, running: Sequence[TakenOrder], others: Sequence[DirectBook]
    ) -> None:
        """Check that a payer may have one more task run.

        Args:
            taken: the new order.
            book: of its channel.
            running: all that runs for its payer.
            others: the books of all the payer's channels, this one's too or not.

        Raises:
            Conflict: the two sides' books have different lengths.
            InsufficientFunds: too much was not paid for.
            Exhausted: too many run.
        """
        size, limit = book.frontier.size, self._settings.tasks
        here = sum(one.channel == taken.channel for one in running)
        if book.unpaid_tasks >= limit:
            raise InsufficientFunds(
                f"{book.unpaid_tasks} tasks of this channel are done and not paid, and at most {limit} may be: sign a "
                "voucher over its tree first",
                size=size,
            )
        if book.unpaid_tasks + here >= limit:
            raise Exhausted(
                f"{here} tasks of this channel run and {book.unpaid_tasks} are not paid yet; this node lets {limit} be "
                "on their way at once: wait for one to end"
            )
        if taken.order.place >= size + limit:
            raise Conflict(
                f"the order is for place {taken.order.place} of the channel's book, which has {size} tasks here: one "
                "side has lost its book; open a new channel",
                size=size,
            )
        books = {one.channel.id: one for one in (*others, book)}
        owed = sum(self._unpaid_nano(one) for one in books.values()) + sum(
            one.reserve_nano for one in running
        )
        if owed + taken.reserve_nano > self._settings.credit_nano:
            raise InsufficientFunds(
                f"over all its channels the payer owes {owed} nano-credits, what runs included, and the task may cost "
                f"{taken.reserve_nano}; this node works for at most {self._settings.credit_nano} before it is paid: "
                "pay, or wait for a task to end",
                owed_nano=owed,
            )

    def check_funds(
        self, taken: TakenOrder, book: DirectBook, running: Sequence[TakenOrder], state: ChannelState
    ) -> None:
        """Check on what the chain says that the deposit covers this task too.

        Raises:
            NotFound: there is no such channel.
            Conflict: the payer closes it, or has closed it.
            InsufficientFunds: the deposit is too small.
        """
        if not state.exists:
            raise NotFound("the chain knows no such channel: open it, and wait until that is confirmed")
        if state.close_at:
            raise Conflict("the payer is closing this channel: no more work is done on it; open a new one")
        runs = sum(one.reserve_nano for one in running if one.channel == taken.channel)
        free = nano_floor(state.deposit, self._units) - book.owed_nano - runs - taken.reserve_nano
        if free < 0:
            raise InsufficientFunds(
                f"the channel's deposit is short of {-free} nano-credits for this task, which may cost "
                f"{taken.reserve_nano}: top it up",
                missing_nano=-free,
            )

    def read_voucher(
        self, book: DirectBook, fields: VoucherFields, boundary_at: Callable[[int], Boundary | None]
    ) -> SignedVoucher | None:
        """Check a voucher; returns it if it is newer than the last one.

        Args:
            book: of its channel.
            fields: as it came.
            boundary_at: returns the book as it was at a number of leaves.

        Raises:
            InvalidSignature: another's, over another tree, or promising another amount than is owed.
            Conflict: it is for a size this book has not.
        """
        voucher = Voucher(book.channel.id, fields.cumulative, fields.tasks, fields.root)
        signed = SignedVoucher(voucher, fields.signature)
        check_voucher(self._domain, signed, book.channel.signer)
        if voucher.tasks <= book.paid_tasks:
            return None
        boundary = boundary_at(voucher.tasks)
        if boundary is None:
            raise Conflict(
                f"the voucher is for {voucher.tasks} tasks; this book has {book.frontier.size}",
                size=book.frontier.size,
            )
        check_promise(voucher, boundary, self._units)
        return signed

    def _unpaid_nano(self, book: DirectBook) -> int:
        promised = 0 if book.voucher is None else book.voucher.voucher.cumulative
        return max(0, book.owed_nano - nano_floor(promised, self._units))


def check_promise(voucher: Voucher, boundary: Boundary, units_per_credit: int) -> None:
    """Check that a voucher pays for the leaves up to a boundary.

    Raises:
        InvalidSignature: it is over another tree, or promises another amount than they cost.
    """
    owed = min(MAX_UNITS, units_floor(boundary.owed_nano, units_per_credit))
    if boundary.root != voucher.root:
        raise InvalidSignature(
            f"the trees differ at {boundary.size} leaves: here the root is {boundary.root.hex()}, there "
            f"{voucher.root.hex()}"
        )
    if voucher.cumulative != owed:
        # More would be no gift: what is beyond a deposit cannot be claimed at all.
        raise InvalidSignature(
            f"the voucher promises {voucher.cumulative} units for {voucher.tasks} tasks that cost {owed}: sign for "
            "just that"
        )
