"""Walking a DAG block by block, in the order in which a CAR has them: parents first, each block once."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from farlane.errors import InvalidInput, NotFound, TooLarge
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import DAG_CBOR, DAG_PB, Cid
from farlane.models.unixfs.dag_pb import PbNode, decode_node
from farlane.models.unixfs.nodes import NodeKind, decode_data

MAX_BLOCKS = 1_000_000
MAX_PATH_PARTS = 64


class Scope(StrEnum):
    """How much of a DAG is meant. Source: IPIP-402, dag-scope."""

    BLOCK = "block"
    """The root's block alone."""
    ENTITY = "entity"
    """The whole file, or what lists a directory."""
    ALL = "all"
    """Everything below."""


def walk(source: BlockSource, root: Cid, scope: Scope) -> Iterator[Cid]:
    """Yield what a scope takes in, depth first; a block that is not here ends it.

    Raises:
        NotFound: a block is not here.
        InvalidInput: a block that is no node of its codec.
        TooLarge: more than MAX_BLOCKS.
    """
    seen: set[bytes] = set()
    stack = [root]
    while stack:
        cid = stack.pop()
        if cid.digest in seen:
            continue
        if len(seen) >= MAX_BLOCKS:
            raise TooLarge(f"more than {MAX_BLOCKS} blocks hang below {root}: ask for its parts")
        seen.add(cid.digest)
        yield cid
        if scope is not Scope.BLOCK:
            stack.extend(reversed(_below(source, cid, scope)))


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


def links_of(source: BlockSource, cid: Cid) -> list[Cid]:
    """Return what a block links to, in order; plain bytes link to nothing."""
    if cid.codec == DAG_PB:
        return [link.cid for link in decode_node(source.get(cid)).links]
    return _links_in_cbor(source.get(cid)) if cid.codec == DAG_CBOR else []


def _below(source: BlockSource, cid: Cid, scope: Scope) -> list[Cid]:
    if cid.codec != DAG_PB or scope is Scope.ALL:
        return links_of(source, cid) if scope is Scope.ALL else []
    node = decode_node(source.get(cid))
    kind, fanout = _kind(node)
    if kind is NodeKind.DIRECTORY:
        return []
    if kind is NodeKind.SHARD:
        digits = len(f"{max(fanout - 1, 1):X}")
        return [link.cid for link in node.links if len(link.name) == digits]
    return [link.cid for link in node.links]


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


def _links_in_cbor(block: bytes) -> list[Cid]:
    import dag_cbor
    from multiformats import CID

    from farlane.models.cid import cid_from_bytes

    try:
        root = dag_cbor.decode(block)
    except Exception as error:  # the library raises its own, KeyError and ValueError alike
        raise InvalidInput(f"a dag-cbor block of {len(block)} bytes that is not one") from error
    found: list[Cid] = []
    stack: list[object] = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, CID):
            found.append(cid_from_bytes(bytes(value)))
        elif isinstance(value, dict):
            stack.extend(reversed(value.values()))
        elif isinstance(value, list):
            stack.extend(reversed(value))
    return found
