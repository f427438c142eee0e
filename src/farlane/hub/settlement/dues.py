"""Dues: what an organisation that holds its own account must lock itself, and the words in which it is told; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from farlane.domain.units import credits_text
from farlane.hub.books.payers import PayerState
from farlane.hub.settlement.plan import BookFigures
from farlane.ledger.port import CLOSED, ChannelState
from farlane.ledger.vouchers import nano_ceiling, nano_floor


@dataclass(frozen=True, slots=True)
class Due:
    """What the payer of a book must lock in its channel; in units.

    missing: what the node is owed and the deposit does not cover; amount: what to lock now, so that as much is there
    beyond what is owed as in channels that the hub fills.
    """

    book: int
    state: ChannelState
    missing: int
    amount: int


def due_of(one: BookFigures, deposit: int) -> Due | None:
    """Return what the payer of a book must lock, None where nothing is due or the hub itself will do it.

    Args:
        one: the book; of one that is used no more, only what was promised counts.
        deposit: units that channels shall have beyond what is owed; it is due at half of that, as the hub's own.
    """
    state = one.state
    if one.held or state.close_at:
        return None
    promised = 0 if one.voucher is None else one.voucher.voucher.cumulative
    owed, spare = (one.owed, deposit) if one.current else (promised, 0)
    if not owed or state.deposit - owed >= spare // 2:
        return None
    return Due(one.book, state, max(0, owed - state.deposit), owed + spare - state.deposit)


def notice_of(due: Due, node: str, units_per_credit: int) -> str:
    """Return what a payer is told; the amount is one that the token can express."""
    book, amount = due.book, credits_text(nano_ceiling(due.amount, units_per_credit))
    if not due.state.exists:
        return (
            f"book {book} to node {node} has no channel yet, and your organisation holds its account itself: "
            f"`farlane ledger open {book} --amount {amount}`"
        )
    holds = credits_text(nano_floor(due.state.deposit, units_per_credit))
    fix = f"`farlane ledger top-up {book} {amount}`"
    if due.missing:
        missing = credits_text(nano_ceiling(due.missing, units_per_credit))
        return (
            f"the channel of book {book} to node {node} holds {holds} credits; {missing} more are owed: {fix}"
        )
    return f"the channel of book {book} to node {node} is nearly used up ({holds} credits in all): {fix}"


def payer_states(
    books: Iterable[BookFigures], names: Mapping[int, str], deposit: int, units_per_credit: int
) -> dict[str, PayerState]:
    """Return how each organisation that holds its own account stands.

    Args:
        books: of all organisations.
        names: book -> name of its node.
        deposit: as `due_of`.
        units_per_credit: of the token.
    """
    found: dict[str, PayerState] = {}
    for one in books:
        if one.held or one.state.close_at == CLOSED:
            continue
        before = found.get(one.organisation, PayerState())
        at_stake = nano_ceiling(
            max(0, one.state.deposit - max(one.owed, one.state.claimed)), units_per_credit
        )
        due = due_of(one, deposit)
        more = () if due is None else (notice_of(due, names[one.book], units_per_credit),)
        found[one.organisation] = PayerState(before.at_stake_nano + at_stake, before.notices + more)
    return found
