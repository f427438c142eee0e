"""Files whose parts have their own CIDs: a root over one canonical DAG for each range, such as a model's tensors.

Each part's CID is the one that its bytes alone would have as a file under `unixfs-v1-2025`; so a tensor that did not
change is found again wherever in the next file it lies. The whole is plain UnixFS, readable by any IPFS implementation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farlane.errors import InvalidInput
from farlane.models.cid import Cid
from farlane.models.unixfs.file_dag import FileDag, Leaves
from farlane.models.unixfs.layout import Subtree, join, subtrees
from farlane.models.unixfs.profiles import V1_2025


def composite_lengths(parts: Sequence[int], chunk_bytes: int = V1_2025.chunk_bytes) -> NDArray[np.int64]:
    """Return the lengths of all leaves of a file with parts of the given lengths, each cut on its own.

    Raises:
        InvalidInput: a part is empty.
    """
    part_bytes = np.asarray(parts, np.int64)
    if len(part_bytes) and int(part_bytes.min()) < 1:
        raise InvalidInput(f"part {int(part_bytes.argmin())} of a composite file is empty: leave it out")
    counts = -(-part_bytes // chunk_bytes)
    lengths = np.full(int(counts.sum()), chunk_bytes, np.int64)
    lengths[np.cumsum(counts) - 1] = part_bytes - (counts - 1) * chunk_bytes
    return lengths if len(lengths) else np.zeros(1, np.int64)


def composite(leaves: Leaves, parts: Sequence[int]) -> FileDag:
    """Return the DAG of a file with parts of the given lengths.

    Args:
        leaves: of the file, cut by `composite_lengths(parts)`.
        parts: bytes of each part, in order, all above 0; they cover the file. One part alone gets no root above it,
            and more than 1,024 get several levels.

    Raises:
        InvalidInput: the leaves are not those of the parts.
    """
    lengths = composite_lengths(parts)
    if not np.array_equal(lengths, leaves.lengths):
        raise InvalidInput(
            f"the {len(leaves)} leaves given are not those of {len(parts)} parts of {sum(parts)} bytes: cut it by "
            "composite_lengths"
        )
    nodes: dict[Cid, bytes] = {}
    roots: list[Subtree] = []
    first = 0
    for part_bytes in parts:
        end = first + -(-part_bytes // V1_2025.chunk_bytes)
        roots.append(join(subtrees(leaves, first, end), V1_2025, nodes))
        first = end
    root = join(roots or subtrees(leaves), V1_2025, nodes)
    return FileDag(root.cid, leaves.size_bytes, leaves, nodes)


def ranges_to_parts(ranges: Sequence[tuple[int, int]], size_bytes: int) -> list[int]:
    """Return the lengths of parts given as (offset, length), after checking that they cover a file exactly.

    Raises:
        InvalidInput: they leave a hole, overlap, are out of order or do not end where the file does.
    """
    at = 0
    for offset, length in ranges:
        if offset != at or length < 1:
            raise InvalidInput(
                f"a range of {length} bytes at {offset} does not follow the one that ends at {at}: ranges cover the "
                "file in order, without holes, overlaps or empty ones"
            )
        at += length
    if at != size_bytes:
        raise InvalidInput(f"the ranges end at {at} and the file at {size_bytes}: they must cover all of it")
    return [length for _, length in ranges]
