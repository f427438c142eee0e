"""The layout of a snapshot: which columns a view has, of what type, and where each lies in a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from farlane.scheduler.view import FIRST_GPU, History

MAGIC, FORMAT = 0x5741_4C52_4146, 2
"""The first word of a block and the number of this layout; another one is refused."""
HEADER_WORDS = 24
HEADER_BYTES = HEADER_WORDS * 8
ALIGNMENT = 64
LARGEST = 2**63 - 1
"""Amounts beyond this (nano-credits of an unlimited budget) are cut off: nobody could tell them apart."""

GROUP_ROW = np.dtype(
    [
        ("key", "i8"), ("job", "i8"), ("count", "i8"), ("priority", "i8"), ("affordable", "i8"),
        ("since", "f8"), ("deadline_at", "f8"), ("run_time_s", "f8"), ("timeout_s", "f8"),
        ("demands", "i4"), ("alternatives", "i4"), ("uses", "i4"), ("used", "i4"),
        ("eligible", "i4"), ("avoid", "i4"), ("allowed", "i4"), ("missing", "i4"), ("alike", "i4"), ("pad", "i4"),
        *((name, "f8") for name in History._fields),
    ]
)  # fmt: skip
"""One group: NaN for a time or a history that it does not have, else rows of other columns, -1 for none."""

NODE_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("capacity", "i8", "nw"), ("free", "i8", "nw"), ("online", "?", "n"), ("core_second", "i8", "n"),
    ("gib_second", "i8", "n"), ("gpu_second", "i8", "ng"), ("rtt_s", "f8", "n"),
    ("hazard", "f8", "n"),
)  # fmt: skip
"""Fields of `NodeColumns` with their type and shape: n nodes, w resources, g kinds of GPU."""


class Counts(NamedTuple):
    """How much a view holds: what its columns' lengths are made of.

    nodes, kinds (of GPU), running (rows), groups, alternatives (rows of demands), masks and amounts (rows of n),
    uses, limits; roster: bytes of the names of nodes and kinds of GPU.
    """

    nodes: int
    kinds: int
    roster: int
    running: int
    groups: int
    alternatives: int
    masks: int
    amounts: int
    uses: int
    limits: int


@dataclass(frozen=True, slots=True)
class Section:
    """One column of a block: type, shape and where it begins, in bytes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def of(self, buffer: memoryview) -> NDArray[Any]:
        """Return the column as an array upon the block."""
        found: NDArray[Any] = np.ndarray(self.shape, self.dtype, buffer, self.offset)
        return found


def layout(counts: Counts) -> tuple[dict[str, Section], int]:
    """Return every column's section, and how many bytes a block needs for all.

    Columns of nodes come first: while there are as many nodes they stay where they are, so that only what changed in
    them is written.
    """
    n, g = counts.nodes, counts.kinds
    w = FIRST_GPU + g
    shapes = {"n": (n,), "nw": (n, w), "ng": (n, g)}
    sections: dict[str, Section] = {}
    at = HEADER_BYTES

    def add(name: str, dtype: DTypeLike, *shape: int) -> None:
        nonlocal at
        kind = np.dtype(dtype)
        sections[name] = Section(kind, shape, at)
        at += -(-int(np.prod(shape, dtype=np.int64)) * kind.itemsize // ALIGNMENT) * ALIGNMENT

    for name, dtype, shape in NODE_COLUMNS:
        add(name, dtype, *shapes[shape])
    add("roster", "u1", counts.roster)
    add("running_node", "i8", counts.running)
    add("running_demand", "i8", counts.running, w)
    add("running_ends_at", "f8", counts.running)
    add("groups", GROUP_ROW, counts.groups)
    add("demands", "i8", counts.alternatives, w)
    add("masks", "?", counts.masks, n)
    add("amounts", "i8", counts.amounts, n)
    add("uses", "i8", counts.uses, 2)
    add("limits", "i8", counts.limits)
    return sections, at
