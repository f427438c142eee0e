"""Which blocks of a version somebody has, as bits: the form in which peers announce them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from farlane.errors import InvalidInput

Flags = NDArray[np.bool_]
"""One flag for each block: (blocks,) bool."""


def pack(flags: Flags) -> bytes:
    """Return flags as bits, the first block in the highest bit of the first byte; what is left over is 0."""
    return np.packbits(flags).tobytes()


def unpack(bits: bytes, blocks: int) -> Flags:
    """Read what `pack` wrote.

    Raises:
        InvalidInput: not as many bytes as `blocks` bits take, or bits set beyond the last block.
    """
    if len(bits) != (blocks + 7) // 8:
        raise InvalidInput(
            f"a bitmap of {blocks} blocks has {(blocks + 7) // 8} bytes; {len(bits)} came. Does the peer speak of "
            "another version?"
        )
    flags = np.unpackbits(np.frombuffer(bits, np.uint8)).astype(np.bool_)
    if flags[blocks:].any():
        raise InvalidInput(f"a bitmap of {blocks} blocks names blocks beyond the last")
    return flags[:blocks]


def flags_of(blocks: int, indices: Iterable[int] = ()) -> Flags:
    """Return flags that are set at `indices` alone."""
    flags = np.zeros(blocks, np.bool_)
    flags[list(indices)] = True
    return flags
