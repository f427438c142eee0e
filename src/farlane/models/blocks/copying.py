"""Filling a file under way with the leaves that its store has already, whatever store that is."""

from __future__ import annotations

import contextlib

from farlane.errors import Corrupted, NotFound
from farlane.models.blocks.port import BlockSource, FileAssembly, May


def copy_leaves(source: BlockSource, assembly: FileAssembly, may: May | None = None) -> int:
    """Write what is missing of a file and can be had, verified, and return how many bytes that were.

    Args:
        source: where it may be.
        assembly: of the file.
        may: tells which blocks may be taken; all without it.

    Raises:
        DiskFull: a leaf cannot be written.
        Conflict: the assembly is done.
    """
    saved = 0
    for index in assembly.missing():
        leaf = assembly.leaves[index]
        if may is not None and not may(leaf.cid):
            continue
        with contextlib.suppress(NotFound, Corrupted):
            assembly.write(index, source.get(leaf.cid))
            saved += leaf.length
    return saved
