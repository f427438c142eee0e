"""Planning: what the hub should do on the chain now, decided from its books and what the chain says of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from farlane.ledger.accounts import Address
from farlane.ledger.claiming import Claiming, WatchSettings, decide
from farlane.ledger.port import CLOSED, ChannelState, SignedClaim
from farlane.ledger.vouchers import Channel, SignedVoucher


@dataclass(frozen=True, slots=True)
class BookFigures:
    """A book as settlement sees it; amounts in units.

    held: this hub holds the key of the account that pays this channel; voucher: the newest one; state: the channel on
    the chain; current: the next leaf between the two sides goes into it; covered: where the deposit does not cover
    `voucher`, the newest it does.
    """

    book: int
    organisation: str
    channel: Channel
    held: bool
    owed: int
    voucher: SignedVoucher | None
    state: ChannelState
    current: bool = True
    covered: SignedVoucher | None = None

    @property
    def promised(self) -> int:
        """What the newest voucher promises, in units."""
        return 0 if self.voucher is None else self.voucher.voucher.cumulative


@dataclass(frozen=True, slots=True)
class Funding:
    """Lock `amount` units in a book's channel: open it, or top it up."""

    book: int
    channel: Channel
    amount: int
    deposit: int
    """What is locked before; 0 opens the channel."""


@dataclass(slots=True)
class Plan:
    """What to do. Nothing in it waits for anything else in it.

    replaced: books whose channel is being closed, so that the next leaf must go into another; fundings: after one its
    book is planned again, for what it covers is claimed then; claims: the most urgent first; starts, finishes:
    channels used no more, to be closed; short: organisations whose balance does not cover what they owe -> missing
    units.
    """

    replaced: list[int] = field(default_factory=list)
    fundings: list[Funding] = field(default_factory=list)
    claims: list[Claiming] = field(default_factory=list)
    starts: list[Channel] = field(default_factory=list)
    finishes: list[Channel] = field(default_factory=list)
    short: dict[str, int] = field(default_factory=dict)


def plan(
    books: Sequence[BookFigures],
    balances: Mapping[Address, int],
    deposit: int,
    least_claim: int,
    *,
    now: float = 0.0,
    refused: Collection[bytes] = (),
    waiting: Collection[int] = (),
) -> Plan:
    """Decide what to do.

    Args:
        books: the books in use, and older ones.
        balances: free balance of every payer in the contract.
        deposit: units to lock in a channel beyond what is owed.
        least_claim: a voucher with less that is new is left for later.
        now: unix seconds of the chain.
        refused: channels whose voucher the contract has refused, though nothing about it has changed since.
        waiting: books with a head that gets its voucher once there is money for it.
    """
    found, left = Plan(), dict(balances)
    found.replaced = [one.book for one in books if one.current and one.state.close_at]
    alive = [one for one in books if one.state.close_at != CLOSED]
    rest = [one for one in alive if not _fund(found, left, one, deposit)]
    found.claims = _claims([one for one in rest if one.channel.id not in refused], least_claim)
    due = {each.claim.channel.id for each in found.claims}
    for one in rest:
        if one.held and not one.current and one.channel.id not in due:
            _close(found, one, now, one.channel.id in refused, one.book in waiting)
    return found


def _fund(found: Plan, left: dict[Address, int], one: BookFigures, deposit: int) -> bool:
    """Plan what a channel of a payer whose account is held lacks; False where nothing can be locked in it."""
    owed, spare = (one.owed, deposit) if one.current else (one.promised, 0)
    if not one.held or not owed or one.state.close_at or one.state.deposit - owed >= spare // 2:
        return False
    payer, wanted = one.channel.payer, owed + spare - one.state.deposit
    amount = min(wanted, left.get(payer, 0))
    missing = owed - one.state.deposit - amount
    if missing > 0:
        found.short[one.organisation] = found.short.get(one.organisation, 0) + missing
    if amount <= 0:
        return False
    left[payer] -= amount
    found.fundings.append(Funding(one.book, one.channel, amount, one.state.deposit))
    return True


def _claims(books: Sequence[BookFigures], least: int) -> list[Claiming]:
    """Return what is due. Of a channel that the hub is about to close everything is, as of one that is closing."""
    ending = [one for one in books if one.held and not one.current]
    lasting = [one for one in books if not one.held or one.current]
    states = {one.channel.id: one.state for one in books}
    found = []
    for group, threshold in ((ending, 1), (lasting, least)):
        # The contract pays a voucher whole or not at all: where the newest is beyond the deposit, an older one may do.
        claims = [
            SignedClaim(one.channel, signed)
            for one in group
            for signed in (one.voucher, one.covered)
            if signed is not None
        ]
        found += decide(claims, states, WatchSettings(threshold=max(1, threshold)))
    return sorted(found, key=lambda each: (not each.deadline, each.deadline))


def _close(found: Plan, one: BookFigures, now: float, refused: bool, waits: bool) -> None:
    """Bring back what a channel locks that is used no more, once all that can be claimed of it is.

    One with a head that waits for money stays open: a channel that is being closed takes none any more.
    """
    state = one.state
    if state.close_at:
        if now >= state.close_at:
            found.finishes.append(one.channel)
    elif state.deposit and not waits and (one.promised <= state.claimed or refused):
        found.starts.append(one.channel)
