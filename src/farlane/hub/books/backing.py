"""Backing: what stands behind the vouchers of each payer, as the chain last said; pure, and never asks the chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from farlane.ledger.accounts import Address
from farlane.ledger.port import CLOSED, ChannelState

UNSEEN = ChannelState(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a book promises in all, in units. held: the hub can fill its channel from the payer's balance."""

    book: int
    payer: Address
    held: bool
    units: int


class Backing:
    """Decides whether a promise is covered: by its channel's deposit, and by the balance that the hub can add from.

    What channels of one payer promise beyond their deposits shares that balance.

    Args:
        books: of before a restart; their payers are not presumed to have anything before they are seen again.
    """

    def __init__(self, books: Iterable[Promise]) -> None:
        self._channels: dict[int, ChannelState] = {}
        self._free: dict[Address, int] = {}
        self._beyond: dict[Address, int] = {}
        known = list(books)
        self._known = {one.payer for one in known}
        self.see({}, {}, known)

    def see(
        self, channels: Mapping[int, ChannelState], free: Mapping[Address, int], books: Iterable[Promise]
    ) -> None:
        """Hear what the chain says.

        Args:
            channels: book -> its channel; of others what was said before stays.
            free: units that payers can still lock.
            books: what every book promises.
        """
        self._channels.update(channels)
        self._free.update(free)
        self._beyond = {}
        for one in books:
            self._beyond[one.payer] = self._beyond.get(one.payer, 0) + self._gap(one)

    def covers(self, before: Promise, units: int, starting: int) -> bool:
        """Tell whether a book may promise so many units in all.

        Args:
            before: what it promises so far.
            units: what it shall promise.
            starting: what an account has that was never heard of.
        """
        state = self.channel(before.book)
        if state.close_at == CLOSED:
            return False
        if units <= state.deposit:
            return True
        if not before.held or state.close_at:
            return False
        free = self._free.get(before.payer, 0 if before.payer in self._known else starting)
        others = self._beyond.get(before.payer, 0) - self._gap(before)
        return others + units - state.deposit <= free

    def promise(self, before: Promise, units: int) -> None:
        """Hear that a book promises so many units in all from now on."""
        more = self._gap(replace(before, units=units)) - self._gap(before)
        self._beyond[before.payer] = self._beyond.get(before.payer, 0) + more

    def channel(self, book: int) -> ChannelState:
        """Return a book's channel as it was last seen; empty before that."""
        return self._channels.get(book, UNSEEN)

    def free(self, payer: Address) -> int | None:
        """Return what a payer could still lock when it was last seen, None before that."""
        return self._free.get(payer)

    def lacking(self, payer: Address, owed: Iterable[tuple[int, int]]) -> int:
        """Return the units that a payer's balance lacks for what it owes beyond deposits; 0 before it was seen.

        Args:
            payer: whose account the hub holds.
            owed: (book, units owed in all).
        """
        free = self._free.get(payer)
        if free is None:
            return 0
        return max(0, sum(self._gap(Promise(book, payer, True, units)) for book, units in owed) - free)

    def _gap(self, one: Promise) -> int:
        state = self.channel(one.book)
        return max(0, one.units - state.deposit) if one.held and not state.close_at else 0
