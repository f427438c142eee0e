"""Reading UnixFS: files as DAGs or as bytes, and directories, plain or sharded, as the list of what is in them.

Whatever is read may have been made to harm: every size is checked against what lies below it, and levels, nodes, leaves
and entries are counted as often as they are met, so that a small DAG which repeats itself is not taken for a huge one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from farlane.errors import InvalidInput, TooLarge
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import DAG_PB, RAW, Cid
from farlane.models.unixfs.dag_pb import PbNode, decode_node
from farlane.models.unixfs.file_dag import FileDag, Leaves
from farlane.models.unixfs.nodes import NodeData, NodeKind, decode_data, wrap_leaf


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read before a DAG is refused."""

    depth: int = 32
    """Levels of nodes of one file."""
    nodes: int = 1_000_000
    """Nodes of one file above its leaves, each counted as often as it occurs."""
    leaves: int = 4_000_000
    """Leaves of one file, each counted as often as it occurs."""
    size_bytes: int = 1 << 44
    """Bytes of one file."""


LIMITS: Final = Limits()


class _Step(NamedTuple):
    """A block of a file in order: its CID and the bytes of the file below it; of a node also its block and content."""

    cid: Cid
    size_bytes: int
    block: bytes = b""
    node: PbNode | None = None
    data: bytes = b""

    @property
    def is_leaf(self) -> bool:
        return self.node is None or not self.node.links


def read_file(source: BlockSource, root: Cid, limits: Limits = LIMITS) -> FileDag:
    """Return a file's DAG. Raw leaves are not looked at, and need not be there unless the root is one.

    Raises:
        NotFound: a node is missing.
        Corrupted: a node is damaged.
        InvalidInput: it is no file, its sizes contradict each other, or it cannot be put together leaf by leaf.
        TooLarge: it is beyond the limits.
    """
    nodes: dict[Cid, bytes] = {}
    digests, lengths = bytearray(), []
    kinds: set[bool] = set()
    for step in _steps(source, root, limits):
        if not step.is_leaf:
            nodes[step.cid] = step.block
            if step.data:
                raise _not_leaf_by_leaf(root, f"{step.cid} has bytes beside its links")
            continue
        wrapped = step.node is not None
        if wrapped and wrap_leaf(step.data) != step.block:
            raise _not_leaf_by_leaf(root, f"leaf {step.cid} says more than its bytes")
        kinds.add(wrapped)
        digests += step.cid.digest
        lengths.append(step.size_bytes)
    if len(kinds) != 1:
        raise _not_leaf_by_leaf(root, "its leaves are of both kinds" if kinds else "it has no leaves")
    leaves = Leaves(bytes(digests), np.array(lengths, np.int64), wrapped=kinds.pop())
    return FileDag(root, leaves.size_bytes, leaves, nodes)


def read_bytes(source: BlockSource, root: Cid, limits: Limits = LIMITS) -> Iterator[bytes]:
    """Yield a file's bytes, block by block, in constant memory; any layout can be read, verified as far as it is read.

    Raises:
        NotFound, Corrupted, InvalidInput, TooLarge: as `read_file`, in the middle of it, too.
    """
    for step in _steps(source, root, limits):
        if step.node is not None:
            if step.data:
                yield step.data
            continue
        data = source.get(step.cid)
        if len(data) != step.size_bytes:
            raise _contradiction(
                step.cid, f"has {len(data)} bytes, and the node above says {step.size_bytes}"
            )
        if data:
            yield data


def read_node(source: BlockSource, cid: Cid) -> tuple[PbNode, NodeData]:
    """Return a UnixFS node and what it says.

    Raises:
        NotFound, Corrupted: it is missing or damaged.
        InvalidInput: it is no UnixFS node.
        TooLarge: it is beyond the limits of `farlane.models.unixfs.dag_pb`.
    """
    return _decoded(cid, source.get(cid))


def file_bytes(cid: Cid, node: PbNode, data: NodeData) -> int:
    """Return how many bytes a node says its file has, after checking that against the node's own parts.

    Raises:
        InvalidInput: it is no file, or contradicts itself.
    """
    if data.kind not in (NodeKind.FILE, NodeKind.RAW):
        raise InvalidInput(f"{cid} is a {data.kind.name.lower()} and no file", cid=cid.text)
    if len(data.block_sizes) != len(node.links):
        raise _contradiction(cid, f"has {len(node.links)} links and {len(data.block_sizes)} sizes of them")
    parts = sum(data.block_sizes) + len(data.data or b"")
    if data.size_bytes not in (None, parts):
        raise _contradiction(cid, f"says {data.size_bytes} bytes, and its parts have {parts}")
    return parts


def _decoded(cid: Cid, block: bytes) -> tuple[PbNode, NodeData]:
    if cid.codec != DAG_PB:
        raise InvalidInput(f"{cid} is no UnixFS node: expected a CID of codec dag-pb", cid=cid.text)
    node = decode_node(block)
    if node.data is None:
        raise InvalidInput(f"{cid} has links and no UnixFS data: it is another kind of DAG", cid=cid.text)
    return node, decode_data(node.data)


def _steps(source: BlockSource, root: Cid, limits: Limits) -> Iterator[_Step]:
    """Yield the blocks of a file in the order of their bytes, nodes before what is below them."""
    nodes = leaves = 0
    stack: list[tuple[Cid, int | None, int]] = [(root, None, 1)]
    while stack:
        cid, expected, depth = stack.pop()
        if depth > limits.depth:
            raise TooLarge(f"file {root} has more than {limits.depth} levels of nodes: no file needs them")
        step, children = _step(source, cid, expected)
        _require_at_most(root, step.size_bytes, limits.size_bytes, "bytes")
        leaves, nodes = leaves + step.is_leaf, nodes + (not step.is_leaf)
        _require_at_most(root, leaves, limits.leaves, "leaves")
        _require_at_most(root, nodes, limits.nodes, "nodes")
        yield step
        stack.extend((child, size, depth + 1) for child, size in reversed(children))


def _step(source: BlockSource, cid: Cid, expected: int | None) -> tuple[_Step, list[tuple[Cid, int]]]:
    if cid.codec == RAW:
        return _Step(cid, source.size(cid) if expected is None else expected), []
    block = source.get(cid)
    node, data = _decoded(cid, block)
    size_bytes = file_bytes(cid, node, data)
    if expected not in (None, size_bytes):
        raise _contradiction(cid, f"is a file of {size_bytes} bytes, and the node above says {expected}")
    children = [(link.cid, size) for link, size in zip(node.links, data.block_sizes, strict=True)]
    return _Step(cid, size_bytes, block, node, data.data or b""), children


def _require_at_most(root: Cid, count: int, limit: int, what: str) -> None:
    if count > limit:
        raise TooLarge(f"file {root} has more than {limit} {what}, repeated ones counted", cid=root.text)


def _contradiction(cid: Cid, what: str) -> InvalidInput:
    return InvalidInput(f"block {cid} {what}: whoever made this DAG got it wrong", cid=cid.text)


def _not_leaf_by_leaf(root: Cid, why: str) -> InvalidInput:
    return InvalidInput(
        f"file {root} cannot be put together leaf by leaf, since {why}: read its bytes and add it anew",
        cid=root.text,
    )
