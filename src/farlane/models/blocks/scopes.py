"""What a request to a gateway means: which part of a DAG, and where a path of names leads."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from farlane.errors import InvalidInput, NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.blocks.walking import links_of, walk
from farlane.models.cid import DAG_PB, RAW, Cid
from farlane.models.unixfs.dag_pb import PbNode, decode_node
from farlane.models.unixfs.nodes import NodeKind, decode_data

MAX_BLOCKS: Final = 1_000_000
MAX_PATH_PARTS: Final = 64


class Scope(StrEnum):
    """How much of a DAG is meant. Source: IPIP-402, dag-scope."""

    BLOCK = "block"
    """The root's block alone."""
    ENTITY = "entity"
    """The whole file, or what lists a directory."""
    ALL = "all"
    """Everything below."""


def in_scope(source: BlockSource, root: Cid, scope: Scope) -> Iterator[tuple[Cid, bytes | None]]:
    """Yield what a scope takes in, as `farlane.models.blocks.walking.walk` does; plain bytes are not read.

    Raises:
        NotFound: a node is not here.
        InvalidInput: a block that is no node of its codec.
        TooLarge: more than MAX_BLOCKS.
    """
    return walk(
        lambda cid: None if cid.codec == RAW else source.get(cid),
        [root],
        links=_FOLLOWED[scope],
        max_blocks=MAX_BLOCKS,
    )


def resolve(source: BlockSource, root: Cid, path: str) -> tuple[list[Cid], Cid]:
    """Follow a path of names through plain directories.

    Returns:
        The blocks on the way, the last one's own not among them, and what the path leads to.

    Raises:
        NotFound: there is nothing of that name.
        InvalidInput: a name leads on from what is no directory.
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) > MAX_PATH_PARTS:
        raise InvalidInput(f"a path of {len(parts)} names; expected at most {MAX_PATH_PARTS}")
    way, here = [], root
    for part in parts:
        way.append(here)
        here = _entry(source, here, part, way)
    return way, here


def _entity(cid: Cid, block: bytes) -> list[Cid]:
    """Return what belongs to a file, or to what lists a directory."""
    if cid.codec != DAG_PB:
        return []
    node = decode_node(block)
    kind, fanout = _kind(node)
    if kind is NodeKind.DIRECTORY:
        return []
    if kind is NodeKind.SHARD:
        digits = len(f"{max(fanout - 1, 1):X}")
        return [link.cid for link in node.links if len(link.name) == digits]
    return [link.cid for link in node.links]


def _nothing(cid: Cid, block: bytes) -> list[Cid]:
    return []


_FOLLOWED: Final = {Scope.BLOCK: _nothing, Scope.ENTITY: _entity, Scope.ALL: links_of}


def _entry(source: BlockSource, cid: Cid, name: str, way: list[Cid]) -> Cid:
    if cid.codec != DAG_PB:
        raise NotFound(f"{cid} is no directory: there is no {name[:100]!r} in it")
    node = decode_node(source.get(cid))
    kind, fanout = _kind(node)
    if kind is NodeKind.DIRECTORY:
        found = next((link.cid for link in node.links if link.name == name), None)
    elif kind is NodeKind.SHARD:
        found = _in_shard(source, node, fanout, name, way)
    else:
        found = None
    if found is None:
        raise NotFound(f"there is no {name[:100]!r} in {cid}")
    return found


def _in_shard(source: BlockSource, node: PbNode, fanout: int, name: str, way: list[Cid]) -> Cid | None:
    # Every shard below is looked at: right whatever hash has placed the names, and directories of models are small.
    digits = len(f"{max(fanout - 1, 1):X}")
    for link in node.links:
        if link.name[digits:] == name:
            return link.cid
        if len(link.name) == digits:
            child = decode_node(source.get(link.cid))
            found = _in_shard(source, child, fanout, name, way)
            if found is not None:
                way.append(link.cid)
                return found
    return None


def _kind(node: PbNode) -> tuple[NodeKind, int]:
    data = decode_data(node.data or b"")
    return data.kind, data.fanout or 256
