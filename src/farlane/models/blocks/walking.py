"""Walking DAGs block by block, in the order in which a CAR has them: parents first, depth first, each block once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from farlane.errors import InvalidInput, TooLarge
from farlane.models.cid import DAG_CBOR, DAG_PB, Cid, cid_from_bytes
from farlane.models.unixfs.dag_pb import decode_node

MAX_BLOCKS: Final = 16_000_000
"""Most blocks of one walk, unless its caller says otherwise: 16 TB in leaves of 1 MiB."""

Read = Callable[[Cid], bytes | None]
"""Returns a block, or None to go on without what lies below it."""

Links = Callable[[Cid, bytes], Sequence[Cid]]
"""Returns what a block links to, in order."""


def links_of(cid: Cid, block: bytes) -> list[Cid]:
    """Return what a block links to, in order; plain bytes link to nothing.

    Raises:
        InvalidInput: it is not of its CID's codec, or links to something else than blocks farlane knows.
        TooLarge: it is a node beyond the limits of `farlane.models.unixfs.dag_pb`.
    """
    if cid.codec == DAG_PB:
        return [link.cid for link in decode_node(block).links]
    return _links_in_cbor(cid, block) if cid.codec == DAG_CBOR else []


def walk(
    read: Read,
    roots: Iterable[Cid],
    *,
    links: Links = links_of,
    seen: set[bytes] | None = None,
    max_blocks: int | None = MAX_BLOCKS,
) -> Iterator[tuple[Cid, bytes | None]]:
    """Yield each block under its CID, depth first, with what `read` gave for it.

    Args:
        read: gives blocks.
        roots: where to begin, in order.
        links: what to follow.
        seen: `visit_key` of CIDs to leave out with what is below them; those walked are added.
        max_blocks: None for no limit.

    Raises:
        TooLarge: more than `max_blocks`.
        InvalidInput, NotFound, Corrupted: as `read` and `links`.
    """
    seen = set() if seen is None else seen
    stack = list(dict.fromkeys(roots))[::-1]
    count = 0
    while stack:
        cid = stack.pop()
        key = visit_key(cid)
        if key in seen:
            continue
        count += 1
        if max_blocks is not None and count > max_blocks:
            raise TooLarge(f"more than {max_blocks} blocks hang together: ask for their parts")
        seen.add(key)
        block = read(cid)
        yield cid, block
        if block is not None:
            below = dict.fromkeys(links(cid, block))
            stack.extend(child for child in reversed(below) if visit_key(child) not in seen)


def visit_key(cid: Cid) -> bytes:
    """Return what tells visits apart: the same bytes have links under one codec and none under another."""
    return bytes((cid.codec,)) + cid.digest


def _links_in_cbor(cid: Cid, block: bytes) -> list[Cid]:
    import dag_cbor
    from multiformats import CID

    try:
        root = dag_cbor.decode(block)
    except Exception as error:  # the library raises its own, KeyError and RecursionError alike
        raise InvalidInput(f"block {cid} of {len(block)} bytes is not dag-cbor as its CID says") from error
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
