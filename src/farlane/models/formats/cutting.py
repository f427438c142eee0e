"""Where a file is cut that has other things between its tensors: before and behind each that is large enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from farlane.models.formats.values import TensorPlace

LEAST_CUT_BYTES: Final = 4096
"""Smaller tensors stay in one piece with what is around them: a block for each would cost more than it saves."""
MAX_TENSORS: Final = 200_000
"""A file with more is not cut."""


def side_by_side(tensors: Iterable[TensorPlace], size: int) -> tuple[TensorPlace, ...]:
    """Return tensors in the order of a file, each once; none of them if two overlap, or one reaches beyond the file.

    Args:
        tensors: as the file says, which may be anything.
        size: of the file, in bytes.
    """
    ordered = sorted(
        {(one.offset, one.size): one for one in tensors if one.size}.values(), key=lambda one: one.offset
    )
    at = 0
    for one in ordered:
        if one.offset < at or one.size < 0:
            return ()
        at = one.offset + one.size
    return tuple(ordered) if at <= size and len(ordered) <= MAX_TENSORS else ()


def ranges_along(tensors: Iterable[TensorPlace], size: int) -> tuple[tuple[int, int], ...]:
    """Return (offset, length) that cover a file, one for each tensor that is large enough and each gap between them.

    Args:
        tensors: what `side_by_side` returned.
        size: of the file, in bytes.
    """
    ranges, at = [], 0
    for one in tensors:
        if one.size >= LEAST_CUT_BYTES:
            ranges += [(at, one.offset - at), (one.offset, one.size)]
            at = one.offset + one.size
    ranges.append((at, size - at))
    found = tuple(pair for pair in ranges if pair[1])
    return found if len(found) > 1 else ()
