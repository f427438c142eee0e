"""Attempts that were booked already: 20 bytes each, so that a million of them are no burden."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b

from farlane.ledger.leaf import Leaf


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
        packed = b"%d %d %d %d" % (leaf.task, leaf.attempt, leaf.copy, leaf.part)
        self._hashes.append(int.from_bytes(blake2b(packed, digest_size=8, key=self._key).digest(), "big"))
        self._books.append(book)
        self._indices.append(index)

    def doubles(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield (book, index) of both places of each attempt that stands in two."""
        import numpy as np

        hashes = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        for row in np.flatnonzero(ordered[1:] == ordered[:-1]):
            first, second = int(order[row]), int(order[row + 1])
            yield (self._books[first], self._indices[first]), (self._books[second], self._indices[second])
