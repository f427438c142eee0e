"""The append-only Merkle tree of a channel: roots, inclusion proofs and consistency proofs of any size it ever had.

Hashes are SHA-256 with the domain bytes of RFC 6962, section 2.1: 0x00 before a leaf, 0x01 before an inner node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from farlane.errors import InvalidInput

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf's bytes."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows. Level k holds the roots of all complete subtrees of 2^k leaves, 32 bytes each."""

    def __init__(self, hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [bytearray()]
        self.extend(hashes)

    @property
    def size(self) -> int:
        """How many leaves."""
        return len(self._levels[0]) // HASH_BYTES

    def append(self, hash_: bytes) -> None:
        """Add one leaf by its hash."""
        self._levels[0] += hash_
        level, index = 0, self.size - 1
        while index & 1:
            row = self._levels[level]
            joined = sha256(b"\x01" + row[-2 * HASH_BYTES :]).digest()
            level, index = level + 1, index >> 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += joined

    def extend(self, hashes: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        for hash_ in hashes:
            self.append(hash_)

    def leaf(self, index: int) -> bytes:
        """Return the hash of one leaf."""
        return self._at(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root the tree had at `size` leaves, by default of all.

        Raises:
            InvalidInput: it never had so many.
        """
        size = self._checked(size)
        if not size:
            return EMPTY_ROOT
        return self._range(0, size)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the proof that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards.

        Source: RFC 6962, section 2.1.1.

        Raises:
            InvalidInput: there is no such leaf.
        """
        size = self._checked(size)
        if not 0 <= index < size:
            raise InvalidInput(f"the tree of {size} leaves has no leaf {index}")
        return self._path(index, 0, size)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the tree of `new` leaves begins with the one of `old`.

        Source: RFC 6962, section 2.1.2. Empty for an old size of 0 and for equal sizes.

        Raises:
            InvalidInput: the sizes are not in this order.
        """
        new = self._checked(new)
        if not 0 <= old <= new:
            raise InvalidInput(f"a tree cannot shrink from {old} to {new} leaves")
        return [] if old in (0, new) else self._subproof(old, 0, new, whole=True)

    def _checked(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise InvalidInput(f"the tree has {self.size} leaves, never had {size}")
        return size

    def _at(self, level: int, index: int) -> bytes:
        start = index * HASH_BYTES
        return bytes(self._levels[level][start : start + HASH_BYTES])

    def _range(self, start: int, stop: int) -> bytes:
        """Return the root of leaves start .. stop - 1; start is a multiple of the next power of two."""
        count = stop - start
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self._at(level, start >> level)
        middle = start + _split(count)
        return node_hash(self._range(start, middle), self._range(middle, stop))

    def _path(self, index: int, start: int, stop: int) -> list[bytes]:
        if stop - start == 1:
            return []
        middle = start + _split(stop - start)
        if index < middle:
            return [*self._path(index, start, middle), self._range(middle, stop)]
        return [*self._path(index, middle, stop), self._range(start, middle)]

    def _subproof(self, old: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
        if old == stop:
            return [] if whole else [self._range(start, stop)]
        middle = start + _split(stop - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, whole=whole), self._range(middle, stop)]
        return [*self._subproof(old, middle, stop, whole=False), self._range(start, middle)]


class Frontier:
    """Only what appending needs: the roots of the complete subtrees on the right edge, largest first."""

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or len(peaks) != size.bit_count() or any(len(peak) != HASH_BYTES for peak in peaks):
            raise InvalidInput(
                f"a frontier of {size} leaves has {max(size, 0).bit_count()} hashes of 32 bytes"
            )
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots, largest subtree first: backwards they are the inclusion proof of the next leaf to come."""
        return tuple(self._peaks)

    def append(self, hash_: bytes) -> None:
        """Add one leaf by its hash."""
        size = self.size
        while size & 1:
            hash_ = node_hash(self._peaks.pop(), hash_)
            size >>= 1
        self._peaks.append(hash_)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree's root."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> Frontier:
        """Return a frontier that goes its own way."""
        return Frontier(self.size, self._peaks)

    def to_bytes(self) -> bytes:
        """Return the size (8 bytes) and the hashes."""
        return self.size.to_bytes(8, "big") + b"".join(self._peaks)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frontier:
        """Read what `to_bytes` wrote.

        Raises:
            InvalidInput: it is something else.
        """
        peaks = [raw[at : at + HASH_BYTES] for at in range(8, len(raw), HASH_BYTES)]
        return cls(int.from_bytes(raw[:8], "big"), peaks)


def verify_inclusion(hash_: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a leaf with this hash stands at `index` of the tree with this size and root.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size or any(len(step) != HASH_BYTES for step in proof):
        return False
    node, last = index, size - 1
    for step in proof:
        if not last:
            return False
        if node & 1 or node == last:
            hash_ = node_hash(step, hash_)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hash_ = node_hash(hash_, step)
        node, last = node >> 1, last >> 1
    return not last and hash_ == root


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the new tree begins with the old one.

    Source: RFC 9162, section 2.1.4.2.
    """
    if old_size == new_size:
        return not proof and old_root == new_root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT and new_size > 0
    if not 0 < old_size < new_size or not proof:
        return False
    steps = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old, new = steps[0], steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if node & 1 or node == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, step)
        node, last = node >> 1, last >> 1
    return not last and old == old_root and new == new_root


def _split(count: int) -> int:
    """Return the largest power of two below `count` (at least 2)."""
    return 1 << (count - 1).bit_length() - 1
