"""Claims: what chain and receipts say of a tree at some size, to be held against the record's leaves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SizeClaim:
    """Somebody says that a tree has this root at some size, and that it costs so much.

    source: `transaction 0x..`, `receipt FILE`; on_chain: it was settled, else it is a receipt's.
    """

    source: str
    on_chain: bool
    root: bytes
    cumulative: int


@dataclass(frozen=True, slots=True)
class LeafClaim:
    """A receipt says that a leaf with this hash stands in some place."""

    source: str
    hash: bytes


class Claims:
    """Claims by channel and size, or place."""

    def __init__(self) -> None:
        self.sizes: defaultdict[bytes, dict[int, list[SizeClaim]]] = defaultdict(dict)
        self.leaves: defaultdict[bytes, dict[int, list[LeafClaim]]] = defaultdict(dict)

    def add_size(self, channel: bytes, size: int, claim: SizeClaim) -> None:
        """Note what somebody says of a tree."""
        self.sizes[channel].setdefault(size, []).append(claim)

    def add_leaf(self, channel: bytes, index: int, claim: LeafClaim) -> None:
        """Note what somebody says of a leaf."""
        self.leaves[channel].setdefault(index, []).append(claim)
