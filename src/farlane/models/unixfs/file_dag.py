"""What a file looks like as a DAG: its root, its inner nodes, and its leaves as compact columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from farlane.errors import InvalidInput
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.cid import DAG_PB, RAW, Cid


class Leaf(NamedTuple):
    """One leaf: where its bytes lie in the file, and the block's CID."""

    cid: Cid
    offset: int
    length: int


class Leaves:
    """The leaves of one file in the order of their offsets; 44 bytes each, however many there are.

    Args:
        digests: SHA-256 of each block, 32 bytes each, one after another.
        lengths: (leaves,) bytes of the file in each leaf. They lie one after another without gaps.
        wrapped: whether the blocks are UnixFS nodes around the bytes (CIDv0) instead of the bytes alone.

    Raises:
        InvalidInput: digests and lengths do not belong together.
    """

    __slots__ = ("digests", "lengths", "offsets", "wrapped")

    def __init__(self, digests: bytes, lengths: NDArray[np.int64], *, wrapped: bool = False) -> None:
        if len(digests) != DIGEST_BYTES * len(lengths):
            raise InvalidInput(
                f"{len(lengths)} leaves need {DIGEST_BYTES * len(lengths)} bytes of digests, not {len(digests)}"
            )
        self.digests = digests
        self.lengths = lengths
        self.wrapped = wrapped
        self.offsets: NDArray[np.int64] = (
            np.concatenate(([0], np.cumsum(lengths)[:-1])) if len(lengths) else lengths
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Leaf:
        return Leaf(self.cid(index), int(self.offsets[index]), int(self.lengths[index]))

    def digest(self, index: int) -> bytes:
        """Return the SHA-256 of one block."""
        return self.digests[DIGEST_BYTES * index : DIGEST_BYTES * (index + 1)]

    def cid(self, index: int) -> Cid:
        """Return the CID of one block."""
        return Cid(0, DAG_PB, self.digest(index)) if self.wrapped else Cid(1, RAW, self.digest(index))

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return int(self.lengths.sum())


@dataclass(frozen=True, slots=True)
class FileDag:
    """One file as a DAG.

    root: a leaf's CID if the file has only one; size_bytes: of the file; leaves: where its bytes are; nodes: the inner
    nodes, each block under its CID.
    """

    root: Cid
    size_bytes: int
    leaves: Leaves
    nodes: Mapping[Cid, bytes] = field(repr=False)


class FileStamp(NamedTuple):
    """What changes when a file is written or replaced."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class DescribedFile:
    """A file's content by all its names: made by one reading of it.

    sha256: of the whole, 64 hex digits; dags: the first is the one whose leaves are transferred; stamp: of the file
    that was read, None if it was no file.
    """

    sha256: str
    size_bytes: int
    dags: Sequence[FileDag]
    stamp: FileStamp | None = None
