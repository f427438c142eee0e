"""The outline of a file: its DAG as inner nodes tell it, read as far as they are here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from farlane.errors import Corrupted, FarlaneError, TooLarge
from farlane.models.blocks.port import MAX_BLOCK_BYTES
from farlane.models.cid import DAG_PB, RAW, Cid
from farlane.models.unixfs.dag_pb import decode_node
from farlane.models.unixfs.file_dag import FileDag, Leaves
from farlane.models.unixfs.nodes import NodeKind, decode_data

MAX_DEPTH: Final = 8
"""A file of 2^53 bytes in blocks of 256 KiB is five deep; a composite one has one level more."""
MAX_LEAVES: Final = 4_000_000

Get = Callable[[Cid], bytes | None]
"""Returns a block that is here, verified, and None for one that is not."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """Inner nodes that are still to be fetched before a file's outline can be told."""

    nodes: tuple[Cid, ...]


class _Span(NamedTuple):
    """Which leaves are a node's, and their bytes; none where a node below it is lacking."""

    first: int
    end: int
    size_bytes: int


@dataclass(slots=True)
class _Reading:
    get: Get
    digests: list[bytes] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    nodes: dict[Cid, bytes] = field(default_factory=dict)
    lacking: dict[Cid, None] = field(default_factory=dict)
    known: dict[Cid, _Span] = field(default_factory=dict)

    def repeat(self, span: _Span) -> None:
        """Add the leaves of a node that was read before, for a node that is linked often costs little to send."""
        _require_few(len(self.digests) + span.end - span.first)
        self.digests.extend(self.digests[span.first : span.end])
        self.lengths.extend(self.lengths[span.first : span.end])


def outline(root: Cid, size_bytes: int, get: Get) -> FileDag | Lacking:
    """Return a file's DAG, or what of its inner nodes is not here yet.

    Args:
        root: of the file; its leaves are raw blocks.
        size_bytes: of the file, as its manifest says.
        get: gives inner nodes.

    Raises:
        Corrupted: the nodes do not make up one file of that size.
        TooLarge: more leaves, or more levels, than any file needs.
    """
    reading = _Reading(get)
    try:
        _read(reading, root, size_bytes, 0)
    except (Corrupted, TooLarge):
        raise
    except FarlaneError as error:
        raise _broken(root, error.message) from error
    if reading.lacking:
        return Lacking(tuple(reading.lacking))
    leaves = Leaves(b"".join(reading.digests), np.asarray(reading.lengths, np.int64))
    return FileDag(root, size_bytes, leaves, reading.nodes)


def _read(reading: _Reading, cid: Cid, size_bytes: int, depth: int) -> None:
    if cid.codec == RAW:
        if not 0 <= size_bytes <= MAX_BLOCK_BYTES:
            raise _broken(cid, f"a leaf of {size_bytes} bytes is longer than a block may be")
        _require_few(len(reading.digests) + 1)
        reading.digests.append(cid.digest)
        reading.lengths.append(size_bytes)
        return
    if cid.codec != DAG_PB:
        raise _broken(cid, "no part of a file")
    if depth and not size_bytes:
        raise _broken(cid, "a part of no bytes")
    if depth >= MAX_DEPTH:
        raise TooLarge(f"the DAG of a file is more than {MAX_DEPTH} levels deep at {cid}")
    span = reading.known.get(cid)
    if span is not None and span.size_bytes == size_bytes:
        reading.repeat(span)
        return
    block = reading.nodes.get(cid) or reading.get(cid)
    if block is None:
        reading.lacking[cid] = None
        return
    reading.nodes[cid] = block
    node = decode_node(block)
    data = decode_data(node.data or b"")
    if data.kind is not NodeKind.FILE or data.data or len(data.block_sizes) != len(node.links):
        raise _broken(cid, "not an inner node of a file whose leaves are raw")
    if sum(data.block_sizes) != size_bytes:
        raise _broken(cid, f"its parts have {sum(data.block_sizes)} bytes where {size_bytes} were expected")
    first = len(reading.digests)
    for link, length in zip(node.links, data.block_sizes, strict=True):
        _read(reading, link.cid, length, depth + 1)
    reading.known[cid] = _Span(first, len(reading.digests), size_bytes)


def _require_few(leaves: int) -> None:
    if leaves > MAX_LEAVES:
        raise TooLarge(f"a file of more than {MAX_LEAVES} blocks")


def _broken(cid: Cid, why: str) -> Corrupted:
    return Corrupted(f"block {cid} does not fit into its file: {why}. The version was not put together by farlane",
                     cid=cid.text)  # fmt: skip
