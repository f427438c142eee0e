"""The book: one channel's tree of leaves and what is owed for them, as each of its two sides keeps it.

Both sides append the same leaves in the same order. The provider's side signs tree heads, the payer's side answers
each with a voucher over the same root; sizes at which that may happen are the boundaries between batches of leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from farlane.errors import Conflict, InvalidSignature
from farlane.ledger.leaf import amount_of
from farlane.ledger.tree import Frontier, leaf_hash
from farlane.ledger.vouchers import MAX_UNITS, Voucher, nano_floor, units_floor

MAX_BOUNDARIES = 4096
"""Heads that may be outstanding; where more batches come before one is signed, the oldest can no longer be."""


@dataclass(frozen=True, slots=True)
class Boundary:
    """The book after some batch: leaves so far, their root, and what is owed for them in nano-credits."""

    size: int
    root: bytes
    owed_nano: int


class Book:
    """One side's copy of a channel's book.

    Args:
        frontier: the tree so far; empty for a new book.
        owed_nano: what the leaves so far cost.
        voucher: the newest voucher given or taken, None before the first.
    """

    def __init__(
        self, frontier: Frontier | None = None, owed_nano: int = 0, voucher: Voucher | None = None
    ) -> None:
        self.frontier = Frontier() if frontier is None else frontier
        self.owed_nano = owed_nano
        self.voucher = voucher
        self._boundaries: deque[Boundary] = deque([self.boundary()], maxlen=MAX_BOUNDARIES)

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self.frontier.size

    def boundary(self) -> Boundary:
        """Return the book as it stands."""
        return Boundary(self.size, self.frontier.root(), self.owed_nano)

    def append(self, leaves: Sequence[bytes]) -> Boundary:
        """Add a batch of packed leaves; returns the boundary behind it."""
        append, owed = self.frontier.append, 0
        for leaf in leaves:
            append(leaf_hash(leaf))
            owed += amount_of(leaf)
        self.owed_nano += owed
        found = self.boundary()
        self._boundaries.append(found)
        return found

    def boundary_at(self, size: int, root: bytes) -> Boundary:
        """Return the boundary that a head names.

        Raises:
            Conflict: there is none of this size, or it is no longer kept.
            InvalidSignature: the root is another: one of the sides has dropped, changed or reordered leaves.
        """
        found = next((one for one in self._boundaries if one.size == size), None)
        if found is None:
            raise Conflict(f"no batch of this book ends at {size} leaves; it has {self.size}", size=size)
        if found.root != root:
            raise InvalidSignature(
                f"the trees differ at {size} leaves: here the root is {found.root.hex()}, there {root.hex()}. One side "
                "has dropped, changed or reordered leaves: compare them with `farlane ledger audit`",
                size=size,
            )
        return found

    def promise(self, channel: bytes, size: int, root: bytes, units_per_credit: int) -> Voucher | None:
        """Return the voucher that pays for a head of this book, None where a newer or equal one is out already.

        Raises:
            Conflict, InvalidSignature: as `boundary_at`.
        """
        found = self.boundary_at(size, root)
        if self.voucher is not None and self.voucher.tasks >= size:
            return None
        return Voucher(channel, min(MAX_UNITS, units_floor(found.owed_nano, units_per_credit)), size, root)

    def give(self, voucher: Voucher) -> None:
        """Remember a voucher as the newest; heads below it need none any more."""
        self.voucher = voucher
        while len(self._boundaries) > 1 and self._boundaries[1].size <= voucher.tasks:
            self._boundaries.popleft()

    def take(self, voucher: Voucher, units_per_credit: int) -> bool:
        """Take a voucher whose signature was checked; tells whether it is newer than the last one.

        Raises:
            Conflict, InvalidSignature: it is over another tree; see `boundary_at`.
            InvalidSignature: it promises less than the leaves it covers cost.
        """
        if self.voucher is not None and voucher.tasks <= self.voucher.tasks:
            return False
        found = self.boundary_at(voucher.tasks, voucher.root)
        owed = units_floor(found.owed_nano, units_per_credit)
        if voucher.cumulative < owed:
            raise InvalidSignature(
                f"the voucher promises {voucher.cumulative} units for {voucher.tasks} tasks that cost {owed}"
            )
        self.give(voucher)
        return True

    def unpaid_nano(self, units_per_credit: int, covered_units: int | None = None) -> int:
        """Return what is owed beyond the newest voucher, in nano-credits.

        Args:
            units_per_credit: of the token.
            covered_units: how much of the voucher a deposit covers, where that is known and less.
        """
        promised = 0 if self.voucher is None else self.voucher.cumulative
        if covered_units is not None:
            promised = min(promised, covered_units)
        return max(0, self.owed_nano - nano_floor(promised, units_per_credit))
