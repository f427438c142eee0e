"""Taking orders: what must hold before a node works for a promise, in the order of what it costs to check."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.prices import RateVector
from farlane.errors import Conflict, InsufficientFunds, InvalidInput, NotFound, PermissionRefused
from farlane.ledger.accounts import Address, parse_address
from farlane.ledger.direct_leaf import check_direct_spec, reserve_ceiling
from farlane.ledger.leaf import spec_digest
from farlane.ledger.orders import Order, check_order, task_digest
from farlane.ledger.port import ChannelState
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, SignedVoucher, Voucher, check_voucher, nano_floor
from farlane.node.direct.book_store import DirectBook
from farlane.node.direct.settings import DirectSettings
from farlane.wire.compute import TaskOrder, VoucherFields


@dataclass(frozen=True, slots=True)
class TakenOrder:
    """An order whose signature was checked; reserve_nano: the most it may cost, in nano-credits."""

    order: TaskOrder
    channel: Channel
    task: bytes
    reserve_nano: int


class OrderDesk:
    """Judges orders; pure.

    Args:
        settings: who may call.
        domain: where signatures count.
        provider: this node's address.
        rates: what it asks.
        units_per_credit: of the network's token.
    """

    def __init__(
        self,
        settings: DirectSettings,
        domain: Domain,
        provider: Address,
        rates: RateVector,
        units_per_credit: int,
    ) -> None:
        self._settings, self._domain, self._provider = settings, domain, provider
        self._rates, self._units = rates, units_per_credit

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
        if payer not in self._settings.payers:
            raise PermissionRefused(
                f"this node does no work for {payer}: its tasks run without a sandbox, so that only payers whom its "
                "owner has named are let in. Ask the owner for `--allow` with your address",
                payer=payer,
            )
        if provider != self._provider:
            raise InvalidInput(f"the channel pays {provider}; this node is {self._provider}: open one to it")
        check_direct_spec(order.spec, order.inputs)
        reserve = reserve_ceiling(self._rates, order.spec)
        task = task_digest(order.task)
        signed = Order(channel.id, task, spec_digest(order.spec), order.place, order.limit_nano)
        check_order(self._domain, signed, order.signature, signer)
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
        return TakenOrder(order, channel, task, reserve)

    def is_repeat(self, taken: TakenOrder, book: DirectBook) -> bool:
        """Tell whether this very order was done already: then its result is given again.

        Raises:
            Conflict: the two sides' books have different lengths.
            InsufficientFunds: the last task was not paid for.
        """
        place, size = taken.order.place, book.frontier.size
        if place == size - 1 and book.last_task == taken.task:
            return True
        if place != size:
            raise Conflict(
                f"the order is for place {place} of the channel's book, which has {size} tasks here: it was replayed, "
                "or one side has lost its book; open a new channel",
                place=place,
                size=size,
            )
        if book.paid_tasks < size:
            raise InsufficientFunds(
                f"{size - book.paid_tasks} task of this channel is done and not paid: sign a voucher over its "
                "tree first",
                size=size,
            )
        return False

    def check_funds(self, taken: TakenOrder, book: DirectBook, state: ChannelState) -> None:
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
        free = nano_floor(state.deposit, self._units) - book.owed_nano - taken.reserve_nano
        if free < 0:
            raise InsufficientFunds(
                f"the channel's deposit is short of {-free} nano-credits for this task, which may cost "
                f"{taken.reserve_nano}: top it up",
                missing_nano=-free,
            )

    def read_voucher(self, book: DirectBook, fields: VoucherFields) -> SignedVoucher | None:
        """Check a voucher; returns it if it is newer than the last one.

        Raises:
            InvalidSignature: another's, over another tree, or promising less than is owed.
            Conflict: it is for a size this book has not.
        """
        voucher = Voucher(book.channel.id, fields.cumulative, fields.tasks, fields.root)
        signed = SignedVoucher(voucher, fields.signature)
        check_voucher(self._domain, signed, book.channel.signer)
        return signed if book.open().take(voucher, self._units) else None
