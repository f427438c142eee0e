"""Planning: what the hub should do on the chain now, decided from its books and what the chain says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farlane.ledger.accounts import Address
from farlane.ledger.port import CLOSED, ChannelState, SignedClaim
from farlane.ledger.vouchers import Channel, SignedVoucher


@dataclass(frozen=True, slots=True)
class BookFigures:
    """A book as settlement sees it; amounts in units.

    held: this hub holds the payer's key; voucher: the newest one; state: the channel on the chain; current: the next
    leaf between the two sides goes into it; covered: where the deposit does not cover `voucher`, the newest it does.
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
    """What to do, in this order: fund channels, claim vouchers, replace books whose channel is closed.

    short: organisations whose balance does not cover what they owe -> missing units.
    """

    fundings: list[Funding] = field(default_factory=list)
    claims: list[SignedClaim] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    short: dict[str, int] = field(default_factory=dict)


def plan(
    books: Sequence[BookFigures], balances: Mapping[Address, int], deposit: int, least_claim: int
) -> Plan:
    """Decide what to do.

    Args:
        books: the books in use, and older ones with vouchers that were not claimed.
        balances: free balance of every payer in the contract.
        deposit: units to lock in a channel beyond what is owed.
        least_claim: a voucher with less that is new is left for later.
    """
    found, left = Plan(), dict(balances)
    for one in books:
        if one.state.close_at == CLOSED:
            found.closed.append(one.book)
            continue
        funded = one.state.deposit
        ours = one.held and one.current
        if ours and one.owed and not one.state.close_at and funded - one.owed < deposit // 2:
            funded += _fund(found, left, one, deposit)
        claim = _claim(one, funded, least_claim)
        if claim is not None:
            found.claims.append(claim)
    return found


def _fund(found: Plan, left: dict[Address, int], one: BookFigures, deposit: int) -> int:
    payer, wanted = one.channel.payer, one.owed + deposit - one.state.deposit
    amount = min(wanted, left.get(payer, 0))
    missing = one.owed - one.state.deposit - amount
    if missing > 0:
        found.short[one.organisation] = found.short.get(one.organisation, 0) + missing
    if amount <= 0:
        return 0
    left[payer] -= amount
    found.fundings.append(Funding(one.book, one.channel, amount, one.state.deposit))
    return amount


def _claim(one: BookFigures, funded: int, least_claim: int) -> SignedClaim | None:
    # The contract pays a voucher whole or not at all: where the newest is beyond the deposit, an older one may not be.
    voucher = next(
        (each for each in (one.voucher, one.covered) if each and each.voucher.cumulative <= funded), None
    )
    if voucher is None:
        return None
    fresh = voucher.voucher.cumulative - one.state.claimed
    # A channel that is closing will not wait.
    return (
        SignedClaim(one.channel, voucher)
        if fresh > 0 and (fresh >= least_claim or one.state.close_at)
        else None
    )
