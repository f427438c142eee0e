"""Leaves under balanced nodes: the tree of one file, filled from the left, all leaves at one depth.

Source: the balanced layout that UnixFS implementations share (https://specs.ipfs.tech/unixfs/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from farlane.kit.hashing import sha256
from farlane.models.cid import DAG_PB, Cid, block_cid
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node
from farlane.models.unixfs.file_dag import FileDag, Leaves
from farlane.models.unixfs.nodes import NodeData, NodeKind, encode_data
from farlane.models.unixfs.profiles import V1_2025, Profile
from farlane.models.unixfs.protobuf import integer_field, varint


class Subtree(NamedTuple):
    """A part of a file as its parent sees it: block, bytes of the file, and bytes of all blocks below and it."""

    cid: Cid
    size_bytes: int
    total_bytes: int


def balanced(leaves: Leaves, profile: Profile = V1_2025) -> FileDag:
    """Return the DAG of a file whose leaves were hashed already.

    Args:
        leaves: at least one; an empty file has one of no bytes.
        profile: how wide nodes are, and which version their CIDs have.
    """
    nodes: dict[Cid, bytes] = {}
    root = join(subtrees(leaves), profile, nodes)
    return FileDag(root.cid, leaves.size_bytes, leaves, nodes)


def subtrees(leaves: Leaves, first: int = 0, end: int | None = None) -> Iterator[Subtree]:
    """Yield leaves as their parents see them, from index `first` to before `end`."""
    for index in range(first, len(leaves) if end is None else end):
        length = int(leaves.lengths[index])
        block_bytes = _wrapped_bytes(length) if leaves.wrapped else length
        yield Subtree(leaves.cid(index), length, block_bytes)


def join(parts: Iterable[Subtree], profile: Profile, nodes: dict[Cid, bytes]) -> Subtree:
    """Join parts, one at least, under as few levels of nodes as they need, and add those to `nodes`."""
    level = list(parts)
    while len(level) > 1:
        level = list(_parents(level, profile, nodes))
    return level[0]


def _parents(level: Iterable[Subtree], profile: Profile, nodes: dict[Cid, bytes]) -> Iterator[Subtree]:
    parts = iter(level)
    while children := list(islice(parts, profile.width)):
        size_bytes = sum(child.size_bytes for child in children)
        data = NodeData(NodeKind.FILE, None, size_bytes, [child.size_bytes for child in children])
        links = [PbLink(child.cid, "", child.total_bytes) for child in children]
        block = encode_node(PbNode(links, encode_data(data)))
        cid = block_cid(DAG_PB, block, profile.cid_version)
        nodes[cid] = block
        yield Subtree(cid, size_bytes, len(block) + sum(child.total_bytes for child in children))


def _wrapped_bytes(length: int) -> int:
    """Return the size of a leaf block that is a node around so many bytes."""
    message = 2 + len(integer_field(3, length)) + ((1 + len(varint(length)) + length) if length else 0)
    return 1 + len(varint(message)) + message


EMPTY: FileDag = balanced(Leaves(sha256(b""), np.zeros(1, np.int64)))
"""The empty file: one raw leaf of no bytes."""
