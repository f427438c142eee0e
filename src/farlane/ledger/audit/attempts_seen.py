"""Attempts that were booked already, 20 bytes each, so that a million are no burden; and parts of long ones."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from farlane.ledger.leaf import Leaf

Attempt = tuple[int, int, int]
"""Task, attempt and copy."""


class AttemptsSeen:
    """Remembers which attempt stands where; doubles are found at the end, all at once.

    Attempts are told apart by 64 bits of a keyed hash; that two of a million share them has odds of 3e-8, and the
    key keeps anybody from finding such a pair on purpose.

    Args:
        key: random bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._hashes, self._books, self._indices = array("Q"), array("I"), array("Q")

    def add(self, leaf: Leaf, book: int, index: int) -> None:
        """Note a leaf of the `book`th book of the record."""
        self._hashes.append(self._hash((leaf.task, leaf.attempt, leaf.copy), leaf.part))
        self._books.append(book)
        self._indices.append(index)

    def ended(self, attempts: Iterable[Attempt]) -> set[Attempt]:
        """Return those of some attempts whose end stands anywhere."""
        by_hash = {self._hash(attempt, 0): attempt for attempt in attempts}
        return {by_hash[one] for one in self._hashes if one in by_hash} if by_hash else set()

    def _hash(self, attempt: Attempt, part: int) -> int:
        packed = b"%d %d %d %d" % (*attempt, part)
        return int.from_bytes(blake2b(packed, digest_size=8, key=self._key).digest(), "big")

    def doubles(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield (book, index) of both places of each attempt that stands in two."""
        import numpy as np

        hashes = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        for row in np.flatnonzero(ordered[1:] == ordered[:-1]):
            first, second = int(order[row]), int(order[row + 1])
            yield (self._books[first], self._indices[first]), (self._books[second], self._indices[second])


class PartsSeen:
    """Follows attempts that are booked by the part: parts 1, 2, ... in order, then the end. Others cost nothing.

    The leaf of the end does not say how many parts came before it, so that parts missing right before it, or all of
    them, are not seen.
    """

    def __init__(self) -> None:
        self._newest: dict[Attempt, tuple[int, str]] = {}

    def add(self, leaf: Leaf, place: str) -> int:
        """Note a leaf; returns the part that should have stood in its place, 0 where all is well."""
        attempt = leaf.task, leaf.attempt, leaf.copy
        if not leaf.part:
            self._newest.pop(attempt, None)
            return 0
        before, _ = self._newest.get(attempt, (0, ""))
        self._newest[attempt] = max(before, leaf.part), place
        return 0 if leaf.part == before + 1 else before + 1

    def after_their_end(self, seen: AttemptsSeen) -> list[tuple[int, str]]:
        """Return the newest part, and its place, of attempts whose end stands before it; once all leaves are noted."""
        return [self._newest[attempt] for attempt in sorted(seen.ended(self._newest))]
