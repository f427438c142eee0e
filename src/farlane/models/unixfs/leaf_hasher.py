"""Leaves of a file hashed as its bytes go by, but for those whose hashes are known already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.unixfs.file_dag import Leaves
from farlane.models.unixfs.nodes import wrap_leaf


class LeafHasher:
    """Hashes leaves of known lengths, but for those that another one hashes as well.

    Args:
        lengths: (leaves,) of all leaves.
        wrapped: whether a leaf's block is a node around its bytes.
        others: that see the same file; theirs are taken where they are cut alike.
    """

    def __init__(self, lengths: NDArray[np.int64], wrapped: bool, others: Sequence[LeafHasher] = ()) -> None:
        self._lengths = lengths
        self._wrapped = wrapped
        self._shared: dict[int, tuple[LeafHasher, int]] = {}
        if not wrapped:
            self._share(others)
        self._digests = bytearray(DIGEST_BYTES * len(lengths))
        self._index = 0
        self._left = int(lengths[0])
        self._hash = hashlib.sha256()
        self._kept = bytearray()

    @classmethod
    def done(cls, leaves: Leaves) -> Self:
        """Return one that has seen its file already; it must not be updated."""
        made = cls(leaves.lengths, leaves.wrapped)
        made._digests[:] = leaves.digests
        made._index = len(leaves)
        return made

    @property
    def is_whole_file(self) -> bool:
        """Tell whether the hash of the one leaf is that of the file."""
        return len(self._lengths) == 1 and not self._wrapped

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the file, no more than its leaves have."""
        while data:
            piece, data = data[: self._left], data[self._left :]
            if self._wrapped:
                self._kept += piece
            elif self._index not in self._shared:
                self._hash.update(piece)
            self._left -= len(piece)
            if not self._left:
                self._end_leaf()

    def leaves(self) -> Leaves:
        """Return all leaves, once the whole file has gone by, here and at the others."""
        if self._index == 0 and not self._lengths[0]:
            self._end_leaf()
        for index, (other, theirs) in self._shared.items():
            at, found = DIGEST_BYTES * index, DIGEST_BYTES * theirs
            self._digests[at : at + DIGEST_BYTES] = other._digests[found : found + DIGEST_BYTES]
        return Leaves(bytes(self._digests), self._lengths, wrapped=self._wrapped)

    def _end_leaf(self) -> None:
        if self._wrapped:
            self._hash.update(wrap_leaf(self._kept))
            self._kept = bytearray()
        at = DIGEST_BYTES * self._index
        self._digests[at : at + DIGEST_BYTES] = self._hash.digest()
        self._hash = hashlib.sha256()
        self._index += 1
        self._left = int(self._lengths[self._index]) if self._index < len(self._lengths) else 0

    def _share(self, others: Sequence[LeafHasher]) -> None:
        for other in others:
            if other._wrapped:
                continue
            offsets, theirs = np.cumsum(self._lengths), np.cumsum(other._lengths)
            _, mine, at = np.intersect1d(offsets, theirs, return_indices=True)
            same = self._lengths[mine] == other._lengths[at]
            for index, source in zip(mine[same].tolist(), at[same].tolist(), strict=True):
                self._shared.setdefault(index, other._shared.get(source, (other, source)))
