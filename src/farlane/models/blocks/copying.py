"""Filling a file under way with the leaves that its store has already, whatever store that is."""

from __future__ import annotations

import contextlib

from farlane.errors import Corrupted, NotFound
from farlane.models.blocks.port import BlockSource, FileAssembly


def copy_leaves(source: BlockSource, assembly: FileAssembly) -> int:
    """Write what is missing of a file and can be had, verified, and return how many bytes that were.

    Raises:
        DiskFull: a leaf cannot be written.
        Conflict: the assembly is done.
    """
    saved = 0
    for index in assembly.missing():
        leaf = assembly.leaves[index]
        with contextlib.suppress(NotFound, Corrupted):
            assembly.write(index, source.get(leaf.cid))
            saved += leaf.length
    return saved
